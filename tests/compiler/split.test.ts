/** A large module becomes several C files: the same program, and the same image wherever it is made. */
import { describe, expect, it } from "vitest";
import { compile, MicroVM } from "../support/barecell.ts";
import { failure, names } from "../support/errors.ts";
import { CACHE_FOLDER, wat } from "../support/modules.ts";

const FUNCTIONS = 300;
/** More than 96 KiB: functions that call each other across the files, a table of all, data, a passive segment, globals, and one that traps. */
const text = `(module
  (memory (export "memory") 1) (global $sum (mut i64) (i64.const 0)) (table ${FUNCTIONS} funcref)
  (elem (i32.const 0) ${Array.from({ length: FUNCTIONS }, (_, i) => `$f${i}`).join(" ")})
  (data (i32.const 64) "some data") (data $passive "passive")
  (type $t (func (param i64) (result i64)))
  ${Array.from(
    { length: FUNCTIONS },
    (_, i) => `(func $f${i} (param i64) (result i64)
      (global.set $sum (i64.add (global.get $sum) (i64.const ${i})))
      ${`(local.set 0 (i64.rotl (i64.xor (i64.mul (local.get 0) (i64.const 6364136223846793005)) (i64.const ${i + 14426950408889})) (i64.const 17)))`.repeat(14)}
      ${i === 0 ? "(local.get 0)" : `(i64.add (local.get 0) (call $f${(i * 7919) % Math.max(1, i - 1)} (local.get 0)))`})`,
  ).join("\n")}
  (func (export "run") (result i64) (local i32 i64)
    (loop (local.set 1 (i64.add (local.get 1) (call_indirect (type $t) (local.get 1) (local.get 0))))
      (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const ${FUNCTIONS}))))
    (i64.add (local.get 1) (global.get $sum)))
  (func $deep (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "trap") (result i32) (i32.add (call $deep (i32.const -4)) (i32.const 1)))
  (func (export "init") (result i64)
    (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 7)) (i64.load (i32.const 0))))`;
const bytes = wat("split", text);

function inV8(): { run: bigint; init: bigint } {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>));
  const call = (name: string): bigint => (exports[name] as () => bigint)();
  return { run: call("run"), init: call("init") };
}

describe("a large module", () => {
  it("is more than one part", () => expect(bytes.length).toBeGreaterThan(96 * 1024));

  it.each([
    { optimize: 0 },
    { optimize: 1 },
    { optimize: "quick" },
    { optimize: 2 },
    { optimize: 2, metering: true },
  ] as const)("computes what V8 does, %o", async (options) => {
    const image = await compile(bytes, { name: "split", cache: CACHE_FOLDER, ...options });
    const vm = await MicroVM.boot(image);
    const { run, init } = inV8();
    expect(vm.callSync("run")).toBe(run);
    expect(vm.callSync("init")).toBe(init);
    expect(new TextDecoder().decode(vm.memory.read(64, 9))).toBe("some data");
    const error = await failure(() => vm.call("trap"), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
    expect(names(error)).toContain("trap");
    vm.dispose();
  });

  it("is the same image each time", async () => {
    const [a, b] = [
      await compile(bytes, { cache: false, optimize: 0 }),
      await compile(bytes, { cache: false, optimize: 0 }),
    ];
    expect(a.digest).toBe(b.digest);
  });
});

describe('optimize: "quick"', () => {
  it("is a level by the module's size, and in the cache the same as that level", async () => {
    const flags = async (module: Uint8Array): Promise<string | undefined> =>
      (await compile(module, { cache: CACHE_FOLDER, optimize: "quick" })).manifest.producer.flags[0];
    const small = wat("small", '(module (func (export "f") (result i32) (i32.const 5)))');
    expect(await flags(small)).toBe("-O1");
    expect(await flags(bytes)).toBe("-Og");
    const quick = await compile(small, { cache: false, optimize: "quick" });
    expect(quick.digest).toBe((await compile(small, { cache: false, optimize: 1 })).digest);
  });
  it("other words are refused", async () => {
    const wrong = { optimize: "fast" as "quick" };
    await failure(() => compile(bytes, wrong), "BARECELL_ARGUMENT_INVALID");
  });
});
