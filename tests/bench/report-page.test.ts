/** The report's page in a real browser: on a desk and on a phone, light and dark. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeReport } from "../../bench/isolation/report/write.ts";
import type { IsolationReport } from "../../bench/isolation/result.ts";
import type { Wall } from "../../bench/peers/peer.ts";
import { announceSkip } from "../support/environment.ts";
import { sampleReport } from "./sample-report.ts";

/** Runs in the browser; the page itself has no script. */
const LOOK = readFileSync(new URL("./look-at-page.mjs", import.meta.url), "utf8").replace(
  /^.*?export default /s,
  "",
);

const BROWSERS = [
  ...["chromium", "chromium-headless-shell", "chromium-browser"],
  ...["google-chrome", "google-chrome-stable"],
];
const browser = BROWSERS.find((name) => spawnSync(name, ["--version"]).status === 0);
if (browser === undefined) {
  announceSkip("the report's page in a browser", "needs Chromium (apt-get install chromium)");
}

const folder = mkdtempSync(join(tmpdir(), "barecell-page-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Everything that the page can show, with long names and times from end to end of the scale. */
function fullReport(): IsolationReport {
  const walls: Record<string, Wall> = {
    ...{ "native-call": "none", v8: "language", "worker-threads": "thread", process: "process" },
    ...{ "node-child-process": "process", bubblewrap: "container", runc: "container", podman: "container" },
    ...{ gvisor: "kernel", floor: "vm", "own-microvm-staged": "vm", "own-microvm-snapshot": "vm" },
  };
  const medians = Object.keys(walls).map((name, i) => [name, 0.3 * 4 ** i] as const);
  const report = sampleReport(Object.fromEntries(medians));
  const other = "host-calls-10000";
  return {
    ...report,
    workloads: [...report.workloads, { name: other, title: "another", n: 1 }],
    cells: [...report.cells, ...report.cells.map((cell) => ({ ...cell, workload: other }))],
    warnings: ["something <b>odd</b> happened"],
    peers: report.peers.map((peer, i) => ({
      ...peer,
      wall: walls[peer.name] ?? "vm",
      crash: { verdict: "contained", detail: "the request fails (killed by signal 11); the next one works" },
      stop: { verdict: "stopped", detail: "", lateMs: [1, 2] },
      memory: {
        instances: 8,
        proportionalBytes: 5000 * 3 ** i,
        kernelBytes: i === 0 ? -9000 : 100_000,
        rounds: [],
      },
      throughput: [1, 2].map((cores) => ({
        workload: "nothing",
        cores,
        requestsPerSecond: (cores * 1e6) / 4 ** i,
      })),
    })),
    timelines: [
      {
        peer: "microvm-staged",
        totalUs: 900,
        steps: ["map memory", "create VM", "long mode to the image's page tables"].map((name, i) => ({
          ...{
            name,
            side: i === 2 ? ("guest" as const) : ("host" as const),
            startUs: 300 * i,
            durationUs: 300,
          },
        })),
      },
    ],
  };
}

interface Seen {
  readonly innerWidth: number;
  readonly scrollWidth: number;
  readonly background: string;
  readonly pictures: readonly {
    readonly width: number;
    readonly height: number;
    readonly texts: number;
    /** Words that reach out of their picture, by more than a pixel. */
    readonly outside: readonly string[];
    readonly colors: readonly string[];
  }[];
}

function open(page: string, width: number, dark: boolean): Seen {
  // In a frame, since browsers have no windows as narrow as a phone.
  const wrapper = join(folder, `wrapper-${width}-${dark}.html`);
  const inner = JSON.stringify(page).replaceAll("<", "\\u003c");
  writeFileSync(
    wrapper,
    `<!doctype html><iframe width="${width}" height="3000"></iframe><pre></pre><script>
    const look = ${LOOK};
    const frame = document.querySelector("iframe");
    frame.onload = () => { document.querySelector("pre").textContent = "[[" + JSON.stringify(look(frame.contentWindow)) + "]]"; };
    frame.srcdoc = ${inner};
    </script>`,
  );
  const run = spawnSync(
    browser ?? "",
    [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=20000"],
      ...[
        `--user-data-dir=${join(folder, "profile")}`,
        `--blink-settings=preferredColorScheme=${dark ? 0 : 1}`,
      ],
      pathToFileURL(wrapper).href,
    ],
    { encoding: "utf8", timeout: 120_000, maxBuffer: 2 ** 28 },
  );
  const found = /<pre>\[\[(.*)\]\]<\/pre>/s.exec(run.stdout)?.[1];
  if (found === undefined) throw new Error(`the browser showed nothing: ${run.stderr.slice(-500)}`);
  return JSON.parse(found.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&")) as Seen;
}

describe.skipIf(browser === undefined)("the page", () => {
  let page: string;
  beforeAll(async () => {
    await writeReport(fullReport(), folder);
    page = readFileSync(join(folder, "report.html"), "utf8");
  }, 60_000);

  it.each([
    [1000, false],
    [1000, true],
    [390, false],
    [390, true],
  ])(
    "fits a window of %i pixels, dark: %s",
    (width, dark) => {
      const seen = open(page, width, dark);
      expect(seen.innerWidth).toBe(width);
      expect(seen.scrollWidth, "the page is wider than its window").toBeLessThanOrEqual(width);
      // Isolation, comparison, start, two latencies, throughput, memory, timeline: each in the one width that fits.
      expect(seen.pictures).toHaveLength(8);
      for (const { outside, width: pictureWidth, height, texts, colors } of seen.pictures) {
        expect(outside, "words reach out of their picture").toEqual([]);
        expect(pictureWidth).toBeGreaterThan(width * 0.85);
        expect(height).toBeGreaterThan(60);
        expect(texts).toBeGreaterThan(5);
        // Every colour is a real one, that is: no variable is missing, and nothing has the background's.
        for (const color of colors) expect(color).toMatch(/^rgb/);
        expect(colors).not.toContain(seen.background);
        expect(colors).not.toContain("rgb(0, 0, 0)");
      }
      const [light] = /\d+/.exec(seen.background) ?? [];
      expect(Number(light) < 128).toBe(dark);
    },
    180_000,
  );
});

describe("the page's text", () => {
  it("escapes what programs said", async () => {
    await writeReport(fullReport(), folder);
    const page = readFileSync(join(folder, "report.html"), "utf8");
    expect(page).toContain("something &lt;b&gt;odd&lt;/b&gt; happened");
  });
});
