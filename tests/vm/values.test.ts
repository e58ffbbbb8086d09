/** Arguments and results of every type, in and out of a VM. */
import { afterAll, describe, expect, it } from "vitest";
import { isBarecellError, MicroVM } from "../support/barecell.ts";
import { announceSkip } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const TYPES = ["i32", "i64", "f32", "f64"] as const;
const many = 300;

const image = await imageOf(
  "values",
  `(module
    (type $f32_to_f32 (func (param f32) (result f32))) (type $f64_to_f64 (func (param f64) (result f64)))
    (table 2 funcref) (elem (i32.const 0) $same_f32 $same_f64)
    (func $same_f32 (type $f32_to_f32) (local.get 0)) (func $same_f64 (type $f64_to_f64) (local.get 0))
    ${TYPES.map((type) => `(func (export "${type}") (param ${type}) (result ${type}) (local.get 0))`).join("\n")}
    (func (export "f32_bits") (param f32) (result i32) (i32.reinterpret_f32 (local.get 0)))
    (func (export "f64_bits") (param f64) (result i64) (i64.reinterpret_f64 (local.get 0)))
    (func (export "f32_of_bits") (param i32) (result f32) (f32.reinterpret_i32 (local.get 0)))
    (func (export "f64_of_bits") (param i64) (result f64) (f64.reinterpret_i64 (local.get 0)))
    (func (export "f32_through") (param i32) (result i32)
      (i32.reinterpret_f32 (call_indirect (type $f32_to_f32) (f32.reinterpret_i32 (local.get 0)) (i32.const 0))))
    (func (export "f64_through") (param i64) (result i64)
      (i64.reinterpret_f64 (call_indirect (type $f64_to_f64) (f64.reinterpret_i64 (local.get 0)) (i32.const 1))))
    (func (export "none"))
    (func (export "swap") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
      (local.get 3) (local.get 2) (local.get 1) (local.get 0))
    (func (export "twice") (param i32) (result i32 i32) (local.get 0) (local.get 0))
    (func (export "many") (param ${"i32 i64 f64 ".repeat(many / 3)}) (result i64)
      (i64.const 0)
      ${Array.from({ length: many }, (_, i) => {
        const value = `(local.get ${i})`;
        const wide = [`(i64.extend_i32_s ${value})`, value, `(i64.trunc_f64_s ${value})`][i % 3];
        return `(i64.mul (i64.const ${i + 1}) ${wide}) i64.add`;
      }).join("\n")})
    (func (export "many_results") (result ${"i32 ".repeat(40)}) ${Array.from({ length: 40 }, (_, i) => `(i32.const ${i * i})`).join(" ")})
    (func (export "takes_ref") (param funcref))
    (func (export "gives_ref") (result funcref) (ref.null func))
    (memory (export "the memory") 1) (global (export "the global") i32 (i32.const 1)) (table (export "the table") 1 funcref)
    (func (export "") (result i32) (i32.const 5))
    (func (export "naïve ☃ \\22 \\5c") (result i32) (i32.const 6)))`,
);
const vm = await MicroVM.boot(image);
afterAll(() => vm.dispose());

