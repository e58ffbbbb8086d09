/** `barecell run`: every option, and every exit status. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { hostTargetCpu } from "../../src/image/target-cpu.ts";
import { ADD, cli, HELLO, jsonOf, newFolder, newModule } from "./support.ts";

const WASI = "wasi_snapshot_preview1";
const exits = (code: number): string =>
  `(module (import "${WASI}" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
     (func (export "_start") (call $exit (i32.const ${code}))))`;
/** Writes four characters. */
const writes = (fd: number, text: string): string =>
  `(module (import "${WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
     (memory (export "memory") 1)
     (data (i32.const 0) "\\10\\00\\00\\00\\04\\00\\00\\00") (data (i32.const 16) "${text}")
     (func (export "_start") (drop (call $write (i32.const ${fd}) (i32.const 0) (i32.const 1) (i32.const 8)))))`;
const LOOP = newModule('(module (func (export "_start") (loop $l (br $l))))', "loop");
const TRAP = newModule(
  `(module (memory 1)
     (func $inner (drop (i32.load (i32.const 0x7fff0000)))) (func $outer (call $inner)) (func (export "_start") (call $outer)))`,
  "trap",
);
const NUMBERS = newModule(
  `(module
     (func (export "i32") (param i32) (result i32) (local.get 0))
     (func (export "i64") (param i64) (result i64) (local.get 0))
     (func (export "f32") (param f32) (result f32) (local.get 0))
     (func (export "f64") (param f64) (result f64) (local.get 0))
     (func (export "v128") (result v128) (v128.const i32x4 1 2 3 4))
     (func (export "many") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
       (local.get 3) (local.get 2) (local.get 1) (local.get 0))
     (func (export "nothing")))`,
  "numbers",
);

describe("--fuel", () => {
  it("ends a loop, and compiles with metering for it", async () => {
    const run = await cli(["run", "--fuel", "1000", LOOP]);
    expect(run.stderr).toContain("BARECELL_FUEL_EXHAUSTED");
    expect(run.status).toBe(1);
    const ended = jsonOf(await cli(["run", "--json", "--fuel", "1000", LOOP]));
    expect(ended).toMatchObject({ ok: false, fuelUsed: "1000", error: { code: "BARECELL_FUEL_EXHAUSTED" } });
  });

  it("tells what was used; without --metering nothing is known", async () => {
    const used = async (...options: string[]): Promise<unknown> =>
      jsonOf(await cli(["run", "--json", ...options, "--invoke", "i32", NUMBERS, "7"]))["fuelUsed"];
    expect(await used("--metering")).toBe("1");
    expect(await used("--fuel", "9223372036854775807")).toBe("1");
    expect(await used()).toBeNull();
  });

  it("is refused for an image that does not count, and for what is no number", async () => {
    const image = join(newFolder(), "numbers.cell");
    await cli(["compile", NUMBERS, "-o", image]);
    const refused = await cli(["run", "--fuel", "5", "--invoke", "nothing", image]);
    expect(refused.stderr).toContain("BARECELL_METERING_MISSING");
    expect(refused.status).toBe(2);
    for (const fuel of ["-1", "1.5", "x", "9223372036854775808"]) {
      expect((await cli(["run", `--fuel=${fuel}`, NUMBERS])).status).toBe(2);
    }
    const metered = await cli(["run", "--metering", "--invoke", "nothing", image]);
    expect(metered.stderr).toContain("compiled already");
  });
});

