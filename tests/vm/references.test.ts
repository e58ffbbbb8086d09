/** References that cross the boundary: externref for any JavaScript value, funcref for functions of the guest's. */
import { afterAll, describe, expect, it } from "vitest";
import { FunctionReference, MicroVM } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOfModules, withVm } from "../support/modules.ts";

const image = await imageOfModules([
  [
    "table",
    `(module
      (type $number (func (result i32)))
      (table $f (export "functions") 4 8 funcref) (table $e (export "objects") 2 20 externref)
      (elem (table $f) (i32.const 0) func $one $two)
      (func $one (export "one") (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
      (func (export "get") (param i32) (result funcref) (table.get $f (local.get 0)))
      (func (export "put") (param i32 funcref) (table.set $f (local.get 0) (local.get 1)))
      (func (export "call") (param i32) (result i32) (call_indirect $f (type $number) (local.get 0)))
      (func (export "is_null") (param externref funcref) (result i32 i32) (ref.is_null (local.get 0)) (ref.is_null (local.get 1)))
      (func (export "echo") (param externref) (result externref) (local.get 0))
      (func (export "turn") (param externref funcref i32) (result i32 funcref externref) (local.get 2) (local.get 1) (local.get 0))
      (func (export "keep") (param i32 externref) (table.set $e (local.get 0) (local.get 1)))
      (func (export "kept") (param i32) (result externref) (table.get $e (local.get 0)))
      (func (export "more") (param externref i32) (result i32) (table.grow $e (local.get 0) (local.get 1))))`,
  ],
  [
    "user",
    `(module
      (type $number (func (result i32)))
      (import "table" "functions" (table $f 4 funcref)) (import "table" "objects" (table $e 2 externref))
      (func $seven (result i32) (i32.const 7)) (elem declare func $seven)
      (func (export "seven") (result funcref) (ref.func $seven))
      (func (export "call") (param i32) (result i32) (call_indirect $f (type $number) (local.get 0)))
      (func (export "kept") (param i32) (result externref) (table.get $e (local.get 0))))`,
  ],
]);
const vm = await MicroVM.boot(image, { afterTrap: "keep" });
afterAll(() => vm.dispose());
const table = vm.module("table");
const user = vm.module("user");

function raw(...values: bigint[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 16);
  values.forEach((value, i) => {
    new DataView(bytes.buffer).setBigUint64(i * 16, value, true);
  });
  return bytes;
}

describe("externref", () => {
  const values = [
    null,
    undefined,
    0,
    -0,
    Number.NaN,
    1.5,
    10n,
    "text",
    "",
    Symbol("s"),
    true,
    false,
    {},
    [],
    () => 1,
    new Uint8Array(3),
    vm,
  ];
  it.each(values.map((value, i) => [i, value] as const))(
    "value %i comes back as it went",
    async (_, value) => {
      expect(Object.is(await table.call("echo", value), value)).toBe(true);
      expect(Object.is(table.callSync("echo", value), value)).toBe(true);
    },
  );

  it("null is the null reference, undefined is not", () => {
    expect(table.callSync("is_null", null, null)).toEqual([1, 1]);
    expect(table.callSync("is_null", undefined, null)).toEqual([0, 1]);
    expect(table.callSync("is_null", 0, table.callSync("get", 0))).toEqual([0, 0]);
  });

  it("one number for one value: 0 and -0 have two, and keep them", () => {
    const numbers = (): bigint[] =>
      [0, -0].map((value) => {
        table.callSync("keep", 0, value);
        return new DataView(table.callRawSync("kept", raw(0n)).buffer).getBigUint64(0, true);
      });
    const first = numbers();
    expect(first[0]).not.toBe(first[1]);
    for (let i = 0; i < 5; i++) expect(numbers()).toEqual(first);
  });

  it("stays in a table, and another module of the VM takes it out", () => {
    const key = { kept: true };
    table.callSync("keep", 1, key);
    expect(user.callSync("kept", 1)).toBe(key);
    expect(table.callSync("more", key, 18)).toBe(2);
    expect(user.callSync("kept", 19)).toBe(key);
    expect(table.callSync("more", key, 1), "past its maximum").toBe(-1);
  });

  it("beside other values, in the right order", () => {
    const key = Symbol("key");
    const one = table.callSync("get", 0);
    expect(table.callSync("turn", key, one, 5)).toEqual([5, one, key]);
    expect(table.callSync("turn", null, null, -5)).toEqual([-5, null, null]);
  });

  it("a number that the host never gave out is the guest's lie", async () => {
    // As bytes any number may go in, and so the guest has one to return.
    expect(table.callRawSync("echo", raw(2n ** 64n - 1n))).toEqual(raw(2n ** 64n - 1n));
    table.callRawSync("keep", raw(0n, 1_000_000n));
    const error = await failure(() => table.call("kept", 0), "BARECELL_GUEST_PROTOCOL");
    expect(error.message).toContain("1000000");
    await failure(() => user.callSync("kept", 0), "BARECELL_GUEST_PROTOCOL");
    table.callRawSync("keep", raw(0n, 2n ** 64n - 1n));
    await failure(() => table.callSync("kept", 0), "BARECELL_GUEST_PROTOCOL");
    table.callSync("keep", 0, null);
  });
});

