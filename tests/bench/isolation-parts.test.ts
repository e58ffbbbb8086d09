/** The parts of `barecell bench`: workloads, peers, figures, comparisons and files, each by itself. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type * as command from "../../bench/isolation/command.ts";
import { difference } from "../../bench/isolation/compare.ts";
import { processTree, proportionalBytes } from "../../bench/isolation/process-memory.ts";
import { buildProgram, buildTools } from "../../bench/isolation/programs.ts";
import { allPeers, allWorkloads } from "../../bench/isolation/registry.ts";
import { renderCsv } from "../../bench/isolation/report/csv.ts";
import { comparedWith, findings } from "../../bench/isolation/report/findings.ts";
import { spellBytes, spellMemory, spellUs } from "../../bench/isolation/report/format.ts";
import { html } from "../../bench/isolation/report/html.ts";
import { loadSummarizer } from "../../bench/isolation/statistics.ts";
import { inProject, testData } from "../../bench/paths.ts";
import { type Setting, Unavailable, WALLS } from "../../bench/peers/peer.ts";
import { instantiate } from "../../bench/peers/support/wasm-instance.ts";
import type { Workload } from "../../bench/workloads/workload.ts";
import type { BenchModule } from "../../src/cli/bench.ts";
import { announceSkip } from "../support/environment.ts";
import { sampleReport } from "./sample-report.ts";

const scratch = mkdtempSync(join(tmpdir(), "barecell-bench-parts-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("the command line's view of the benchmark", () => {
  it("is what the benchmark offers", () => {
    // The compiler checks it; the command line loads the module without its types.
    const holds = (module: typeof command): BenchModule => module;
    expect(holds).toBeTypeOf("function");
  });
});

describe("workloads", () => {
  let setting: Setting;
  beforeAll(async () => {
    setting = await buildTools(scratch);
  }, 120_000);

  it("are all there, each once", async () => {
    const names = (await allWorkloads()).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(
      expect.arrayContaining(["nothing", "fib", "hash", "json", "compress", "long", "echo"]),
    );
    expect(names).toEqual(expect.arrayContaining(["host-calls-1", "host-calls-100", "host-calls-10000"]));
    expect(names).toEqual(expect.arrayContaining(["memory-1", "memory-16", "memory-64"]));
  });

  it("come to the same result natively and as WebAssembly, and it is the one that is stated", async () => {
    expect(setting.launcherPath).not.toBeNull();
    expect(setting.floorPath).not.toBeNull();
    expect(setting.guestInitPath).not.toBeNull();
    for (const workload of (await allWorkloads()).filter(({ source }) => source !== null)) {
      const program = await buildProgram(workload, setting, true);
      expect(program.nativeProblem, workload.name).toBeNull();
      const words = [String(program.n), String(program.input?.length ?? 0), "run"];
      const printed = execFileSync(program.programPath ?? "", words, { input: program.input ?? "" });
      const end = printed.indexOf(10);
      expect(Number(printed.subarray(0, end).toString().split(" ")[1]), workload.name).toBe(program.expected);
      const module = new WebAssembly.Module(readFileSync(program.wasmPath));
      const { result, output } = instantiate(module, program).run();
      expect(result, workload.name).toBe(program.expected);
      if (program.output === null) continue;
      expect(Buffer.from(output ?? [])).toEqual(Buffer.from(program.output));
      expect(printed.subarray(end + 1)).toEqual(Buffer.from(program.output));
    }
  }, 240_000);
});

describe("CoreMark", () => {
  const isThere = existsSync(testData("bench", "wasm3", "coremark", "coremark-minimal.wasm"));
  if (!isThere) announceSkip("CoreMark as a workload", "the program is no part of the project");
  const coremark = async () => (await allWorkloads()).find(({ name }) => name === "coremark") as Workload;

  it.skipIf(!isThere)("does the same work each time, and knows that it is right", async () => {
    const setting = { scratch, launcherPath: null, floorPath: null, guestInitPath: null };
    for (const quick of [true, false]) {
      const program = await buildProgram(await coremark(), setting, quick);
      expect(program).toMatchObject({
        programPath: null,
        nativeProblem: expect.stringContaining("C source"),
      });
      const module = new WebAssembly.Module(readFileSync(program.wasmPath));
      expect(WebAssembly.Module.imports(module)).toEqual([]);
      expect(instantiate(module, program).run().result).toBe(program.expected);
    }
    // It says 0 where its results are not those that it knows: here, since it knows others.
    const path = (await buildProgram(await coremark(), setting, true)).wasmPath;
    const bytes = readFileSync(path);
    const known = Buffer.from("b0d44033796a14e7c1e3", "hex");
    expect(bytes.indexOf(known)).toBeGreaterThan(0);
    bytes.fill(0, bytes.indexOf(known), bytes.indexOf(known) + known.length);
    const broken = new WebAssembly.Instance(new WebAssembly.Module(bytes), {}).exports["kernel_run"];
    expect((broken as (n: number) => number)(0)).toBe(0);
  });

  it("is left out with the reason where the program is not there, or is another one", async () => {
    const setting = { scratch, launcherPath: null, floorPath: null, guestInitPath: null };
    for (const path of ["/nonexistent", inProject("bench/workloads/wasm/fib.wasm")]) {
      vi.stubEnv("BARECELL_COREMARK", path);
      await expect(buildProgram(await coremark(), setting, true)).rejects.toMatchObject({
        constructor: Unavailable,
        message: expect.stringContaining(path),
        install: expect.stringContaining("BARECELL_COREMARK"),
      });
    }
    vi.unstubAllEnvs();
  });
});

describe("peers", () => {
  it("are described, and sorted from no wall to most", async () => {
    const peers = await allPeers();
    const walls = Object.keys(WALLS);
    for (const peer of peers) {
      for (const text of [peer.title, peer.includes, peer.leavesOut]) expect(text, peer.name).not.toBe("");
    }
    const places = peers.map(({ wall }) => walls.indexOf(wall));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    const expected = ["native-call", "v8", "node-wasi", "worker-threads", "isolated-vm", "extism", "process"];
    const others = ["bubblewrap", "runc", "crun", "lxc", "podman", "docker", "gvisor", "kata"];
    const guests = ["qemu-microvm", "firecracker"];
    const own = [
      "floor",
      "microvm-staged",
      "microvm-direct",
      "microvm-shell",
      "microvm-pool",
      "microvm-snapshot",
    ];
    expect(peers.map(({ name }) => name)).toEqual(
      expect.arrayContaining([...expected, ...others, ...guests, ...own]),
    );
  });
});

describe("figures", () => {
  it("have an interval around the median, and the same one each time", async () => {
    const summarize = await loadSummarizer(500);
    const samples = Array.from({ length: 101 }, (_, i) => 100 + ((i * 37) % 101));
    const figures = summarize(samples);
    expect(figures).toMatchObject({ count: 101, p50: 150, p90: 190, p99: 199, max: 200 });
    expect(figures.p50Interval.low).toBeLessThan(150);
    expect(figures.p50Interval.low).toBeGreaterThan(120);
    expect(figures.p50Interval.high).toBeGreaterThan(150);
    expect(figures.p50Interval.high).toBeLessThan(180);
    expect(summarize(samples)).toEqual(figures);
    expect(summarize([7]).p50Interval).toEqual({ low: 7, high: 7 });
  });

  it("are spelt so that three digits say something", () => {
    expect([0.0123, 1.234, 999.4, 1234, 56_789_000].map(spellUs)).toEqual([
      ...["0.01 µs", "1.23 µs", "999 µs", "1.23 ms", "56.8 s"],
    ]);
    expect([0, -1, -16_384, 2048].map(spellMemory)).toEqual(["0 KiB", "about 0", "about 0", "2.00 KiB"]);
    expect([0, 512, -2048, 3 * 2 ** 20].map(spellBytes)).toEqual([
      "0 KiB",
      "0.50 KiB",
      "-2.00 KiB",
      "3.00 MiB",
    ]);
  });
});

describe("memory", () => {
  it("of a process and what it started is more than of the process alone", () => {
    const alone = proportionalBytes([process.pid]);
    expect(alone).toBeGreaterThan(2 ** 20);
    expect(processTree(process.pid)[0]).toBe(process.pid);
    expect(processTree(1).length).toBeGreaterThan(1);
    expect(proportionalBytes([2 ** 30])).toBe(0);
  });
});

describe("the report", () => {
  it("says who is faster only where the intervals do not meet", () => {
    const { faster, slower, even } = findings(sampleReport({ own: 100, quick: 50, close: 101, slow: 900 }));
    expect(faster).toMatchObject([{ peer: "quick", own: "own", ratio: 0.5 }]);
    expect(slower).toMatchObject([{ peer: "slow", ratio: 9 }]);
    expect(even).toMatchObject([{ peer: "close" }]);
  });

  it("compares with the fastest of our own ways", () => {
    const report = sampleReport({ own: 100, quick: 50 });
    const second = sampleReport({ own: 20 });
    const cells = [...report.cells, ...second.cells.map((cell) => ({ ...cell, peer: "own2" }))];
    const peers = [...report.peers, ...second.peers.map((peer) => ({ ...peer, name: "own2" }))];
    expect(findings({ ...report, cells, peers }).faster).toEqual([]);
  });

  it("does not compare what has VMs ready with what begins with nothing, unless there is nothing else", () => {
    const report = sampleReport({ "own-ahead": 20, own: 100, quick: 50 });
    expect(findings(report)).toMatchObject({ faster: [{ peer: "quick", own: "own" }], slower: [] });
    expect(findings(sampleReport({ "own-ahead": 20, quick: 50 })).slower).toMatchObject([
      { peer: "quick", own: "own-ahead", ratio: 2.5 },
    ]);
    expect(comparedWith(report)).toContain("makes a VM for the request");
    expect(comparedWith(sampleReport({ "own-ahead": 20, quick: 50 }))).toContain("before the request");
  });

  it("has every sample as a line of CSV", () => {
    const lines = renderCsv(sampleReport({ own: 100 }))
      .trim()
      .split("\n");
    expect(lines[0]).toBe("peer,workload,turn,sample,ready_us,result_us,end_us");
    expect(lines).toHaveLength(1 + 5);
    expect(lines[1]).toMatch(/^own,nothing,0,0,[\d.]+,[\d.]+,[\d.]+$/);
  });

  it("escapes what programs say", () => {
    expect(html`<p title="${'"&'}">${"<script>"}${[1, html`<b>x</b>`]}</p>`.text).toBe(
      '<p title="&quot;&amp;">&lt;script&gt;1<b>x</b></p>',
    );
  });
});

describe("the figure for the README", () => {
  const script = inProject("scripts", "make-isolation.mjs");
  const folder = join(scratch, "readme");
  const run = (readme: string): string => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "report.json"), JSON.stringify(sampleReport({ own: 100, "a & b": 50 })));
    writeFileSync(join(folder, "README.md"), readme);
    execFileSync(process.execPath, [script, folder, "--readme", join(folder, "README.md")], {
      stdio: "pipe",
    });
    return readFileSync(join(folder, "README.md"), "utf8");
  };

  it("stands between its markers, the same each time, light and dark", () => {
    const marks = ["<!-- isolation: made by scripts/make-isolation.mjs -->", "<!-- /isolation -->"];
    const first = run(`before\n${marks[0]}\nold\n${marks[1]}\nafter\n`);
    expect(first).toMatch(/^before\n<!-- isolation.*<!-- \/isolation -->\nafter\n$/s);
    expect(first).toContain("| own | 100 µs |");
    expect(first).toContain("](isolation.svg)");
    expect(first).not.toContain("old");
    const figure = readFileSync(join(folder, "isolation.svg"), "utf8");
    expect(figure).toMatch(/^<svg [^>]*xmlns=.*prefers-color-scheme:dark.*a &amp; b.*<\/svg>\n$/s);
    expect(run(first)).toBe(first);
    expect(readFileSync(join(folder, "isolation.svg"), "utf8")).toBe(figure);
    expect(() => run("no markers")).toThrow(/lacks the markers/);
  }, 60_000);
});

describe("two reports", () => {
  it("are compared by their medians, and what only one has is said", () => {
    const before = sampleReport({ own: 100, gone: 5, same: 70 });
    const after = sampleReport({ own: 150, come: 5, same: 70 });
    const { changes, missing, machines } = difference(before, after);
    expect(changes.filter(({ measure }) => measure === "result")).toMatchObject([
      { peer: "own", workload: "nothing", before: 100, after: 150, ratio: 1.5, isClear: true },
      { peer: "same", ratio: 1, isClear: false },
    ]);
    expect(missing).toEqual([
      "gone, nothing: only in the first report",
      "come, nothing: only in the second report",
    ]);
    expect(machines).toEqual([]);
    const elsewhere = { ...after, machine: { ...after.machine, cpu: "another" } };
    expect(difference(before, elsewhere).machines).toMatchObject([{ what: "processor" }]);
  });

  it("have less throughput where they are worse", () => {
    const throughput = (perSecond: number) => [
      { workload: "nothing", cores: 1, requestsPerSecond: perSecond },
    ];
    const make = (perSecond: number) => {
      const report = sampleReport({ own: 100 });
      return {
        ...report,
        peers: report.peers.map((peer) => ({ ...peer, throughput: throughput(perSecond) })),
      };
    };
    const { changes } = difference(make(200), make(100));
    expect(changes.find(({ measure }) => measure === "throughput on 1 core")?.ratio).toBe(2);
  });
});

describe("what a published package must have", () => {
  it("is all named in package.json", () => {
    const { files } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      files: string[];
    };
    for (const file of files.filter((name) => !name.includes("*") && name !== "prebuilds")) {
      expect(existsSync(new URL(`../../${file}`, import.meta.url)), file).toBe(true);
    }
    expect(files).toEqual(
      expect.arrayContaining(["bench/native", "bench/workloads/c", "bench/workloads/wasm"]),
    );
  });
});
