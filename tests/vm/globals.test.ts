/** Exported globals, read and written by the host and by several modules of one VM. */
import { afterAll, describe, expect, it } from "vitest";
import { Image, MicroVM } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOfModules, withVm } from "../support/modules.ts";
import { withManifest } from "../support/raw-code.ts";

const image = await imageOfModules([
  [
    "owner",
    `(module
      (global (export "i32") (mut i32) (i32.const -1)) (global (export "i64") (mut i64) (i64.const -2))
      (global (export "f32") (mut f32) (f32.const nan:0x200001)) (global (export "f64") (mut f64) (f64.const -nan:0x4000000000001))
      (global (export "signalling") f32 (f32.const -nan:0x1)) (global (export "constant") i32 (i32.const 9))
      (global $func (export "func") (mut funcref) (ref.func $one)) (global (export "extern") (mut externref) (ref.null extern))
      (global $hidden (mut i32) (i32.const 5)) (export "alias" (global $hidden)) (export "alias 2" (global $hidden))
      (func $one (export "one") (result i32) (i32.const 1)) (func $two (export "two") (result i32) (i32.const 2))
      (type $number (func (result i32))) (table 1 funcref)
      (func (export "call") (result i32) (table.set 0 (i32.const 0) (global.get $func)) (call_indirect (type $number) (i32.const 0)))
      (func (export "the function") (result funcref) (global.get $func))
      (func (export "trap") (global.set $hidden (i32.const 77)) unreachable))`,
  ],
  [
    "user",
    `(module
      (import "owner" "i32" (global $i32 (mut i32))) (import "owner" "constant" (global $constant i32))
      (global (export "copy") i32 (global.get $constant)) (global (export "own") (mut i32) (i32.const 100))
      (export "again" (global $i32))
      (func (export "add") (param i32) (global.set $i32 (i32.add (global.get $i32) (local.get 0))))
      (func (export "read") (result i32) (global.get $i32)))`,
  ],
]);
const vm = await MicroVM.boot(image, { afterTrap: "keep" });
afterAll(() => vm.dispose());
const owner = vm.module("owner");
const user = vm.module("user");

