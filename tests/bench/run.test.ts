/** The floor program and the harness, end to end. No time is asserted: a test machine may be as slow as it likes. */
import { execFile, execFileSync } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { compile } from "barecell";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import wabtInit from "wabt";
import { buildFloor, runFloor } from "../../bench/floor.ts";
import { HelperProcess } from "../../bench/helper-process.ts";
import { inProject } from "../../bench/paths.ts";
import { partsOf, type Report, type ScenarioReport } from "../../bench/report.ts";
import type { MappingSize } from "../../bench/smaps.ts";
import { figure, report as resultOf } from "./bench-results.ts";

/** What the scenario says of the image's pages. */
interface Density {
  readonly vmsPerRound: number;
  readonly sharing: { readonly vms: number; readonly imagePagesOfOneProcess: MappingSize };
}

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "barecell-bench-test-"));
const image = join(folder, "add.cell");
let floor: string;

const vmsOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/fd`).filter((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === "anon_inode:kvm-vm")
    .length;

beforeAll(async () => {
  floor = buildFloor();
  await (await compile(inProject("examples", "add", "add.wasm"), { cache: false })).save(image);
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the floor program", () => {
  it.each(["staged", "direct"] as const)("boots an image (%s) and calls it", async (boot) => {
    const options = ["--boot", boot, "--runs", "3", "--call", "0", "20", "22", "--steps"];
    const report = await runFloor(floor, image, options);
    expect(report).toMatchObject({ boot, unit: "us", runs: 3, slot: "42" });
    expect(report.samples["boot to result"]).toHaveLength(3);
    expect(report.samples["close"]).toHaveLength(3);
    for (const step of [
      "map memory",
      "create VM",
      "memory slots",
      "create vCPU",
      "CPUID",
      "registers",
      "boot",
    ]) {
      expect(report.steps?.[step]).toHaveLength(3);
    }
  });

  it("leaves ring 3 by an import port and comes back", async () => {
    // An image without imports has no room for their ports in its I/O bitmap.
    const wabt = await wabtInit();
    const module = wabt.parseWat("import.wat", '(module (import "host" "call" (func)))').toBinary({}).buffer;
    const importing = join(folder, "import.cell");
    await (await compile(module, { cache: false })).save(importing);
    const report = await runFloor(floor, importing, ["--boot", "direct", "--runs", "2", "--host-call", "50"]);
    expect(report.samples["host call"]).toHaveLength(2);
  });

  it("measures a call in a VM as if new, and as it was left", async () => {
    const options = ["--boot", "direct", "--reset", "20", "--call", "0", "20", "22"];
    const { slot, samples } = await runFloor(floor, image, options);
    expect(slot).toBe("42");
    for (const name of ["reset and call", "call after reset", "call again"]) {
      expect(samples[name], name).toHaveLength(20);
    }
    const [both, call] = [samples["reset and call"] ?? [], samples["call after reset"] ?? []];
    for (const [i, us] of both.entries()) expect(us).toBeGreaterThan(call[i] ?? Number.NaN);
  });

  it("makes live VMs beside the measured one, and as many as it is told to hold", async () => {
    const { slot } = await runFloor(floor, image, ["--live", "3", "--runs", "2", "--call", "0", "20", "22"]);
    expect(slot).toBe("42");
    await using holder = new HelperProcess(floor, [image, "--boot", "direct", "--hold"]);
    expect(await holder.ask("2")).toBe("2");
    expect(vmsOf(holder.pid)).toBe(2);
    expect(await holder.ask("3")).toBe("5");
    expect(vmsOf(holder.pid)).toBe(5);
  });

  it("ends, and is not waited for, when it cannot hold what it is told to", async () => {
    await using holder = new HelperProcess(floor, [image, "--hold"]);
    await expect(holder.ask("many")).rejects.toThrow(/without an answer to 'many'/);
  });

  it("prints a table for people", async () => {
    const { stdout } = await run(floor, [image, "--runs", "2", "--call", "0", "1", "2", "--steps"]);
    expect(stdout).toMatch(/p50 +p90 +p99 +max/);
    expect(stdout).toContain("first result slot: 3");
  });

  it("refuses what is not an image, and unknown options", async () => {
    const text = join(folder, "text");
    writeFileSync(text, "no image, but long enough to hold the header of an ELF file: 64 bytes\n");
    await expect(run(floor, [text])).rejects.toMatchObject({ code: 1 });
    await expect(run(floor, [join(folder, "absent")])).rejects.toMatchObject({ code: 1 });
    await expect(run(floor, [image, "--nonsense"])).rejects.toMatchObject({ code: 2 });
    for (const words of ["--runs 0", "--reset 5", "--reset 5 --call 0 --host-call 5", "--live many"]) {
      await expect(run(floor, [image, ...words.split(" ")]), words).rejects.toMatchObject({ code: 2 });
    }
  });
});

describe("npm run bench", () => {
  const main = inProject("build", "bench", "main.js");

  beforeAll(() => {
    if (!existsSync(inProject("dist", "index.js"))) throw new Error("build the project first: npm run build");
    const tsc = join(
      dirname(createRequire(import.meta.url).resolve("typescript/package.json")),
      "bin",
      "tsc",
    );
    execFileSync(process.execPath, [tsc, "-p", inProject("bench", "tsconfig.json")], { stdio: "inherit" });
  }, 60_000);

  it("measures a scenario and writes the promised JSON", async () => {
    const json = join(folder, "report.json");
    const { stdout } = await run(process.execPath, [
      main,
      "cold-staged",
      "--quick",
      "--runs",
      "4",
      "--json",
      json,
    ]);
    expect(stdout).toMatch(/^cold-staged +us +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$/m);
    const report = JSON.parse(readFileSync(json, "utf8")) as Report;
    expect(Object.keys(report)).toEqual(["machine", "quick", "scenarios"]);
    expect(report.quick).toBe(true);
    expect(Object.keys(report.scenarios)).toEqual(["cold-staged"]);
    const scenario = report.scenarios["cold-staged"];
    expect(Object.keys(scenario ?? {})).toEqual([
      ...["unit", "p50", "p90", "p99", "max", "floor", "ratio", "details"],
    ]);
    expect(scenario?.ratio).toBeCloseTo((scenario?.p50 ?? 0) / (scenario?.floor?.p50 ?? 0), 10);
    expect(scenario?.details["samples"]).toMatchObject({
      value: [expect.any(Number), expect.any(Number), expect.any(Number), expect.any(Number)],
      floor: [expect.any(Number), expect.any(Number), expect.any(Number), expect.any(Number)],
    });
  }, 60_000);

  it("measures what needs other processes and threads: floor, restore, pooled, throughput, scale, density", async () => {
    const json = join(folder, "others.json");
    const names = ["floor", "restore", "pooled", "throughput", "scale", "density"];
    const { stderr } = await run(process.execPath, [main, ...names, "--quick", "--json", json]);
    expect(stderr).toBe("");
    const { scenarios } = JSON.parse(readFileSync(json, "utf8")) as Report;
    expect(Object.keys(scenarios)).toEqual(names);
    const parts = Object.fromEntries(
      Object.entries(scenarios).map(([name, scenario]) => [name, Object.keys(partsOf(scenario))]),
    );
    expect(parts["floor"]).toEqual([
      ...["staged boot", "no other VM in the process", "destroy", "run", "reset and run"],
    ]);
    expect(parts["scale"]).toEqual(["1 live", "5 live", "20 live in other processes"]);
    expect(parts["density"]).toEqual(["process", "kernel"]);
    expect(parts["pooled"]).toEqual(["await call()", "in a row, cleaning included"]);
    expect(parts["throughput"]?.length).toBe(availableParallelism() > 1 ? 3 : 1);
    for (const [name, { ratio, floor: ofFloor }] of Object.entries(scenarios)) {
      expect(ratio === null, name).toBe(name === "floor");
      expect(ofFloor === null, name).toBe(name === "floor");
    }
    // Of one image all VMs of a process have the same pages, but for those that they wrote.
    const { sharing, vmsPerRound } = (scenarios["density"] as ScenarioReport).details as unknown as Density;
    const { vms, imagePagesOfOneProcess: pages } = sharing;
    expect(vms).toBeGreaterThanOrEqual(vmsPerRound);
    expect(pages.mappings).toBe(vms);
    expect(pages.own).toBeLessThan(pages.resident / 4);
    expect(pages.shared).toBe(pages.resident - pages.own);
    expect(pages.proportional - pages.own).toBeLessThanOrEqual((1.5 * pages.shared) / vms);
  }, 240_000);

  it("compares two results: 1 for a regression, 2 for a file that is none", async () => {
    const write = (name: string, content: unknown): string => {
      const path = join(folder, name);
      writeFileSync(path, JSON.stringify(content));
      return path;
    };
    const old = write("old.json", resultOf({ "warm-sync": figure(1, {}) }));
    const same = write("same.json", resultOf({ "warm-sync": figure(2, {}) }));
    const worse = write("worse.json", resultOf({ "warm-sync": figure(3, { own: 1.5 }) }));
    const start = (...words: string[]) => run(process.execPath, [main, "--compare", old, ...words]);
    expect((await start(same)).stdout).toMatch(/no regression/);
    await expect(start(worse)).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^warm-sync .*REGRESSION$/m),
      stderr: "",
    });
    expect((await start(worse, "--tolerance", "80")).stdout).toMatch(/more than 80 %/);
    await expect(start(write("bad.json", { machine: 1 }))).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^bench: .*bad\.json is no result of .*\n$/),
    });
    for (const words of [
      [same, worse],
      [same, "floor"],
      [same, "--json", "x"],
      ["--quick"],
      [same, "--tolerance", "-1"],
      [same, "--tolerance", ""],
    ]) {
      await expect(start(...words), words.join(" ")).rejects.toMatchObject({ code: 2 });
    }
    await expect(run(process.execPath, [main, same])).rejects.toMatchObject({ code: 2 });
  }, 120_000);

  it("names the scenarios when asked for one that does not exist", async () => {
    const failed = run(process.execPath, [main, "warmest"]);
    await expect(failed).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining("cold-staged") });
    await expect(run(process.execPath, [main, "--runs", "many"])).rejects.toMatchObject({ code: 2 });
  });
});
