/** The floor program and the harness, end to end. No time is asserted: a test machine may be as slow as it likes. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { compile } from "barecell";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import wabtInit from "wabt";
import { buildFloor, runFloor } from "../../bench/floor.ts";
import { inProject } from "../../bench/paths.ts";
import type { Report } from "../../bench/report.ts";

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "barecell-bench-test-"));
const image = join(folder, "add.cell");
let floor: string;

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
    await expect(run(floor, [image, "--runs", "0"])).rejects.toMatchObject({ code: 2 });
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
    expect(Object.keys(report)).toEqual(["machine", "scenarios"]);
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

  it("names the scenarios when asked for one that does not exist", async () => {
    const failed = run(process.execPath, [main, "warmest"]);
    await expect(failed).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining("cold-staged") });
    await expect(run(process.execPath, [main, "--runs", "many"])).rejects.toMatchObject({ code: 2 });
  });
});