describe("values", () => {
  it.each([
    ["i32", 0, 0],
    ["i32", -1, -1],
    ["i32", 2 ** 31 - 1, 2 ** 31 - 1],
    ["i32", -(2 ** 31), -(2 ** 31)],
    ["i32", 2 ** 32 - 1, -1],
    ["i32", 2 ** 31, -(2 ** 31)],
    ["i32", -0, 0],
    ["i64", 0n, 0n],
    ["i64", -1n, -1n],
    ["i64", 2n ** 63n - 1n, 2n ** 63n - 1n],
    ["i64", -(2n ** 63n), -(2n ** 63n)],
    ["i64", 2n ** 64n - 1n, -1n],
    ["f32", 1.5, 1.5],
    ["f32", 0.1, Math.fround(0.1)],
    ["f32", -0, -0],
    ["f32", 1e300, Number.POSITIVE_INFINITY],
    ["f32", 2 ** -149, 2 ** -149],
    ["f32", Number.NaN, Number.NaN],
    ["f64", 0.1, 0.1],
    ["f64", -0, -0],
    ["f64", Number.MIN_VALUE, Number.MIN_VALUE],
    ["f64", Number.MAX_VALUE, Number.MAX_VALUE],
    ["f64", Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
    ["f64", Number.NaN, Number.NaN],
  ])("%s %s", async (name, value, expected) => {
    expect(await vm.call(name, value)).toBe(expected);
    expect(vm.callSync(name, value)).toBe(expected);
  });

  it("NaN payloads, signalling ones too, pass through the guest unchanged", async () => {
    for (const bits of [0x7fc00001, 0x7f800001, -1, 0x7fffffff, 0xff812345 | 0]) {
      expect(await vm.call("f32_through", bits)).toBe(bits);
    }
    for (const bits of [0x7ff8000000000001n, 0x7ff0000000000001n, -1n, 0x7fffffffffffffffn]) {
      expect(await vm.call("f64_through", bits)).toBe(bits);
    }
    expect(await vm.call("f64_of_bits", 0x7ff8000000abcdefn)).toBeNaN();
    expect(await vm.call("f32_of_bits", 0x7fc0abcd)).toBeNaN();
    expect(await vm.call("f64_bits", -0)).toBe(-(2n ** 63n));
    expect(BigInt.asUintN(64, (await vm.call("f64_bits", Number.NaN)) as bigint) >> 51n).toBe(0xfffn);
    expect(await vm.call("f32_bits", -1.5)).toBe(0xbfc00000 | 0);
  });

  it("nothing, one, several", async () => {
    expect(await vm.call("none")).toBeUndefined();
    expect(await vm.call("swap", 1, 2n, 3.5, 4.25)).toEqual([4.25, 3.5, 2n, 1]);
    expect(await vm.call("twice", 7)).toEqual([7, 7]);
    expect(await vm.call("many_results")).toEqual(Array.from({ length: 40 }, (_, i) => i * i));
  });

  it(`${many} parameters`, async () => {
    const args = Array.from({ length: many }, (_, i) => (i % 3 === 1 ? BigInt(i - 50) : i - 50));
    const expected = args.reduce<bigint>((sum, value, i) => sum + BigInt(i + 1) * BigInt(value), 0n);
    expect(await vm.call("many", ...args)).toBe(expected);
    // What the big call left in the mailbox does not show through.
    expect(await vm.call("i32", 3)).toBe(3);
    expect(await vm.call("twice", 4)).toEqual([4, 4]);
  });

  it("v128, where the header for it is installed", async () => {
    const text = `(module (func (export "add") (param v128 v128) (result v128) (i8x16.add (local.get 0) (local.get 1)))
      (func (export "mixed") (param i32 v128) (result v128 i32) (local.get 1) (local.get 0)))`;
    let vectors: Awaited<ReturnType<typeof imageOf>>;
    try {
      vectors = await imageOf("vectors", text);
    } catch (error) {
      if (!isBarecellError(error) || error.code !== "BARECELL_COMPILER_MISSING") throw error;
      announceSkip("v128 values", error.message);
      return;
    }
    await withVm(vectors, {}, async (simd) => {
      const a = Uint8Array.from({ length: 16 }, (_, i) => i * 16);
      const b = Uint8Array.from({ length: 16 }, (_, i) => 255 - i);
      const sum = a.map((value, i) => value + (b[i] as number));
      expect(await simd.call("add", a, b)).toEqual(sum);
      expect(await simd.call("mixed", 9, a)).toEqual([a, 9]);
      await failure(() => simd.call("add", a, b.subarray(1)), "BARECELL_ARGUMENT_INVALID");
      await failure(() => simd.call("add", a, [1]), "BARECELL_ARGUMENT_INVALID");
    });
  });
});

describe("wrong calls", () => {
  it.each([
    ["i32", 1.5],
    ["i32", 2 ** 32],
    ["i32", -(2 ** 31) - 1],
    ["i32", Number.NaN],
    ["i32", 1n],
    ["i32", "1"],
    ["i32", true],
    ["i32", null],
    ["i32", undefined],
    ["i32", {}],
    ["i32", Object.create(null)],
    ["i32", Symbol("x")],
    ["i64", 1],
    ["i64", 2n ** 64n],
    ["i64", -(2n ** 63n) - 1n],
    ["i64", "1"],
    ["f32", 1n],
    ["f32", "1"],
    ["f64", undefined],
    ["f64", [1]],
  ])("%s refuses an argument of the wrong type or value (%#)", async (name, value) => {
    const error = await failure(() => vm.call(name, value), "BARECELL_ARGUMENT_INVALID");
    expect(error.message).toContain("argument 1");
    await failure(() => vm.callSync(name, value), "BARECELL_ARGUMENT_INVALID");
    expect(vm.state).toBe("ready");
  });
  it.each([[[]], [[1, 2]], [[1, undefined]]])("the wrong number of arguments: %j", async (args) => {
    const error = await failure(() => vm.call("i32", ...args), "BARECELL_ARGUMENT_INVALID");
    expect(error.message).toContain("'i32'");
  });
  it.each([
    "nothing",
    "i32 ",
    "I32",
    "the memory",
    "the global",
    "the table",
    "__proto__",
    "constructor",
    "toString",
  ])("no function is exported as '%s'", async (name) => {
    const error = await failure(() => vm.call(name), "BARECELL_EXPORT_NOT_FOUND");
    expect(error.message).toContain(name);
  });
  it.each([undefined, null, 1, {}, Symbol("x")])("a name that is no string (%#)", async (name) => {
    await failure(() => vm.call(name as unknown as string), "BARECELL_ARGUMENT_INVALID");
  });
  it("names of any characters, and the empty name", async () => {
    expect(await vm.call("")).toBe(5);
    expect(await vm.call('naïve ☃ " \\')).toBe(6);
  });
  it("references of the wrong kind", async () => {
    await failure(() => vm.call("takes_ref", 1), "BARECELL_ARGUMENT_INVALID");
    await failure(() => vm.call("takes_ref", undefined), "BARECELL_ARGUMENT_INVALID");
  });
});
