/** `barecell run --trace`, `--trace-out` and `--stats`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { completeOptions, wantsJson } from "../../src/cli/program.ts";
import { traceJson, traceLine } from "../../src/cli/trace-view.ts";
import type { HostCallRecord } from "../support/barecell.ts";
import { ADD, cli, HELLO, jsonOf, newFolder, newModule } from "./support.ts";

const WASI = "wasi_snapshot_preview1";
const GUEST = newModule(
  `(module
    (import "${WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "${WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "${WASI}" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
    (import "${WASI}" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\\10\\00\\00\\00\\2c\\00\\00\\00")
    (data (i32.const 16) "\\1b]0;owned\\07 caf\\c3\\a9 \\22quoted\\22 \\\\ and more than is shown")
    (data (i32.const 80) "/etc/passwd\\0a")
    (func (export "_start")
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 256)))
      (drop (call $open (i32.const 3) (i32.const 0) (i32.const 80) (i32.const 12) (i32.const 9) (i64.const -1) (i64.const 2) (i32.const 0) (i32.const 256)))
      (drop (call $open (i32.const 3) (i32.const 0) (i32.const -16) (i32.const 32) (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 256)))
      (drop (call $seek (i32.const 1) (i64.const -5) (i32.const 1) (i32.const 256)))
      (call $exit (i32.const 4))))`,
  "traced",
);

describe("--trace", () => {
  it("prints each host call on a line, and nothing that steers a terminal", async () => {
    const run = await cli(["run", "--trace", GUEST]);
    expect(run.status).toBe(4);
    const lines = run.stderr.trimEnd().split("\n");
    expect(lines.map((line) => line.replace(/ <\d+\.\d µs>$/, ""))).toEqual([
      `fd_write(fd=1, iovs="\\x1b]0;owned\\x07 caf\\xc3\\xa9 \\"quoted\\" \\\\ and "… (44 bytes), iovs_len=1, nwritten=0x100 [44]) = 0 success`,
      `path_open(fd=3, dirflags=0x0, path="/etc/passwd\\n", path_len=12, oflags=0x9, fs_rights_base=0xffffffffffffffff, fs_rights_inheriting=0x2, fdflags=0x0, opened_fd=0x100) = 8 badf`,
      `path_open(fd=3, dirflags=0x0, path=0xfffffff0, path_len=32, oflags=0x0, fs_rights_base=0x0, fs_rights_inheriting=0x0, fdflags=0x0, opened_fd=0x100) = 8 badf`,
      expect.stringMatching(
        /^fd_seek\(fd=1, offset=-5, whence=1, newoffset=0x100\) = \d+ (spipe|notcapable)$/,
      ),
      "proc_exit(rval=4) = ? exited",
    ]);
    for (const line of lines) expect(line).toMatch(/ <\d+\.\d µs>$/);
  });

  it("json prints an object for each", async () => {
    const run = await cli(["run", "--trace", "json", GUEST]);
    const records = run.stderr
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(records.map(({ name }) => name)).toEqual([
      "fd_write",
      "path_open",
      "path_open",
      "fd_seek",
      "proc_exit",
    ]);
    const [write, open, , seek] = records;
    expect(write).toMatchObject({
      module: WASI,
      kind: "wasi",
      errno: "success",
      ending: "returned",
      startMs: expect.any(Number),
      durationUs: expect.any(Number),
      results: [{ type: "i32", value: 0 }],
    });
    expect(Buffer.from(write.args[1].bytes, "base64").toString("latin1")).toContain("]0;owned\x07");
    expect(write.args[1].totalBytes).toBe(44);
    expect(write.args[3]).toEqual({
      name: "nwritten",
      kind: "result",
      type: "i32",
      value: 256,
      pointsTo: "44",
    });
    expect(open.args[5]).toMatchObject({
      name: "fs_rights_base",
      type: "i64",
      value: String(2n ** 64n - 1n),
    });
    expect(seek.args[1]).toMatchObject({ kind: "signed", value: String(2n ** 64n - 5n) });
  });

  it("--trace-out writes it to a file, and says when it cannot", async () => {
    const file = join(newFolder(), "trace");
    const run = await cli(["run", "--trace-out", file, "--trace", "text", GUEST]);
    expect(run.stderr).toBe("");
    expect(run.status).toBe(4);
    expect(readFileSync(file, "utf8").split("\n").length).toBe(6);
    const nowhere = await cli([
      "run",
      "--json",
      "--trace",
      "--trace-out",
      join(newFolder(), "no", "file"),
      GUEST,
    ]);
    expect(jsonOf(nowhere)).toMatchObject({ ok: false, error: { code: "BARECELL_FILE_UNWRITABLE" } });
    const full = await cli(["run", "--trace", "--trace-out", "/dev/full", GUEST]);
    expect(full.stderr).toContain("BARECELL_FILE_UNWRITABLE");
    const alone = await cli(["run", "--trace-out", file, GUEST]);
    expect([alone.status, alone.stderr]).toEqual([2, expect.stringContaining("needs --trace")]);
  });

  it("sees the clock, which a guest answers itself otherwise", async () => {
    const run = await cli(["run", "--trace", HELLO]);
    expect(run.stderr).toContain("clock_time_get(");
  });

  it("is cut off from the module behind it", async () => {
    expect(completeOptions(["run", "--trace", "app.wasm", "--trace"])).toEqual([
      "run",
      "--trace=text",
      "app.wasm",
      "--trace",
    ]);
    expect(completeOptions(["run", "--env", "--trace", "--trace", "json", "app.wasm", "--trace"])).toEqual([
      "run",
      "--env",
      "--trace",
      "--trace=json",
      "app.wasm",
      "--trace",
    ]);
    expect(completeOptions(["run", "--trace=json", "--trace"])).toEqual([
      "run",
      "--trace=json",
      "--trace=text",
    ]);
    expect(completeOptions(["run", "--", "--trace"])).toEqual(["run", "--", "--trace"]);
    expect(completeOptions(["--trace"])).toEqual(["--trace"]);
    expect(wantsJson(["run", "--trace", "json", "--json", "a.wasm"])).toBe(true);
    expect(wantsJson(["run", "--env", "--json", "a.wasm", "--json"])).toBe(false);
    const wrong = await cli(["run", "--trace=xml", ADD]);
    expect([wrong.status, wrong.stderr]).toEqual([
      2,
      expect.stringContaining("Allowed choices are text, json"),
    ]);
  });
});

describe("a record from a hostile guest", () => {
  const record: HostCallRecord = {
    vm: 1,
    kind: "zero",
    module: "\x1b[31menv\u202e",
    name: "f\n\u009b2J",
    args: [
      { type: "f64", value: Number.NaN },
      { type: "v128", value: Uint8Array.from({ length: 16 }, (_, i) => i) },
      { type: "externref", value: 0n },
      { type: "funcref", value: 7n },
      { type: "i64", value: -1n },
    ],
    isCut: true,
    results: [
      { type: "i32", value: -1 },
      { type: "f32", value: 0.5 },
    ],
    errno: undefined,
    ending: "returned",
    startMs: 1,
    durationUs: 1.25,
  };

  it("has a harmless line", () => {
    expect(traceLine(record)).toBe(
      "\\u{1b}[31menv\\u{202e}.f\\n\\u{9b}2J(NaN, 0x0f0e0d0c0b0a09080706050403020100, null, funcref#7, -1, …) = (-1, 0.5) <1.3 µs>",
    );
  });

  it("has harmless JSON that says the same", () => {
    const line = traceJson(record);
    expect(line).toMatch(/^[\x20-\x7e]*$/);
    expect(JSON.parse(line)).toMatchObject({
      module: record.module,
      name: record.name,
      args: [
        { value: "NaN" },
        { value: "AAECAwQFBgcICQoLDA0ODw==" },
        { value: "0" },
        { value: "7" },
        { value: "-1" },
      ],
    });
  });
});

describe("--stats", () => {
  it("ends with what the run used", async () => {
    const run = await cli(["run", "--stats", GUEST]);
    expect(run.stderr).toMatch(/^used\n {2}wall time +\d+\.\d{3} ms for the boot and 1 call\n/);
    for (const what of [/CPU time +\d/, /page faults +\d+ minor/, /VM exits +6 by port/, /64 KiB linear/]) {
      expect(run.stderr).toMatch(what);
    }
    expect(run.stderr).toContain(`host calls: 5\n  2  ${WASI}.path_open\n`);
  });

  it("is in --json too, and only there", async () => {
    const run = await cli(["run", "--stats", "--json", GUEST]);
    expect(run.stderr).toBe("");
    const { stats } = jsonOf(run) as { stats: Record<string, unknown> };
    expect(stats).toMatchObject({
      calls: 1,
      linearBytes: 65536,
      hostCalls: { [`${WASI}.path_open`]: 2, [`${WASI}.proc_exit`]: 1 },
      cpu: { minorFaults: expect.any(Number) },
      exits: { io: 6 },
    });
    expect(stats["processPeakBytes"]).toBeGreaterThan(2 ** 20);
    expect(jsonOf(await cli(["run", "--json", GUEST]))).not.toHaveProperty("stats");
  });
});
