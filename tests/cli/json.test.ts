/** The object that `run --json` prints. */
import { describe, expect, it } from "vitest";
import { ADD, cli, HELLO, jsonOf, newModule } from "./support.ts";

const NUMBER = expect.any(Number);
const FIELDS = ["ok", "results", "exitCode", "trap", "timings", "exits", "memory", "fuelUsed"];

describe("run --json", () => {
  it("has exactly its fields", async () => {
    const run = await cli(["run", "--json", "--invoke", "add", ADD, "2", "3"]);
    expect(run.stderr).toBe("");
    const object = jsonOf(run);
    expect(Object.keys(object)).toEqual(FIELDS);
    expect(object).toEqual({
      ok: true,
      results: [5],
      exitCode: 0,
      trap: null,
      timings: { compileUs: NUMBER, createUs: NUMBER, bootUs: NUMBER, callUs: NUMBER, totalUs: NUMBER },
      exits: { io: NUMBER, mmio: 0, other: NUMBER },
      memory: { linearBytes: 0 },
      fuelUsed: null,
    });
    const { compileUs, createUs, bootUs, callUs, totalUs } = object["timings"] as Record<string, number>;
    for (const us of [compileUs, createUs, bootUs, callUs]) expect(us).toBeGreaterThan(0);
    expect(createUs).toBeLessThan(bootUs ?? 0);
    expect(totalUs).toBeGreaterThan((compileUs ?? 0) + (bootUs ?? 0) + (callUs ?? 0));
    expect((object["exits"] as { io: number }).io).toBeGreaterThanOrEqual(2);
  });

  it("has i64, NaN and infinities as strings", async () => {
    const module = newModule(`(module (func (export "f") (result i64 f64 f32 f64 i32 f32)
      (i64.const -9223372036854775808) (f64.const nan) (f32.const inf) (f64.const -inf) (i32.const -1) (f32.const 0.5)))`);
    expect(jsonOf(await cli(["run", "--json", "--invoke", "f", module]))["results"]).toEqual([
      "-9223372036854775808",
      "NaN",
      "Infinity",
      "-Infinity",
      -1,
      0.5,
    ]);
  });

  it("stands on the last line, after the guest's own output", async () => {
    const run = await cli(["run", "--json", HELLO, "fail"]);
    expect(run.status).toBe(3);
    expect(run.stdout).toMatch(/^Hello from WebAssembly!\n/);
    expect(jsonOf(run)).toMatchObject({
      ok: true,
      results: [],
      exitCode: 3,
      trap: null,
      memory: { linearBytes: 65536 },
    });
  });

  it("stands on a line of its own after output without a line feed", async () => {
    const module = newModule(`(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\04\\00\\00\\00") (data (i32.const 16) "open")
      (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`);
    const run = await cli(["run", "--json", module]);
    expect(run.stdout).toMatch(/^open\n\{.*\}\n$/);
    expect(jsonOf(run)["ok"]).toBe(true);
  });

  it("tells of a trap", async () => {
    const module = newModule(
      '(module (func $f (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0))) (func (export "_start") (drop (call $f (i32.const 0)))))',
    );
    const run = await cli(["run", "--json", "--optimize", "0", module]);
    expect(run.status).toBe(134);
    expect(run.stderr).toBe("");
    const object = jsonOf(run);
    expect(Object.keys(object)).toEqual(FIELDS);
    expect(object).toMatchObject({
      ok: false,
      results: [],
      exitCode: null,
      trap: { code: "BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO", message: "'_start': integer divide by zero" },
      exits: { io: NUMBER },
    });
    expect((object["trap"] as { backtrace: unknown[] }).backtrace[0]).toMatchObject({
      name: "f",
      functionIndex: 0,
    });
  });

  it("tells of a trap in the start function", async () => {
    const module = newModule('(module (func $s (unreachable)) (start $s) (func (export "_start")))');
    const run = await cli(["run", "--json", module]);
    expect(run.status).toBe(134);
    expect(jsonOf(run)).toMatchObject({ ok: false, trap: { code: "BARECELL_TRAP_UNREACHABLE" } });
  });

  it("tells of a timeout, with what is known", async () => {
    const module = newModule('(module (memory 2) (func (export "_start") (loop $l (br $l))))');
    const run = await cli(["run", "--json", "--timeout", "200", module]);
    expect(run.status).toBe(124);
    expect(jsonOf(run)).toMatchObject({
      ok: false,
      exitCode: null,
      trap: null,
      error: { code: "BARECELL_TIMEOUT", message: expect.any(String) },
      timings: { callUs: NUMBER },
      memory: { linearBytes: 131072 },
    });
  });

  it("--capture puts the guest's output into it", async () => {
    const run = await cli(["run", "--json", "--capture", HELLO, "x"]);
    expect(run.stdout.trimEnd().split("\n")).toHaveLength(1);
    expect(jsonOf(run)).toMatchObject({
      ok: true,
      stdout: expect.stringContaining("argument:    x\n"),
      stderr: "",
    });
    const trapped = await cli(["run", "--json", "--capture", HELLO, "trap"]);
    expect(jsonOf(trapped)).toMatchObject({ ok: false, stdout: expect.stringContaining("Hello") });
  });

  it("--capture alone is wrong usage", async () => {
    const run = await cli(["run", "--capture", HELLO]);
    expect(run.status).toBe(2);
    expect(run.stderr).toContain("--capture needs --json");
  });

  it("goes with --timeline", async () => {
    const run = await cli(["run", "--json", "--timeline", "--invoke", "add", ADD, "1", "1"]);
    expect(jsonOf(run)["results"]).toEqual([2]);
    expect(run.stderr).toMatch(/^boot \(staged\)/);
  });
});