describe("funcref", () => {
  it("is one object for one function, and null for none", () => {
    const one = table.callSync("get", 0);
    expect(one).toBeInstanceOf(FunctionReference);
    expect(table.callSync("get", 0)).toBe(one);
    expect(table.callSync("get", 1)).not.toBe(one);
    expect(table.callSync("get", 3)).toBeNull();
    expect(Object.keys(one as object)).toEqual([]);
  });

  it("can be called through a table by every module, whosoever function it is", () => {
    table.callSync("put", 2, table.callSync("get", 1));
    expect([table.callSync("call", 2), user.callSync("call", 2)]).toEqual([2, 2]);
    table.callSync("put", 2, user.callSync("seven"));
    expect([table.callSync("call", 2), user.callSync("call", 2)]).toEqual([7, 7]);
    expect(table.callSync("get", 2)).toBe(user.callSync("seven"));
  });

  it("once taken out of the table it is nothing there any more", async () => {
    table.callSync("put", 2, null);
    expect(table.callSync("get", 2)).toBeNull();
    await failure(() => user.call("call", 2), "BARECELL_TRAP_UNINITIALIZED_ELEMENT");
    await failure(() => user.call("call", 4), "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE");
  });

  it.each([undefined, 0, 1, 1n, "f", {}, () => 1, Object.create(FunctionReference.prototype)])(
    "what is none is refused (%#)",
    async (value) => {
      const error = await failure(() => table.call("put", 3, value), "BARECELL_ARGUMENT_INVALID");
      expect(error.message).toContain("argument 2 of 'put'");
      expect(vm.state).toBe("ready");
    },
  );

  it("of another VM is refused, of the same image or not", () =>
    withVm(image, {}, async (other) => {
      const foreign = other.module("table").callSync("get", 1);
      const error = await failure(() => table.call("put", 3, foreign), "BARECELL_ARGUMENT_INVALID");
      expect(error.message).toContain("of this VM");
      expect(table.callSync("get", 3)).toBeNull();
    }));

  it("outlives its VM as an object that is good for nothing", async () => {
    const other = await MicroVM.boot(image);
    const reference = other.module("table").callSync("get", 0);
    other.dispose();
    await failure(() => other.module("table").callSync("put", 0, reference), "BARECELL_DISPOSED");
    await failure(() => table.callSync("put", 0, reference), "BARECELL_ARGUMENT_INVALID");
  });

  it.each([3n, 99n, 2n ** 32n + 1n, 2n ** 63n, 2n ** 64n - 1n])(
    "the forged number %i never reaches a table",
    async (number) => {
      const before = [0, 1, 2, 3].map((place) => table.callSync("get", place));
      await withVm(image, { afterTrap: "keep" }, async (other) => {
        const fresh = other.module("table");
        await failure(() => fresh.callRaw("put", raw(3n, number)), "BARECELL_ARGUMENT_INVALID");
        expect(fresh.callSync("get", 3)).toBeNull();
        expect(fresh.callSync("call", 0)).toBe(1);
      });
      expect([0, 1, 2, 3].map((place) => table.callSync("get", place))).toEqual(before);
    },
  );
});

describe("callRaw", () => {
  it("takes 16 bytes for each argument, and gives 16 for each result", async () => {
    const three = await table.callRaw("turn", raw(12n, 0n, 0xffff_ffffn));
    expect(three).toEqual(raw(0xffff_ffffn, 0n, 12n));
    const [one] = new BigUint64Array((await table.callRaw("get", raw(0n))).buffer);
    expect(await table.callRaw("put", raw(3n, one as bigint))).toEqual(new Uint8Array(0));
    expect(table.callSync("get", 3)).toBe(table.callSync("get", 0));
    expect(await table.callRaw("one", new Uint8Array(0))).toEqual(raw(1n));
  });

  it("leaves the caller's bytes alone, and keeps none of them", async () => {
    const bytes = raw(5n);
    const result = await table.callRaw("echo", bytes);
    bytes.fill(0xff);
    expect(result).toEqual(raw(5n));
    const view = new Uint8Array(raw(1n, 6n).buffer, 16, 16);
    expect(table.callRawSync("echo", view)).toEqual(raw(6n));
  });

  it.each([0, 1, 15, 17, 32, 1600])("%i bytes are no argument of 16", async (length) => {
    const error = await failure(
      () => table.callRaw("echo", new Uint8Array(length)),
      "BARECELL_ARGUMENT_INVALID",
    );
    expect(error.message).toContain("16 bytes");
    await failure(() => table.callRawSync("echo", new Uint8Array(length)), "BARECELL_ARGUMENT_INVALID");
  });

  it.each([undefined, null, "x".repeat(16), new ArrayBuffer(16), new Uint16Array(8), Array(16).fill(0)])(
    "other things are no bytes (%#)",
    async (value) => {
      await failure(() => table.callRaw("echo", value as unknown as Uint8Array), "BARECELL_ARGUMENT_INVALID");
    },
  );

  it("knows the same functions as `call`", async () => {
    await failure(() => table.callRaw("nothing", new Uint8Array(0)), "BARECELL_EXPORT_NOT_FOUND");
    await failure(() => table.callRawSync("functions", new Uint8Array(0)), "BARECELL_EXPORT_NOT_FOUND");
  });
});