describe("a command", () => {
  it("gets its arguments and the variables of --env, and nothing else", async () => {
    const run = await cli(["run", "--env", "A=1", "--env", "B=x=y", HELLO, "--json", "two words", "--"]);
    expect(run.stderr).toBe("");
    expect(run.status).toBe(0);
    expect(run.stdout).toContain("program:     hello.wasm\n");
    expect([...run.stdout.matchAll(/^argument: {4}(.*)$/gm)].map((found) => found[1])).toEqual([
      "--json",
      "two words",
      "--",
    ]);
    expect([...run.stdout.matchAll(/^environment: (.*)$/gm)].map((found) => found[1])).toEqual([
      "A=1",
      "B=x=y",
    ]);
  });

  it("does not get the one -- that ends the options", async () => {
    for (const args of [
      [HELLO, "--", "-v"],
      ["--", HELLO, "--", "-v"],
    ]) {
      const run = await cli(["run", ...args]);
      expect([...run.stdout.matchAll(/^argument: {4}(.*)$/gm)].map((found) => found[1])).toEqual(["-v"]);
    }
  });

  it("passes its exit status on", async () => {
    for (const [code, status] of [
      [0, 0],
      [1, 1],
      [3, 3],
      [255, 255],
      // A process has 8 bits for it; what is no success stays none.
      [256, 1],
      [-1, 255],
    ] as const) {
      expect((await cli(["run", newModule(exits(code), `exit${code}`)])).status, `${code}`).toBe(status);
    }
  });

  it("has the standard streams", async () => {
    expect((await cli(["run", newModule(writes(1, "out\\n"))])).stdout).toBe("out\n");
    expect((await cli(["run", newModule(writes(2, "err\\n"))])).stderr).toBe("err\n");
    const cat = newModule(`(module
      (import "${WASI}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "${WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\\10\\00\\00\\00\\40\\00\\00\\00")
      (func (export "_start")
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`);
    expect((await cli(["run", cat], { stdin: "through the VM" })).stdout).toBe("through the VM");
  });

  it("ends quietly when nobody reads its output", async () => {
    const run = await cli(["inspect", HELLO], {
      prefix: ["sh", "-c", '"$@" | head -c 1 >/dev/null; echo done', "sh"],
    });
    expect(run.stderr).toBe("");
    const json = await cli(["run", "--json", HELLO], { prefix: ["sh", "-c", '"$@" | true', "sh"] });
    expect(json.stderr).toBe("");
  });
});

describe("a trap", () => {
  it("has the status 134, a message with the cure, and a backtrace", async () => {
    const run = await cli(["run", "--optimize", "0", TRAP]);
    expect(run.status).toBe(134);
    expect(run.stdout).toBe("");
    expect(run.stderr).toMatch(/^barecell: trap: '_start': out of bounds memory access/);
    expect(run.stderr).toContain("  at inner (func[0])\n  at outer (func[1])\n");
    expect(run.stderr).toContain("  code: BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY\n");
    expect(run.stderr).toContain("  cure: ");
  });

  it("cannot steer the terminal through a function's name", async () => {
    const named = newModule(
      '(module (func $a (export "\\1b[2Jx") (unreachable)) (func (export "_start") (unreachable)))',
      "esc",
    );
    const run = await cli(["run", "--invoke", "nothing", named]);
    expect(run.stderr).toContain("\\u{1b}[2Jx");
    expect(run.stderr).not.toContain("\u001b");
    expect((await cli(["inspect", named])).stdout).not.toContain("\u001b");
  });
});

describe("a timeout", () => {
  it("ends an endless loop with the status 124", async () => {
    const started = Date.now();
    const run = await cli(["run", "--timeout", "300", LOOP]);
    expect(run.status).toBe(124);
    expect(run.stderr).toContain("code: BARECELL_TIMEOUT");
    expect(Date.now() - started).toBeGreaterThanOrEqual(300);
  });

  it("ends a start function too", async () => {
    const module = newModule('(module (func $s (loop $l (br $l))) (start $s) (func (export "_start")))');
    expect((await cli(["run", "--timeout", "300", module])).status).toBe(124);
    const json = await cli(["run", "--json", "--timeout", "300", module]);
    expect(json.status).toBe(124);
    expect(jsonOf(json)).toMatchObject({
      ok: false,
      error: { code: "BARECELL_TIMEOUT" },
      timings: { bootUs: null, callUs: null },
      exits: { io: null },
    });
  });

  it("of 0 is none, and a signal still ends the run", async () => {
    const run = await cli(["run", "--timeout", "0", LOOP], {
      onStart: (kill) => void setTimeout(() => kill("SIGTERM"), 3000),
    });
    expect(run.signal ?? run.status).toBe("SIGTERM");
  });
});

