/** Boots after the first one, in which a second thread maps the memory and fills in beforehand what the first one wrote: they must come to the same. */
import { describe, expect, it } from "vitest";
import { BC_IMAGE_BASE } from "../../src/abi.ts";
import { slowness } from "../support/environment.ts";
import { imageOf } from "../support/modules.ts";
import { differences, PAGE_BYTES, WholeVm } from "../support/whole-vm.ts";

const PAGE = 65_536;
/** Writes to a page of zeros, to one with data, to the last one, and to no other; calls need a table and a global. */
const module = (pages: number): string => `(module (memory (export "memory") ${pages})
  (data (i32.const 70000) "data") (data (i32.const 100) "never written")
  (table 4 funcref) (elem (i32.const 1) $seven)
  (global $sum (mut i64) (i64.const 0))
  (func $seven (result i32) (i32.const 7))
  (func $start
    (i64.store (i32.const 8192) (i64.const 0x1122334455667788))
    (i32.store8 (i32.const 70001) (i32.const 88))
    (i32.store8 (i32.const ${pages * PAGE - 1}) (i32.const 1))
    (global.set $sum (i64.extend_i32_s (call_indirect (result i32) (i32.const 1)))))
  (func (export "sum") (param i64) (result i64) (global.set $sum (i64.add (global.get $sum) (local.get 0))) (global.get $sum))
  (start $start))`;
/** Written in so many places that nothing is filled in beforehand. */
const wide = `(module (memory (export "memory") 32)
  (func $start (local $at i32)
    (loop $next
      (i32.store (local.get $at) (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const ${32 * PAGE})))))
  (func (export "sum") (param i64) (result i64) (i64.add (local.get 0) (i64.const 7)))
  (start $start))`;

const ROUNDS = slowness > 1 ? 4 : 30;

describe.each([
  ["one page", module(2)],
  ["memory with large pages", module(256)],
  ["many pages", wide],
])("an instantiation that writes: %s", (name, text) => {
  it.each(["staged", "direct"] as const)("%s boots leave the same memory each time", async (boot) => {
    const image = await imageOf(`again ${name}`, text);
    const mailbox = image.layout.header.mailbox;
    const stack = image.layout.segments.find(({ purpose }) => purpose === "stack");
    const stackEnd = (stack?.physical ?? 0) + (stack?.memoryBytes ?? 0);
    /** The time at which it booted, random seed and clock are each boot's own; the time is on the stack, too. */
    const maskOwn = (gpa: number, page: Buffer): void => {
      if (gpa === mailbox - BC_IMAGE_BASE) page.fill(0, 24, 168);
      if (gpa === stackEnd - PAGE_BYTES) page.fill(0);
    };
    const first = new WholeVm(image, { boot, afterTrap: "keep" });
    const memory = first.memory();
    expect(stackEnd).toBeGreaterThan(PAGE_BYTES);
    expect(memory.size).toBeGreaterThan(3);
    // A reset leaves nothing on the stack and in the mailbox, where a boot leaves its own.
    first.reset();
    const afterReset = first.memory();
    for (let round = 0; round < ROUNDS; round++) {
      const vm = new WholeVm(image, { boot, afterTrap: "keep" });
      try {
        expect(differences(memory, vm.memory(), maskOwn)).toEqual([]);
        expect(vm.call("sum", [5n])).toBe(12n);
        vm.reset();
        expect(differences(afterReset, vm.memory(), maskOwn)).toEqual([]);
        expect(vm.call("sum", [6n])).toBe(13n);
      } finally {
        vm.dispose();
      }
    }
    first.dispose();
  });
});
