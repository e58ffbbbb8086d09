/** `vm.memory`: the host's checked view, with arguments as an attacker would choose them. */
import { describe, expect, it } from "vitest";
import { MicroVM } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const SIZE = 65_536;
const PAUSES = { unknownImports: "default" } as const;
const image = await imageOf(
  "view",
  `(module (import "env" "pause" (func $pause)) (memory (export "memory") 1) (data (i32.const 100) "initial")
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "grow") (result i32) (memory.grow (i32.const 1)))
    (func (export "fill") (param i32) (memory.fill (i32.const 0) (local.get 0) (i32.const 65536)))
    (func (export "spin") (loop $l
      ;; Without the call the compiler may keep the number in a register for ever.
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (call $pause) (br $l))))`,
);

describe("vm.memory", () => {
  it("reads initial data and what the guest wrote, and the guest reads what the host wrote", () =>
    withVm(image, PAUSES, async (vm) => {
      expect(Buffer.from(vm.memory.read(100, 7)).toString()).toBe("initial");
      vm.memory.write(SIZE - 1, Uint8Array.of(200));
      expect(await vm.call("load", SIZE - 1)).toBe(200);
      vm.memory.write(99, Buffer.from("xyz"));
      expect(await vm.call("load", 100)).toBe("y".charCodeAt(0));
      await vm.call("fill", 7);
      expect(vm.memory.read(0, SIZE)).toEqual(new Uint8Array(SIZE).fill(7));
    }));
  it("what is read is a copy", () =>
    withVm(image, PAUSES, async (vm) => {
      const before = vm.memory.read(100, 4);
      before.fill(1);
      expect(Buffer.from(vm.memory.read(100, 4)).toString()).toBe("init");
      const kept = vm.memory.read(0, 4);
      await vm.call("fill", 9);
      expect(kept).toEqual(new Uint8Array(4));
    }));
  it("the ends: nothing at the end is fine, one byte past it is not", () =>
    withVm(image, PAUSES, async (vm) => {
      expect(vm.memory.read(SIZE, 0)).toEqual(new Uint8Array(0));
      vm.memory.write(SIZE, new Uint8Array(0));
      for (const [offset, length] of [
        [SIZE, 1],
        [SIZE - 1, 2],
        [SIZE + 1, 0],
        [0, SIZE + 1],
        [2 ** 32, 1],
        [2 ** 32 - 1, 2],
        [Number.MAX_SAFE_INTEGER, 1],
        [1, Number.MAX_SAFE_INTEGER],
        [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
        [0, 2 ** 40],
      ] as const) {
        const error = await failure(() => vm.memory.read(offset, length), "BARECELL_MEMORY_RANGE");
        expect(error.message).toContain(`${SIZE} bytes`);
      }
      const guard = vm.memory.read(SIZE - 8, 8);
      await failure(() => vm.memory.write(SIZE - 4, new Uint8Array(5).fill(1)), "BARECELL_MEMORY_RANGE");
      await failure(() => vm.memory.write(SIZE + 1, new Uint8Array(0)), "BARECELL_MEMORY_RANGE");
      expect(vm.memory.read(SIZE - 8, 8)).toEqual(guard);
    }));
  it.each([
    [-1],
    [0.5],
    [Number.NaN],
    [Number.POSITIVE_INFINITY],
    ["0"],
    [0n],
    [undefined],
    [null],
    [{}],
    [2 ** 53],
  ])("an offset or length that is no whole number: %s", (wrong) =>
    withVm(image, PAUSES, async (vm) => {
      const number = wrong as unknown as number;
      await failure(() => vm.memory.read(number, 1), "BARECELL_ARGUMENT_INVALID");
      await failure(() => vm.memory.read(0, number), "BARECELL_ARGUMENT_INVALID");
      await failure(() => vm.memory.write(number, new Uint8Array(1)), "BARECELL_ARGUMENT_INVALID");
    }),
  );
  it("writes byte arrays of any kind of backing, and nothing else", () =>
    withVm(image, PAUSES, async (vm) => {
      vm.memory.write(0, new Uint8Array(new SharedArrayBuffer(4)).fill(3));
      expect([...vm.memory.read(0, 4)]).toEqual([3, 3, 3, 3]);
      vm.memory.write(0, new Uint8Array(new ArrayBuffer(16), 4, 2).fill(8));
      expect([...vm.memory.read(0, 4)]).toEqual([8, 8, 3, 3]);
      const detached = new Uint8Array(4);
      structuredClone(detached.buffer, { transfer: [detached.buffer] });
      vm.memory.write(0, detached);
      expect([...vm.memory.read(0, 4)]).toEqual([8, 8, 3, 3]);
      for (const wrong of [
        [1],
        new Uint16Array(1),
        new ArrayBuffer(1),
        "a",
        null,
        undefined,
        new DataView(new ArrayBuffer(1)),
      ]) {
        await failure(() => vm.memory.write(0, wrong as unknown as Uint8Array), "BARECELL_ARGUMENT_INVALID");
      }
    }));
  it("follows growth", () =>
    withVm(image, PAUSES, async (vm) => {
      await failure(() => vm.memory.read(SIZE, 1), "BARECELL_MEMORY_RANGE");
      await vm.call("grow");
      expect(vm.memory.byteLength).toBe(2 * SIZE);
      vm.memory.write(2 * SIZE - 1, Uint8Array.of(4));
      expect(await vm.call("load", 2 * SIZE - 1)).toBe(4);
    }));
  it("can be looked at while the guest writes", () =>
    withVm(image, { ...PAUSES, timeoutMs: 300 }, async (vm) => {
      const running = failure(() => vm.call("spin"), "BARECELL_TIMEOUT");
      const seen = new Set<number>();
      while (vm.state === "running") {
        seen.add(Buffer.from(vm.memory.read(0, 4)).readUInt32LE());
        vm.memory.write(1000, new Uint8Array(64));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await running;
      expect(seen.size).toBeGreaterThan(2);
    }));
  it("a module without memory has none to read", async () => {
    const none = await imageOf("no-memory", `(module (func (export "f")))`);
    await withVm(none, {}, async (vm) => {
      expect(vm.memory.byteLength).toBe(0);
      expect(vm.memory.read(0, 0)).toEqual(new Uint8Array(0));
      await failure(() => vm.memory.read(0, 1), "BARECELL_MEMORY_RANGE");
      await vm.call("f");
    });
  });
  it("VMs of one image share nothing that is written", async () => {
    const vms = await Promise.all(Array.from({ length: 4 }, () => MicroVM.boot(image, PAUSES)));
    for (const [i, vm] of vms.entries()) vm.memory.write(100, Uint8Array.of(i));
    for (const [i, vm] of vms.entries()) expect(await vm.call("load", 100)).toBe(i);
    for (const vm of vms) vm.dispose();
    await withVm(image, PAUSES, (vm) =>
      expect(Buffer.from(vm.memory.read(100, 7)).toString()).toBe("initial"),
    );
  });
});