describe("other limits", () => {
  it("--cpu-time ends a loop with the status 124, and says so", async () => {
    const json = await cli(["run", "--json", "--cpu-time", "200", LOOP]);
    expect(json.status).toBe(124);
    expect(jsonOf(json)).toMatchObject({ error: { code: "BARECELL_TIMEOUT" } });
    expect(json.stdout).toContain("cpuTimeMs of 200");
  });

  it("--max-host-calls ends a guest that calls once more", async () => {
    const module = newModule(`(module (import "env" "f" (func $f))
      (func (export "twice") (call $f) (call $f)) (func (export "thrice") (call $f) (call $f) (call $f)))`);
    const run = (name: string) =>
      cli(["run", "--max-host-calls", "2", "--unknown-imports", "default", "--invoke", name, module]);
    expect((await run("twice")).status).toBe(0);
    const more = await run("thrice");
    expect(more.status).toBe(1);
    expect(more.stderr).toContain("code: BARECELL_HOST_CALL_LIMIT");
  });
});

describe("--invoke", () => {
  const invoke = async (name: string, ...args: string[]) => {
    const run = await cli(["run", "--invoke", name, NUMBERS, ...args]);
    expect(run.stderr).toBe("");
    expect(run.status).toBe(0);
    return run.stdout;
  };

  it("prints the results, one on a line", async () => {
    expect(await invoke("many", "1", "-2", "0.1", "1e300")).toBe("1e+300\n0.1\n-2\n1\n");
    expect(await invoke("nothing")).toBe("");
    expect(await invoke("v128")).toBe("0x00000004000000030000000200000001\n");
  });

  it("reads integers of all sizes", async () => {
    expect(await invoke("i32", "-0x80000000")).toBe("-2147483648\n");
    expect(await invoke("i32", "4294967295")).toBe("-1\n");
    expect(await invoke("i64", "0x8000000000000000")).toBe("-9223372036854775808\n");
    expect(await invoke("i64", "9223372036854775807")).toBe("9223372036854775807\n");
  });

  it("reads nan and infinities", async () => {
    expect(await invoke("f64", "nan")).toBe("NaN\n");
    expect(await invoke("f32", "-inf")).toBe("-Infinity\n");
    expect(await invoke("f64", "inf")).toBe("Infinity\n");
    expect(await invoke("f64", "-0")).toBe("-0\n");
    expect(await invoke("f64", "0x10")).toBe("16\n");
  });

  it.each([
    [["i32", "1.5"], /whole number \(i32\), not '1.5'/],
    [["i32", "4294967296"], /from -2\^31 to 2\^32 - 1/],
    [["i64", "18446744073709551616"], /from -2\^63 to 2\^64 - 1/],
    [["f64", "one"], /must be a number, nan, inf or -inf/],
    [["i32"], /takes 1 argument \(i32\), but 0 were given/],
    [["i32", "1", "2"], /but 2 were given/],
  ])("refuses %j", async ([name = "", ...args], message) => {
    const run = await cli(["run", "--invoke", name, NUMBERS, ...args]);
    expect(run.status).toBe(2);
    expect(run.stderr).toMatch(message);
  });

  it("runs `_initialize` first", async () => {
    const module = newModule(`(module (global $g (mut i32) (i32.const 0))
      (func (export "_initialize") (global.set $g (i32.const 7)))
      (func (export "get") (result i32) (global.get $g)))`);
    expect((await cli(["run", "--invoke", "get", module])).stdout).toBe("7\n");
  });

  it("passes on the status of an export that exits", async () => {
    expect((await cli(["run", "--invoke", "_start", newModule(exits(9))])).status).toBe(9);
  });
});

