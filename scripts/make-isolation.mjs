// Writes the main figure of `barecell bench isolation` and its table into README.md, between its two markers:
//   node dist/cli/main.js bench isolation --out docs/results/isolation && node scripts/make-isolation.mjs docs/results/isolation
// The folder must be in the project, since the README links to it. `--readme FILE` is for tests.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const BEGIN = "<!-- isolation: made by scripts/make-isolation.mjs -->";
const END = "<!-- /isolation -->";
const project = fileURLToPath(new URL("../", import.meta.url));

const { values, positionals } = parseArgs({
  options: { readme: { type: "string" } },
  allowPositionals: true,
});
const [folder] = positionals;
if (folder === undefined) {
  process.stderr.write("usage: node scripts/make-isolation.mjs FOLDER [--readme FILE]\n");
  process.exit(2);
}
const readme = resolve(values.readme ?? join(project, "README.md"));
const { readReport } = await import("../dist/bench/isolation/compare.js");
const { loadDraw } = await import("../dist/bench/isolation/report/draw.js");
const { renderFigure } = await import("../dist/bench/isolation/report/figure.js");
const { spellMemory, spellRate, spellUs } = await import("../dist/bench/isolation/report/format.js");
const { cellOf, mainWorkload, measuredPeers } = await import("../dist/bench/isolation/report/view.js");

const report = readReport(join(folder, "report.json"));
const workload = mainWorkload(report);
const figure = await renderFigure(report, await loadDraw());
if (figure === null) throw new Error("nothing was measured that could be shown");
writeFileSync(join(folder, "isolation.svg"), figure);

const rows = measuredPeers(report).map(({ name, title, memory, throughput, stop, crash }) => {
  const times = cellOf(report, name, workload)?.result;
  const rate = throughput.find((entry) => entry.workload === workload && entry.cores === 2);
  return [
    title,
    ...(times ? [times.p50, times.p99].map(spellUs) : ["–", "–"]),
    memory ? spellMemory(memory.proportionalBytes + memory.kernelBytes) : "–",
    rate ? spellRate(rate.requestsPerSecond) : "–",
    crash?.verdict ?? "–",
    stop?.verdict ?? "–",
  ];
});
const head = ["", "p50", "p99", "memory each", "on 2 cores", "a crash is", "on time it is"];
const line = (cells) => `| ${cells.join(" | ")} |`;
const link = (name) => relative(dirname(readme), resolve(folder, name));
const { machine } = report;
const text = [
  BEGIN,
  "",
  `![Kind of wall against time from request to result](${link("isolation.svg")})`,
  "",
  `Pure start (\`${workload}\`), from request to result, by \`${report.command}\` on ${report.started.slice(0, 10)}: ${machine.cores} cores of ${machine.cpu}, KVM: ${machine.kvm}, Linux ${machine.kernel}, load ${machine.load.toFixed(1)}.`,
  `All workloads, method and samples: [report](${link("report.md")}) ([page with pictures](${link("report.html")}), [JSON](${link("report.json")})). The walls are not equally strong; what each peer includes and leaves out is in the report.`,
  "",
  line(head),
  line(head.map(() => "---")),
  ...rows.map(line),
  "",
  END,
].join("\n");

const old = readFileSync(readme, "utf8");
const [from, to] = [old.indexOf(BEGIN), old.indexOf(END)];
if (from < 0 || to < from) throw new Error(`${readme} lacks the markers ${BEGIN} and ${END}`);
writeFileSync(readme, old.slice(0, from) + text + old.slice(to + END.length));
