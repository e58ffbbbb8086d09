/** `barecell bench` as its users run it, with two peers. No time is asserted: a test machine may be as slow as it likes. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { PeerProcess } from "../../bench/isolation/peer-process.ts";
import type { IsolationReport } from "../../bench/isolation/result.ts";
import { canUnshare, cli, failure, inNamespace, jsonOf, newFile, newFolder, ROOT } from "../cli/support.ts";
import { announceSkip } from "../support/environment.ts";
import { sampleReport } from "./sample-report.ts";

const hasRunc = process.getuid?.() === 0 && spawnSync("runc", ["--version"]).status === 0;
if (!hasRunc) announceSkip("containers of the benchmark", "needs root and runc (apt-get install runc)");

const QUICK = ["bench", "isolation", "--quick"];
const read = (folder: string, name: string): string => readFileSync(join(folder, name), "utf8");
const reportIn = (folder: string): IsolationReport =>
  JSON.parse(read(folder, "report.json")) as IsolationReport;

describe("bench isolation", () => {
  const out = join(newFolder(), "made", "on the way");
  let answer: Record<string, unknown>;
  let report: IsolationReport;

  beforeAll(async () => {
    const names = ["--peers", "microvm-staged,process,microvm-pool", "--workload", "nothing,echo"];
    const run = await cli([...QUICK, ...names, "--samples", "6", "--out", out, "--json"]);
    expect(run.status, run.stderr + run.stdout).toBe(0);
    answer = jsonOf(run);
    report = reportIn(out);
  }, 170_000);

  it("measures each peer with each workload, and keeps every sample", () => {
    expect(answer).toMatchObject({ ok: true, interrupted: false });
    expect(report.cells.map(({ peer, workload, status }) => `${workload} ${peer} ${status}`)).toEqual([
      ...["nothing process measured", "nothing microvm-staged measured"],
      ...["echo process measured", "echo microvm-staged measured"],
    ]);
    for (const { samples, ready, result, end } of report.cells) {
      expect(samples).toHaveLength(6);
      for (const { readyUs, resultUs, endUs } of samples) {
        expect(readyUs).toBeGreaterThan(0);
        expect(resultUs).toBeGreaterThan(readyUs ?? 0);
        expect(endUs).toBeGreaterThan(resultUs);
      }
      expect(result?.p50).toBe([...samples.map(({ resultUs }) => resultUs)].sort((a, b) => a - b)[2]);
      expect(result?.max).toBe(Math.max(...samples.map(({ resultUs }) => resultUs)));
      expect(ready?.count).toBe(6);
      expect(end?.p50Interval.low).toBeLessThanOrEqual(end?.p50 ?? 0);
    }
  });

  it("tries out crashes and endless loops, and looks at memory and throughput", () => {
    const measured = report.peers.filter(({ status }) => status === "measured");
    expect(measured.map(({ name }) => name)).toEqual(["process", "microvm-staged"]);
    for (const { crash, stop, memory, throughput, name } of measured) {
      expect(crash, name).toMatchObject({ verdict: "contained" });
      expect(stop, name).toMatchObject({ verdict: "stopped" });
      expect(stop?.lateMs, name).toHaveLength(2);
      expect(memory?.instances, name).toBe(8);
      expect(memory?.proportionalBytes, name).toBeGreaterThan(0);
      for (const { requestsPerSecond } of throughput) expect(requestsPerSecond, name).toBeGreaterThan(0);
      expect(throughput.length, name).toBeGreaterThan(0);
    }
    expect(report.timelines).toMatchObject([{ peer: "microvm-staged" }]);
    expect(report.timelines[0]?.steps.map(({ name }) => name)).toContain("iretq to ring 3");
  });

  it("lists what is not there with the reason", () => {
    const pool = report.peers.find(({ name }) => name === "microvm-pool");
    expect(pool).toMatchObject({ status: "unavailable", reason: expect.stringMatching(/not yet available/) });
    for (const name of ["report.md", "report.html"]) expect(read(out, name)).toContain(pool?.reason);
  });

  it("writes everything in four forms", () => {
    expect(readdirSync(out).sort()).toEqual(["report.csv", "report.html", "report.json", "report.md"]);
    expect(answer["files"]).toEqual(
      ["report.json", "report.csv", "report.md", "report.html"].map((name) => join(out, name)),
    );
    expect(read(out, "report.csv").trim().split("\n")).toHaveLength(1 + 4 * 6);
    const page = read(out, "report.html");
    // Two widths of: isolation, start, two latencies, throughput, memory, timeline.
    expect(page.match(/<svg /g)?.length).toBe(2 * 7);
    for (const { command, machine } of [report]) {
      for (const name of ["report.md", "report.html"]) {
        expect(read(out, name)).toContain(command);
        expect(read(out, name)).toContain(machine.kernel);
      }
    }
    // Self-contained: nothing is fetched, nothing is run.
    expect(page).not.toMatch(/<script|<link|<iframe|@import|(?:src|href)=["'](?!#)/);
    expect(page.replaceAll("http://www.w3.org/", "")).not.toMatch(/url\((?!#)/);
  });
});

describe("bench isolation that does not go as planned", () => {
  it("names what there is when a name is unknown", async () => {
    const told = await failure([...QUICK, "--peers", "rucn"], "BARECELL_ARGUMENT_INVALID", 2);
    expect(told).toMatch(/rucn.*microvm-staged/);
    expect(await failure([...QUICK, "--workload", "fob"], "BARECELL_ARGUMENT_INVALID", 2)).toMatch(
      /fob.*echo/,
    );
    await failure([...QUICK, "--samples", "0"], "BARECELL_ARGUMENT_INVALID", 2);
    await failure(["bench", "insulation"], "BARECELL_ARGUMENT_INVALID", 2);
    await failure(["bench", "compare", "one.json"], "BARECELL_ARGUMENT_INVALID", 2);
  });

  it("lists peers and workloads without measuring", async () => {
    const answer = jsonOf(await cli(["bench", "isolation", "--list", "--json"]));
    expect(answer["peers"]).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: "runc", wall: "container" })]),
    );
    expect(answer["workloads"]).toEqual(expect.arrayContaining([expect.objectContaining({ name: "hash" })]));
  });

  it("says so when no peer can be measured", async () => {
    const args = [...QUICK, "--peers", "microvm-pool,extism", "--workload", "nothing", "--out", newFolder()];
    expect(await failure(args, "BARECELL_BENCH_NOTHING_MEASURED", 1)).toMatch(
      /microvm-pool: not yet available/,
    );
  });

  it("fails before measuring where it may not write", async () => {
    const file = newFile("a-file", "");
    const args = [...QUICK, "--peers", "process", "--out", join(file, "report")];
    expect(await failure(args, "BARECELL_FILE_UNWRITABLE", 1)).toContain(file);
  });

  it("names the packages that the report needs when they are not installed", async () => {
    const hook = `export async function resolve(name, context, next) {
      if (name === "vega") throw Object.assign(new Error("not here"), { code: "ERR_MODULE_NOT_FOUND" });
      return next(name, context);
    }`;
    const register = newFile(
      "register.mjs",
      `import { register } from "node:module"; register("data:text/javascript,${encodeURIComponent(hook).replaceAll("'", "%27")}");`,
    );
    const told = await failure(
      [...QUICK, "--peers", "process", "--out", newFolder()],
      "BARECELL_BENCH_PACKAGE_MISSING",
      1,
      {
        env: { NODE_OPTIONS: `--import ${register}` },
      },
    );
    expect(told).toContain("npm install vega vega-lite simple-statistics");
  });

  it.skipIf(!canUnshare)(
    "keeps the figures when the disk is full",
    async () => {
      const [out, temporary] = [newFolder(), newFolder()];
      const run = await cli(
        [...QUICK, "--peers", "process", "--workload", "nothing", "--samples", "4", "--out", out, "--json"],
        { prefix: inNamespace(`mount -t tmpfs -o size=16k tmpfs '${out}'`), env: { TMPDIR: temporary } },
      );
      expect(run.status).toBe(1);
      const { error } = jsonOf(run) as { error: { code: string; message: string } };
      expect(error.code).toBe("BARECELL_FILE_UNWRITABLE");
      expect(error.message).toContain("ENOSPC");
      const kept = /what was measured is in (\S+)/.exec(error.message)?.[1] ?? "";
      expect(kept.startsWith(temporary)).toBe(true);
      expect((JSON.parse(readFileSync(kept, "utf8")) as IsolationReport).cells).toHaveLength(1);
    },
    120_000,
  );

  it.skipIf(!canUnshare)(
    "measures the others on a machine without KVM",
    async () => {
      const out = newFolder();
      const run = await cli(
        [
          ...QUICK,
          "--peers",
          "process,microvm-direct,floor",
          "--workload",
          "nothing",
          "--samples",
          "4",
          "--out",
          out,
        ],
        { prefix: inNamespace("mount --bind /dev/null /dev/kvm") },
      );
      expect(run.status, run.stderr).toBe(0);
      const { peers } = reportIn(out);
      expect(peers.map(({ name, status }) => `${name} ${status}`)).toEqual([
        ...["process measured", "floor unavailable", "microvm-direct unavailable"],
      ]);
      expect(peers[2]?.reason).toMatch(/BARECELL_KVM_/);
      expect(run.stdout).toContain("barecell itself was not measured");
    },
    120_000,
  );

  it("ends in good order when it is interrupted, with what was measured", async () => {
    const out = newFolder();
    const peers = `process,microvm-direct${hasRunc ? ",runc" : ""}`;
    const names = ["--peers", peers, "--workload", "nothing,hash", "--samples", "100000"];
    // The full plan: it would take minutes. `cli` checks that no process and no file is left.
    const run = await cli(["bench", "isolation", ...names, "--out", out, "--json"], {
      onStart: (kill, temporary) => {
        const waiting = setInterval(() => {
          // The measuring processes have made images: the peers are being measured.
          const made = readdirSync(temporary, { recursive: true }).map(String);
          if (!made.some((name) => name.endsWith(".cell"))) return;
          clearInterval(waiting);
          setTimeout(() => kill("SIGINT"), 3000);
        }, 100);
      },
    });
    expect(run.status, run.stderr).toBe(130);
    expect(jsonOf(run)).toMatchObject({ ok: false, interrupted: true });
    const report = reportIn(out);
    expect(report.interrupted).toBe(true);
    expect(report.cells.some(({ samples }) => samples.length > 0)).toBe(true);
    expect(read(out, "report.md")).toContain("Interrupted");
    const groups = readdirSync("/sys/fs/cgroup", { recursive: true }).map(String);
    expect(groups.filter((name) => name.includes("barecell-bench-"))).toEqual([]);
  }, 120_000);
});

describe("a peer that hangs", () => {
  const scratch = newFolder();
  const HOST = new URL("../../dist/bench/isolation/host.js", import.meta.url);
  const program = {
    ...{ name: "spin", n: 1, expected: 0, wasmPath: join(ROOT, "bench/workloads/wasm/spin.wasm") },
    ...{
      programPath: null,
      libraryPath: null,
      nativeProblem: null,
      input: null,
      output: null,
      callsHost: false,
    },
  };
  const setting = { scratch, launcherPath: null, floorPath: null };

  it("is killed when its deadline is over, and says so", async () => {
    const host = new PeerProcess({ peer: "v8", setting }, { script: HOST });
    await host.order<"open">({ op: "open", program }, 20_000);
    const hung = host.order<"batch">({ op: "batch", count: 1, warmUp: 0 }, 300);
    await expect(hung).rejects.toMatchObject({ how: "hung", message: expect.stringContaining("batch") });
    await host.end();
    expect(existsSync(`/proc/${host.pid}`)).toBe(false);
  }, 60_000);

  it("is ended with whoever started it", async () => {
    const host = new PeerProcess({ peer: "v8", setting }, { script: HOST });
    await host.order<"open">({ op: "open", program }, 20_000);
    await host.end();
    expect(existsSync(`/proc/${host.pid}`)).toBe(false);
    await expect(host.order<"end">({ op: "end" }, 1000)).rejects.toMatchObject({ how: "died" });
  }, 60_000);
});

describe("bench compare", () => {
  const before = newFile("before.json", JSON.stringify(sampleReport({ own: 100, peer: 10 })));
  const after = newFile("after.json", JSON.stringify(sampleReport({ own: 150, peer: 10 })));

  it("says what became slower", async () => {
    const run = await cli(["bench", "compare", before, after]);
    expect(run.status).toBe(0);
    expect(run.stdout).toContain("own, nothing: 100 µs → 150 µs (1.50×)");
    expect(run.stdout).not.toContain("peer, nothing");
    expect(jsonOf(await cli(["bench", "compare", "--json", before, after]))).toMatchObject({
      ok: true,
      changes: [
        { peer: "own", ratio: 1.5, isClear: true },
        { peer: "peer", ratio: 1 },
      ],
    });
  });

  it("fails above a limit", async () => {
    expect((await cli(["bench", "compare", "--fail-above", "40", before, after])).status).toBe(1);
    expect((await cli(["bench", "compare", "--fail-above", "60", before, after])).status).toBe(0);
    expect((await cli(["bench", "compare", "--fail-above", "40", after, before])).status).toBe(0);
  });

  it("refuses what is no report", async () => {
    await failure(["bench", "compare", before, "/nonexistent"], "BARECELL_FILE_UNREADABLE", 2);
    for (const text of ["", "[]", "{}", '{"schema":"barecell-bench-isolation/1"}', "null"]) {
      await failure(["bench", "compare", before, newFile("x.json", text)], "BARECELL_ARGUMENT_INVALID", 2);
    }
    const broken = { ...sampleReport({ own: 1 }), cells: [{ result: { p50: "x" } }] };
    const file = newFile("x.json", JSON.stringify(broken));
    await failure(["bench", "compare", file, before], "BARECELL_ARGUMENT_INVALID", 2);
  });
});

describe("containers", () => {
  it.skipIf(!hasRunc)(
    "are gone when their measuring process was killed",
    async () => {
      const { buildProgram, buildTools } = await import("../../bench/isolation/programs.ts");
      const { spin } = await import("../../bench/workloads/faults.ts");
      const { peer } = await import("../../bench/peers/runc.ts");
      const scratch = newFolder();
      const setting = await buildTools(scratch);
      const program = await buildProgram(spin, setting, true);
      const HOST = new URL("../../dist/bench/isolation/host.js", import.meta.url);
      const host = new PeerProcess({ peer: "runc", setting }, { script: HOST });
      await host.order<"open">({ op: "open", program }, 60_000);
      const state = join(scratch, "runc-state");
      await expect(host.order<"batch">({ op: "batch", count: 1, warmUp: 0 }, 3000)).rejects.toMatchObject({
        how: "hung",
      });
      await host.end();
      // Its parents are killed; the container is not, since it has a supervisor of its own.
      expect(readdirSync(state).length).toBe(1);
      await peer.sweep?.(setting);
      expect(readdirSync(state)).toEqual([]);
      const left = spawnSync("runc", ["--root", state, "list", "--quiet"], { encoding: "utf8" });
      expect(left.stdout).toBe("");
    },
    120_000,
  );
});