/** 16 bytes of a slot: a number of 64 bits, zeros above. */
function raw(value: bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

describe("reading", () => {
  it("gives initial values by type", () => {
    expect(owner.global("i32")).toBe(-1);
    expect(owner.global("i64")).toBe(-2n);
    expect(owner.global("f32")).toBeNaN();
    expect(owner.global("constant")).toBe(9);
    expect(owner.global("extern")).toBeNull();
    expect(user.global("copy")).toBe(9);
    expect(vm.global("own"), "the main module's").toBe(100);
  });

  it("as bytes keeps every bit of a NaN, and shows nothing of earlier values", () => {
    // Fills all halves of the mailbox's first slots.
    const ones = new Uint8Array(16).fill(0xff);
    owner.setGlobal("i64", -1n);
    user.callRawSync("add", ones);
    user.setGlobal("again", -1);
    expect(owner.globalRaw("f32")).toEqual(raw(0x7fa00001n));
    expect(owner.globalRaw("f64")).toEqual(raw(0xfff4000000000001n));
    expect(owner.globalRaw("signalling")).toEqual(raw(0xff800001n));
    expect(owner.globalRaw("i32")).toEqual(raw(0xffffffffn));
    expect(user.callRawSync("read", new Uint8Array(0))).toEqual(raw(0xffffffffn));
  });

  it.each(["nothing", "one", "", "__proto__", "hasOwnProperty"])("finds no global '%s'", async (name) => {
    const error = await failure(() => owner.global(name), "BARECELL_EXPORT_NOT_FOUND");
    expect(error.message).toContain(`'${name}'`);
    await failure(() => owner.globalRaw(name), "BARECELL_EXPORT_NOT_FOUND");
    await failure(() => owner.setGlobal(name, 1), "BARECELL_EXPORT_NOT_FOUND");
  });

  it("of another module than the main one goes through its module", async () => {
    await failure(() => vm.global("i64"), "BARECELL_EXPORT_NOT_FOUND");
    await failure(() => vm.global(undefined as unknown as string), "BARECELL_ARGUMENT_INVALID");
  });
});

describe("writing", () => {
  it("is seen by every module that has the global, under every name", () => {
    owner.setGlobal("i32", 40);
    user.callSync("add", 2);
    expect(user.callSync("read")).toBe(42);
    expect([owner.global("i32"), user.global("again"), vm.global("again")]).toEqual([42, 42, 42]);
    user.setGlobal("again", 2 ** 32 - 1);
    expect(owner.global("i32")).toBe(-1);
    owner.setGlobal("alias", 6);
    expect([owner.global("alias 2"), user.global("own")]).toEqual([6, 100]);
  });

  it("takes numbers of each type", () => {
    owner.setGlobal("i64", 2n ** 63n);
    expect(owner.global("i64")).toBe(-(2n ** 63n));
    owner.setGlobal("f32", 0.1);
    expect(owner.global("f32")).toBe(Math.fround(0.1));
    owner.setGlobal("f64", -0);
    expect(owner.global("f64")).toBe(-0);
  });

  it("takes references", () => {
    const two = owner.global("func");
    expect(owner.callSync("call")).toBe(1);
    expect(owner.callSync("the function")).toBe(two);
    owner.setGlobal("func", null);
    expect(owner.global("func")).toBeNull();
    owner.setGlobal("func", two);
    expect(owner.callSync("call")).toBe(1);
    const key = { some: "object" };
    owner.setGlobal("extern", key);
    expect(owner.global("extern")).toBe(key);
    owner.setGlobal("extern", undefined);
    expect(owner.global("extern")).toBeUndefined();
  });

  it.each([
    ["constant", 1],
    ["i32", 1n],
    ["i32", 1.5],
    ["i32", undefined],
    ["i64", 1],
    ["f32", "1"],
    ["func", {}],
    ["func", undefined],
  ])("%s refuses %s", async (name, value) => {
    const before = owner.globalRaw(name);
    const error = await failure(() => owner.setGlobal(name, value), "BARECELL_ARGUMENT_INVALID");
    expect(error.message).toContain(`'${name}'`);
    expect(owner.globalRaw(name)).toEqual(before);
  });
});

describe("state", () => {
  it("after a trap that is kept, the global has what was written before it", async () => {
    await failure(() => owner.call("trap"), "BARECELL_TRAP_UNREACHABLE");
    expect(owner.global("alias")).toBe(77);
  });

  it("two VMs of one image have globals of their own", () =>
    withVm(image, {}, (other) => {
      owner.setGlobal("i32", 1234);
      expect(other.module("owner").global("i32")).toBe(-1);
      other.module("user").callSync("add", 1);
      expect(owner.global("i32")).toBe(1234);
    }));

  it("a busy, a poisoned and a disposed VM has none to show", async () => {
    const other = await MicroVM.boot(image);
    const call = other.module("owner").call("trap");
    await failure(() => other.global("own"), "BARECELL_BUSY");
    await failure(() => other.module("user").setGlobal("own", 1), "BARECELL_BUSY");
    await failure(() => call, "BARECELL_TRAP_UNREACHABLE");
    await failure(() => other.global("own"), "BARECELL_POISONED");
    other.dispose();
    await failure(() => other.global("own"), "BARECELL_DISPOSED");
    await failure(() => other.module("user").globalRaw("own"), "BARECELL_DISPOSED");
  });

  it("an image that lies about its globals is refused, or gets what its own code gives", async () => {
    const altered = (
      change: (entry: { getEntry: number; setEntry: number | null; mutable: boolean }) => void,
    ) =>
      withManifest(image.bytes, (manifest) => {
        change(manifest.modules[1]?.exports.find(({ name }) => name === "own") as never);
      });
    for (const change of [
      altered((entry) => {
        entry.getEntry = image.manifest.entryCount;
      }),
      altered((entry) => {
        entry.setEntry = -1;
      }),
      altered((entry) => {
        entry.setEntry = null;
      }),
      altered((entry) => {
        entry.mutable = false;
      }),
    ]) {
      await failure(() => Image.fromBytes(change), "BARECELL_IMAGE_INVALID");
    }
    // Another entry of the same image: a function that traps.
    const trap = image.modules[0]?.exports.find(({ name }) => name === "trap");
    const lying = Image.fromBytes(
      altered((entry) => {
        entry.getEntry = trap?.kind === "func" ? trap.entry : -1;
      }),
    );
    await withVm(lying, {}, async (other) => {
      await failure(() => other.global("own"), "BARECELL_TRAP_UNREACHABLE");
    });
  });
});
