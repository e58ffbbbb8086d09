/** The report as Markdown: all tables, no pictures. */
import type { IsolationReport } from "../result.ts";
import { byPeer, type Comparison, comparedWith, findings, hasOwn, NOT_COMPARED } from "./findings.ts";
import { digits, spellMemory, spellRate, spellUs } from "./format.ts";
import { methodText, PITFALLS } from "./method.ts";
import { TIME_HEAD, timeRows } from "./time-table.ts";
import { cellOf, mainWorkload, measuredPeers, otherPeers, WALL_NAMES } from "./view.ts";

const cell = (text: string): string =>
  text.replaceAll("|", "\\|").replaceAll("\n", " ").replaceAll("<", "&lt;");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), `| ${head.map(() => "---").join(" | ")} |`, ...rows.map(line)].join("\n");
}

export function renderMarkdown(report: IsolationReport): string {
  return `${[
    "# What isolation costs",
    ...(report.interrupted ? ["**Interrupted: this is a part of the measurement only.**"] : []),
    ...(report.quick ? ["**A quick run, to see that all works: too few samples to be a measurement.**"] : []),
    ...(hasOwn(report)
      ? [
          "## Faster than barecell",
          summary(report, findings(report).faster, "No peer was clearly faster with any workload."),
          "## Slower than barecell",
          summary(report, findings(report).slower, "No peer was clearly slower with any workload."),
          comparedWith(report),
        ]
      : [NOT_COMPARED]),
    "## From request to result",
    ...mainTable(report),
    "All workloads, median:",
    matrix(report),
    ...report.workloads.map(({ name, title }) => `- \`${name}\`: ${title}`),
    "## Memory, crash, stop, throughput",
    effects(report),
    "## Peers",
    table(
      ["peer", "wall", "version", "settings", "includes", "leaves out"],
      measuredPeers(report).map((peer) => [
        peer.title,
        WALL_NAMES[peer.wall],
        peer.version ?? "",
        peer.settings ?? "",
        peer.includes,
        peer.leavesOut,
      ]),
    ),
    ...notMeasured(report),
    "## Method",
    ...methodText(report),
    "Pitfalls:",
    PITFALLS.map((text) => `- ${text}`).join("\n"),
    "## Machine",
    machineTable(report),
    "To repeat:",
    `    ${report.command}`,
    ...(report.warnings.length === 0
      ? []
      : ["Warnings:", report.warnings.map((text) => `- ${text}`).join("\n")]),
  ].join("\n\n")}\n`;
}

function summary(report: IsolationReport, list: readonly Comparison[], none: string): string {
  if (list.length === 0) return none;
  const lines = [...byPeer(list)].map(([peer, comparisons]) => {
    const title = report.peers.find(({ name }) => name === peer)?.title ?? peer;
    const items = comparisons.map(
      ({ workload, ratio }) => `${workload} ${digits(ratio < 1 ? 1 / ratio : ratio)}×`,
    );
    return `- **${title}**: ${items.join(", ")}`;
  });
  return lines.join("\n");
}

function mainTable(report: IsolationReport): string[] {
  const workload = mainWorkload(report);
  if (workload === undefined) return [];
  return [`Workload \`${workload}\`:`, table(TIME_HEAD, timeRows(report, workload))];
}

function matrix(report: IsolationReport): string {
  const names = report.workloads.map(({ name }) => name);
  return table(
    ["peer", ...names],
    measuredPeers(report).map((peer) => [
      peer.name,
      ...names.map((workload) => {
        const found = cellOf(report, peer.name, workload);
        return found?.result ? spellUs(found.result.p50) : (found?.status ?? "–");
      }),
    ]),
  );
}

function effects(report: IsolationReport): string {
  return table(
    [
      "peer",
      "process memory",
      "kernel memory",
      "a crash",
      "stopped on time",
      "late, worst",
      "1 core",
      "2 cores",
    ],
    measuredPeers(report).map(({ name, memory, memoryProblem, crash, stop, throughput }) => {
      const rate = (cores: number): string => {
        const found = throughput.find((entry) => entry.cores === cores);
        return found ? spellRate(found.requestsPerSecond) : "–";
      };
      const late =
        stop?.verdict === "stopped" ? `${digits(Math.max(...stop.lateMs))} ms` : (stop?.detail ?? "–");
      return [
        name,
        memory ? spellMemory(memory.proportionalBytes) : (memoryProblem ?? "–"),
        memory ? spellMemory(memory.kernelBytes) : "–",
        crash ? `${crash.verdict}: ${crash.detail}` : "–",
        stop?.verdict ?? "–",
        late,
        rate(1),
        rate(2),
      ];
    }),
  );
}

function notMeasured(report: IsolationReport): string[] {
  const rows = otherPeers(report).map(({ title, status, reason, install }) => [
    title,
    status,
    reason ?? "",
    install ?? "",
  ]);
  return rows.length === 0 ? [] : ["Not measured:", table(["peer", "status", "why", "how to get it"], rows)];
}

export function machineRows(report: IsolationReport): [string, string][] {
  const { machine } = report;
  return [
    ["date", report.started],
    ["processor", `${machine.cpu}, ${machine.cores} cores`],
    ["memory", `${machine.memoryGiB} GiB`],
    ["kernel", machine.kernel],
    ["virtualisation", `KVM: ${machine.kvm}`],
    [
      "mitigations",
      Object.entries(machine.mitigations)
        .map(([name, state]) => `${name}: ${state}`)
        .join("; ") || "none needed",
    ],
    ["huge pages", machine.hugePages],
    ["Node", `${machine.node} (V8 ${machine.v8})`],
    ["C compiler", machine.compiler],
    ["barecell", `${machine.barecell} (${machine.commit})`],
    ["load at the start", machine.load.toFixed(1)],
    ["VMs of others", String(machine.liveVms)],
  ];
}

const machineTable = (report: IsolationReport): string => table(["what", "is"], machineRows(report));
