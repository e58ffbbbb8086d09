/** `barecell bench isolation` that does not go as planned: nothing is lost, nothing is left. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type * as Measure from "../../bench/isolation/measure.ts";
import { PeerProcess } from "../../bench/isolation/peer-process.ts";
import { QUICK as QUICK_PLAN } from "../../bench/isolation/plan.ts";
import type * as Registry from "../../bench/isolation/registry.ts";
import type { IsolationReport } from "../../bench/isolation/result.ts";
import { spin } from "../../bench/workloads/faults.ts";
import type { Workload } from "../../bench/workloads/workload.ts";
import { canUnshare, cli, failure, inNamespace, jsonOf, newFile, newFolder, ROOT } from "../cli/support.ts";
import { announceSkip } from "../support/environment.ts";

const hasRunc = process.getuid?.() === 0 && spawnSync("runc", ["--version"]).status === 0;
if (!hasRunc) announceSkip("containers of the benchmark", "needs root and runc (apt-get install runc)");

const canBeNobody = canUnshare && spawnSync("unshare", ["--user", "true"]).status === 0;
if (!canBeNobody) announceSkip("the benchmark without root", "needs root and user namespaces");

const QUICK = ["bench", "isolation", "--quick"];
const read = (folder: string, name: string): string => readFileSync(join(folder, name), "utf8");
const reportIn = (folder: string): IsolationReport =>
  JSON.parse(read(folder, "report.json")) as IsolationReport;

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
    // Nothing is installed where there is nothing on PATH; but some places are looked into all the same.
    const empty = newFolder();
    const args = [...QUICK, "--peers", "firecracker,wasmtime", "--workload", "nothing", "--out", newFolder()];
    const told = await failure(args, "BARECELL_BENCH_NOTHING_MEASURED", 1, { env: { PATH: empty } });
    expect(told).toMatch(/wasmtime: .+; firecracker: firecracker is not installed/);
  });

  it("says so when the only workload is not there", async () => {
    const args = [...QUICK, "--peers", "v8", "--workload", "coremark", "--out", newFolder()];
    const env = { BARECELL_COREMARK: "/nonexistent" };
    expect(await failure(args, "BARECELL_BENCH_NOTHING_MEASURED", 1, { env })).toMatch(
      /coremark was not measured: .*nonexistent/,
    );
  }, 120_000);

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

  it.skipIf(!canBeNobody)(
    "measures what a user who is not root may use, and says why not the rest",
    async () => {
      const out = newFolder();
      const names = ["--peers", "process,runc,lxc,microvm-direct", "--workload", "nothing"];
      // The owner of the same files, and in no namespace the user number 0.
      const run = await cli([...QUICK, ...names, "--samples", "4", "--out", out], {
        prefix: ["unshare", "--user", "--"],
      });
      expect(run.status, run.stderr).toBe(0);
      const { peers } = reportIn(out);
      const of = (peer: string) => peers.find(({ name }) => name === peer);
      for (const name of ["process", "microvm-direct"]) expect(of(name)?.status, name).toBe("measured");
      expect(of("lxc")).toMatchObject({
        status: "unavailable",
        reason: expect.stringMatching(/needs root|is not installed/),
        install: expect.stringMatching(/as root|apt-get/),
      });
      // Without root it works where the host lets it.
      if (of("runc")?.status !== "measured") expect(of("runc")?.reason).toMatch(/\w{4}/);
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

describe("a workload that is too much", () => {
  it("is marked: the process that hangs is killed, memory that is not there is not tried, and the others go on", async () => {
    const dist = (name: string): string => new URL(`../../dist/bench/${name}.js`, import.meta.url).href;
    const { measure } = (await import(dist("isolation/measure"))) as typeof Measure;
    const { allWorkloads, onePeer } = (await import(dist("isolation/registry"))) as typeof Registry;
    const named = new Map((await allWorkloads()).map((workload) => [workload.name, workload]));
    const nothing = named.get("nothing") as Workload;
    const huge = { ...(named.get("memory-1") as Workload), name: "memory-huge", touchesBytes: 2 ** 50 };
    const report = await measure(
      {
        peers: [await onePeer("v8")],
        workloads: [spin, huge, nothing],
        plan: { ...QUICK_PLAN, samples: 4, deadlineMs: 5000, throughputWorkloads: 0 },
        command: "none",
        signal: new AbortController().signal,
        progress: () => {},
      },
      nothing,
    );
    expect(report.cells).toMatchObject([
      { workload: "spin", status: "hung", reason: expect.stringContaining("killed"), result: null },
      {
        workload: "memory-huge",
        status: "failed",
        reason: expect.stringContaining("not enough free memory"),
      },
      { workload: "nothing", status: "measured" },
    ]);
    expect(report.cells[2]?.samples).toHaveLength(4);
    expect(report.peers).toMatchObject([{ status: "measured", stop: { verdict: "stopped" } }]);
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
  const setting = { scratch, launcherPath: null, floorPath: null, guestInitPath: null };

  it("is killed when its deadline is over, and says so", async () => {
    const host = new PeerProcess({ peer: "v8", setting }, { script: HOST });
    await host.order<"open">({ op: "open", program }, 20_000);
    const hung = host.order<"batch">({ op: "batch", count: 1, warmUp: 0 }, 300);
    await expect(hung).rejects.toMatchObject({ how: "hung", message: expect.stringContaining("batch") });
    await host.end();
    expect(existsSync(`/proc/${host.pid}`)).toBe(false);
  }, 60_000);

  it("is told apart from one that the system killed, as it does when memory runs out", async () => {
    const host = new PeerProcess({ peer: "v8", setting }, { script: HOST });
    await host.order<"open">({ op: "open", program }, 20_000);
    const killed = host.order<"batch">({ op: "batch", count: 1, warmUp: 0 }, 20_000);
    process.kill(host.pid, "SIGKILL");
    await expect(killed).rejects.toMatchObject({ how: "died", message: expect.stringContaining("SIGKILL") });
    await host.end();
  }, 60_000);

  it("is ended with whoever started it", async () => {
    const host = new PeerProcess({ peer: "v8", setting }, { script: HOST });
    await host.order<"open">({ op: "open", program }, 20_000);
    await host.end();
    expect(existsSync(`/proc/${host.pid}`)).toBe(false);
    await expect(host.order<"end">({ op: "end" }, 1000)).rejects.toMatchObject({ how: "died" });
  }, 60_000);
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