describe("options", () => {
  it("--timeline shows every stage with its time on standard error", async () => {
    const run = await cli(["run", "--timeline", "--invoke", "add", ADD, "2", "3"]);
    expect(run.stdout).toBe("5\n");
    expect(run.stderr).toMatch(/^boot \(staged\): [\d.]+ µs$/m);
    for (const step of [
      "host +create VM",
      "host +registers",
      "guest +real mode to protected mode",
      "guest +iretq to ring 3",
    ]) {
      expect(run.stderr).toMatch(new RegExp(`^  ${step} +[\\d.]+ {2}µs +#+$`, "m"));
    }
  });

  it("--boot direct has no stages before ring 3, and the same result", async () => {
    const run = await cli(["run", "--timeline", "--boot", "direct", "--invoke", "add", ADD, "2", "3"]);
    expect(run.stdout).toBe("5\n");
    expect(run.stderr).toMatch(/^boot \(direct\)/m);
    expect(run.stderr).not.toContain("real mode");
  });

  it("--max-memory bounds memory.grow", async () => {
    const grow = newModule(
      '(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))',
    );
    expect((await cli(["run", "--max-memory", "256K", "--invoke", "grow", grow, "3"])).stdout).toBe("1\n");
    expect((await cli(["run", "--max-memory", "256K", "--invoke", "grow", grow, "4"])).stdout).toBe("-1\n");
  });

  it("--unknown-imports refuses, traps or returns zeros", async () => {
    const module = newModule(
      '(module (import "env" "answer" (func $a (result i32))) (func (export "f") (result i32) (call $a)))',
    );
    const run = (...args: string[]) => cli(["run", ...args, "--invoke", "f", module]);
    const refused = await run();
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain("env.answer");
    expect((await run("--unknown-imports", "default")).stdout).toBe("0\n");
    const trapped = await run("--unknown-imports", "trap");
    expect(trapped.status).toBe(134);
    expect(trapped.stderr).toContain("code: BARECELL_TRAP_IMPORT_DENIED");
    expect(trapped.stderr).toContain("env.answer");
  });

  it("--stack-size decides how deep a recursion goes", async () => {
    const deep = newModule(`(module (func $f (export "f") (param i32) (result i32)
      (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0)))))`);
    const run = (...args: string[]) =>
      cli(["run", "--optimize", "0", ...args, "--invoke", "f", deep, "5000"]);
    expect((await run("--stack-size", "64K")).stderr).toContain("BARECELL_TRAP_STACK_EXHAUSTED");
    expect((await run("--stack-size", "16M")).stdout).toBe("5000\n");
  });

  it("--target-cpu and --optimize reach the compiler", async () => {
    const flags = async (...args: string[]) =>
      (jsonOf(await cli(["inspect", "--json", ...args, ADD]))["producer"] as { flags: string[] }).flags;
    expect(await flags()).toEqual(expect.arrayContaining(["-O2", `-march=${hostTargetCpu()}`]));
    expect(await flags("--target-cpu", "host")).toContain(`-march=${hostTargetCpu()}`);
    expect(await flags("--target-cpu", "x86-64-v2")).toContain("-march=x86-64-v2");
    expect(await flags("--target-cpu", "x86-64-v3", "--optimize", "1")).toEqual(
      expect.arrayContaining(["-O1", "-march=x86-64-v3"]),
    );
  });

  it("--no-cache neither reads nor writes the cache", async () => {
    const cache = newFolder();
    const run = (...args: string[]) =>
      cli(["compile", "--json", ...args, ADD, "-o", join(newFolder(), "a.cell")], {
        env: { XDG_CACHE_HOME: cache },
      });
    expect(jsonOf(await run("--no-cache"))).toMatchObject({ ok: true, cached: false });
    expect(jsonOf(await run())).toMatchObject({ cached: false });
    expect(jsonOf(await run())).toMatchObject({ cached: true });
    expect(jsonOf(await run("--no-cache"))).toMatchObject({ cached: false });
  });

  it("an image runs without a compiler", async () => {
    const image = join(newFolder(), "add.cell");
    expect((await cli(["compile", ADD, "-o", image])).status).toBe(0);
    const run = await cli(["run", "--invoke", "add", image, "2", "3"], { env: { PATH: "/nonexistent" } });
    expect(run.stdout).toBe("5\n");
  });

  it("that do nothing for an image are refused", async () => {
    const image = join(newFolder(), "add.cell");
    await cli(["compile", ADD, "-o", image]);
    const run = await cli(["run", "--stack-size", "1M", image]);
    expect(run.status).toBe(2);
    expect(run.stderr).toContain("--stack-size is for modules");
  });
});
