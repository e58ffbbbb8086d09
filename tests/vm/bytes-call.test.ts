/** Bytes and JSON in and out of a guest, and guests that break the convention for them. */
import { describe, expect, it } from "vitest";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

/** `frees` counts, so that a call which forgets one shows. `swap` and `upper` follow the convention, the others break it. */
const image = await imageOf(
  "bytes-call",
  `(module
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 1024))
    (global $live (mut i32) (i32.const 0))
    (global $ready (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 1))))
    (func (export "ready") (result i32) (global.get $ready))
    (func (export "live") (result i32) (global.get $live))
    (func $alloc (export "barecell_alloc") (param i32) (result i32) (local i32)
      (if (i32.gt_u (local.get 0) (i32.const 60000)) (then (return (i32.const 0))))
      (if (i32.eqz (global.get $ready)) (then unreachable))
      (if (i32.eqz (global.get $live)) (then (global.set $next (i32.const 1024))))
      (local.set 1 (global.get $next))
      (global.set $next (i32.add (global.get $next) (i32.add (local.get 0) (i32.const 1))))
      (global.set $live (i32.add (global.get $live) (i32.const 1)))
      (local.get 1))
    (func (export "barecell_free") (param i32 i32) (global.set $live (i32.sub (global.get $live) (i32.const 1))))
    (func $pack (param i32 i32) (result i64)
      (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))
    (func (export "copy") (param i32 i32) (result i64) (local i32)
      (local.set 2 (call $alloc (local.get 1)))
      (memory.copy (local.get 2) (local.get 0) (local.get 1))
      (call $pack (local.get 2) (local.get 1)))
    (func (export "nothing") (param i32 i32) (result i64) (i64.const 0))
    (func (export "outside") (param i32 i32) (result i64) (call $pack (i32.const 131000) (i32.const 1000)))
    (func (export "huge") (param i32 i32) (result i64) (i64.const -1))
    (func (export "null") (param i32 i32) (result i64) (i64.const 5))
    (func (export "wrong") (param i32 i32) (result i32) (i32.const 5))
    (func (export "spin") (param i32 i32) (result i64) (loop $l (br $l)) unreachable))`,
);

describe.each(["async", "sync"] as const)("%s", (mode) => {
  it("bytes and JSON go in and out, and nothing is left behind", () =>
    withVm(image, {}, async (vm) => {
      const bytes = (input: Uint8Array) =>
        mode === "sync" ? vm.callBytesSync("copy", input) : vm.callBytes("copy", input);
      for (const length of [0, 1, 5000, 60000]) {
        const input = Uint8Array.from({ length }, (_, i) => i * 7);
        if (length <= 60000) expect(Buffer.from(await bytes(input)).equals(input)).toBe(true);
        expect(vm.callSync("live")).toBe(0);
      }
      const json = (value: unknown) =>
        mode === "sync" ? vm.callJsonSync("copy", value) : vm.callJson("copy", value);
      for (const value of [null, 5, "grüße", [1, { two: [true] }], {}])
        expect(await json(value)).toEqual(value);
      expect(vm.callSync("ready")).toBe(1);
    }));

  it("_initialize is called once, and not again if the user did", () =>
    withVm(image, {}, async (vm) => {
      await vm.call("_initialize");
      await vm.callBytes("nothing", new Uint8Array(3));
      expect(vm.callSync("ready")).toBe(1);
    }));

  for (const [name, text] of [
    ["outside", "1000 bytes at 131000"],
    ["huge", "4294967295 bytes at 4294967295"],
    ["null", "without a pointer"],
    ["wrong", "i64"],
  ] as const) {
    it(`a guest that breaks the convention: ${name}`, () =>
      withVm(image, {}, async (vm) => {
        const input = new Uint8Array(10);
        const call = async () =>
          mode === "sync" ? vm.callBytesSync(name, input) : vm.callBytes(name, input);
        expect((await failure(call, "BARECELL_RESULT_INVALID")).message).toContain(text);
      }));
  }

  it("no memory for the input, no JSON, no such function, no JSON text of a value", () =>
    withVm(image, {}, async (vm) => {
      await failure(() => vm.callBytes("copy", new Uint8Array(60001)), "BARECELL_RESULT_INVALID");
      await failure(() => vm.callJson("nothing", 5), "BARECELL_RESULT_INVALID");
      await failure(() => vm.callBytes("missing", new Uint8Array(1)), "BARECELL_EXPORT_NOT_FOUND");
      const cycle: unknown[] = [];
      cycle.push(cycle);
      for (const value of [undefined, () => 1, 5n, cycle, Symbol("s")]) {
        await failure(() => vm.callJson("copy", value), "BARECELL_ARGUMENT_INVALID");
      }
      await failure(() => vm.callBytes("copy", "text" as unknown as Uint8Array), "BARECELL_ARGUMENT_INVALID");
    }));

  it("one time limit for all of its calls", () =>
    withVm(image, {}, async (vm) => {
      const input = new Uint8Array(1);
      const options = { timeoutMs: 20 };
      await failure(
        async () =>
          mode === "sync" ? vm.callBytesSync("spin", input, options) : vm.callBytes("spin", input, options),
        "BARECELL_TIMEOUT",
      );
    }));
});
