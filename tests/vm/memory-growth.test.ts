/** memory.grow: what it returns, what the host and the guest see of it, and where memory ends afterwards. */
import { describe, expect, it } from "vitest";
import type { BootOptions } from "../support/barecell.ts";
import { isSvm } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const PAGE = 65_536;
const MIB = 2 ** 20;
const OOB = "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY";

/** `touch` writes a number into each 4 KiB of a range of pages, `check` says how many of them are (still) there. */
const FUNCTIONS = `
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "size") (result i32) (memory.size))
  (func (export "read") (param i32) (result i64) (i64.load (local.get 0)))
  (func (export "read8") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "write") (param i32 i64) (i64.store (local.get 0) (local.get 1)))
  (func (export "write8") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "touch") (param $at i32) (param $end i32)
    (block $done (loop $more
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (i64.store (local.get $at) (i64.mul (i64.extend_i32_u (local.get $at)) (i64.const 0x9e3779b97f4a7c15)))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br $more))))
  (func (export "check") (param $at i32) (param $end i32) (result i32) (local $right i32)
    (block $done (loop $more
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $right (i32.add (local.get $right)
        (i64.eq (i64.load (local.get $at)) (i64.mul (i64.extend_i32_u (local.get $at)) (i64.const 0x9e3779b97f4a7c15)))))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br $more)))
    (local.get $right))
  (func (export "grow_often") (param $times i32) (param $pages i32) (result i32) (local $last i32)
    (loop $more
      (local.set $last (memory.grow (local.get $pages)))
      (local.set $times (i32.sub (local.get $times) (i32.const 1)))
      (br_if $more (local.get $times)))
    (local.get $last))`;

const module = (memory: string): string => `(module (memory (export "memory") ${memory}) ${FUNCTIONS})`;

describe("memory.grow", async () => {
  const image = await imageOf("grow", module("1"));
  const limited = await imageOf("grow-limited", module("1 4"));
  const empty = await imageOf("grow-empty", module("0"));

  it("returns the size before; the end moves, and only as far as was asked", () =>
    withVm(image, { afterTrap: "keep" }, async (vm) => {
      await vm.call("write", PAGE - 8, 77n);
      await failure(() => vm.call("read", PAGE), OOB);
      expect(await vm.call("grow", 1)).toBe(1);
      expect(await vm.call("size")).toBe(2);
      expect(vm.memory.byteLength).toBe(2 * PAGE);
      expect(await vm.call("read", PAGE - 8)).toBe(77n);
      // Across the old end, in one access.
      await vm.call("write", PAGE - 4, 0x1122334455667788n);
      expect(await vm.call("read", PAGE - 4)).toBe(0x1122334455667788n);
      expect(Buffer.from(vm.memory.read(PAGE - 4, 8)).readBigUInt64LE()).toBe(0x1122334455667788n);
      expect(await vm.call("read", PAGE + 4)).toBe(0n);
      expect(await vm.call("read", 2 * PAGE - 8)).toBe(0n);
      for (let at = 2 * PAGE - 7; at < 2 * PAGE; at++) {
        const error = await failure(() => vm.call("write", at, -1n), OOB);
        expect(error.message).toContain(`address ${2 * PAGE})`);
      }
      expect(vm.memory.read(2 * PAGE - 8, 8)).toEqual(new Uint8Array(8));
      await failure(() => vm.call("read8", 2 * PAGE), OOB);
      await failure(() => vm.call("read8", 40 * PAGE), OOB);
      await failure(() => vm.call("read8", -1), OOB);
    }));

  it("by 0 returns the size and changes nothing", () =>
    withVm(image, {}, async (vm) => {
      expect(await vm.call("grow", 0)).toBe(1);
      expect(await vm.call("grow", 3)).toBe(1);
      expect(await vm.call("grow", 0)).toBe(4);
      expect(vm.memory.byteLength).toBe(4 * PAGE);
    }));

  it.each([
    ["the module's maximum", limited, {}, 4],
    ["maxMemoryBytes", image, { maxMemoryBytes: 4 * PAGE }, 4],
    ["maxMemoryBytes, rounded down to whole pages", image, { maxMemoryBytes: 5 * PAGE - 1 }, 4],
    ["the smaller of both", limited, { maxMemoryBytes: 3 * PAGE }, 3],
    ["what there is at the start", image, { maxMemoryBytes: PAGE }, 1],
  ] as [string, typeof image, BootOptions, number][])(
    "fails with -1 at %s",
    async (_, of, options, limit) => {
      await withVm(of, { ...options, afterTrap: "keep" }, async (vm) => {
        for (const pages of [limit, limit + 1, 65_536, 65_535, 2 ** 31 - 1, -(2 ** 31), -1]) {
          expect(await vm.call("grow", pages), `grow ${pages}`).toBe(-1);
        }
        expect(vm.memory.byteLength).toBe(PAGE);
        expect(await vm.call("grow", limit - 1)).toBe(1);
        expect(await vm.call("grow", 1)).toBe(-1);
        expect(await vm.call("grow", 0)).toBe(limit);
        await vm.call("write", limit * PAGE - 8, 5n);
        await failure(() => vm.call("write", limit * PAGE - 7, 5n), OOB);
      });
    },
  );

  it("in odd steps to 64 MiB, every page touched, nothing lost", () =>
    withVm(image, { afterTrap: "keep", timeoutMs: 60_000 }, async (vm) => {
      let pages = 1;
      await vm.call("touch", 0, PAGE);
      for (let step = 1; pages < 1024; step = ((step * 7) % 61) + 1) {
        const by = Math.min(step, 1024 - pages);
        expect(await vm.call("grow", by)).toBe(pages);
        // Untouched pages of new memory are zero.
        expect(await vm.call("read", (pages + by) * PAGE - 8)).toBe(0n);
        await vm.call("touch", pages * PAGE, (pages + by) * PAGE);
        pages += by;
        await failure(() => vm.call("read8", pages * PAGE), OOB);
        expect(vm.memory.byteLength).toBe(pages * PAGE);
      }
      expect(await vm.call("check", 0, 64 * MIB)).toBe((64 * MIB) / 4096);
      // And through the host's eyes.
      for (let page = 0; page < 1024; page += 37) {
        const found = Buffer.from(vm.memory.read(page * PAGE + 4096, 8)).readBigUInt64LE();
        expect(found).toBe(BigInt.asUintN(64, BigInt(page * PAGE + 4096) * 0x9e3779b97f4a7c15n));
      }
    }));

  it("page by page inside one call", () =>
    withVm(image, {}, async (vm) => {
      expect(await vm.call("grow_often", 300, 1)).toBe(300);
      expect(vm.memory.byteLength).toBe(301 * PAGE);
      await vm.call("touch", 0, 301 * PAGE);
      expect(await vm.call("check", 0, 301 * PAGE)).toBe((301 * PAGE) / 4096);
    }));

  it("a module that starts with 0 pages", () =>
    withVm(empty, { afterTrap: "keep" }, async (vm) => {
      expect(await vm.call("size")).toBe(0);
      expect(vm.memory.byteLength).toBe(0);
      expect(vm.memory.read(0, 0)).toEqual(new Uint8Array(0));
      await failure(() => vm.call("read8", 0), OOB);
      await failure(() => vm.call("write8", 0, 1), OOB);
      expect(await vm.call("grow", 1)).toBe(0);
      await vm.call("write", 0, 9n);
      expect(await vm.call("read", 0)).toBe(9n);
      await failure(() => vm.call("read8", PAGE), OOB);
      expect(await vm.call("grow", 100)).toBe(1);
      expect(await vm.call("read", 0)).toBe(9n);
      await vm.call("touch", 0, 101 * PAGE);
      expect(await vm.call("check", 0, 101 * PAGE)).toBe((101 * PAGE) / 4096);
      await failure(() => vm.call("read8", 101 * PAGE), OOB);
    }));

  it("a memory of exactly 0 pages can never grow", async () => {
    const none = await imageOf("grow-none", module("0 0"));
    await withVm(none, { afterTrap: "keep" }, async (vm) => {
      expect(await vm.call("grow", 1)).toBe(-1);
      expect(await vm.call("grow", 0)).toBe(0);
      await failure(() => vm.call("read8", 0), OOB);
    });
  });

  it("two VMs of one image grow apart", () =>
    withVm(image, { afterTrap: "keep" }, (first) =>
      withVm(image, { afterTrap: "keep" }, async (second) => {
        await first.call("grow", 10);
        await first.call("write", 5 * PAGE, 1n);
        await failure(() => second.call("read", 5 * PAGE), OOB);
        await second.call("grow", 10);
        expect(await second.call("read", 5 * PAGE)).toBe(0n);
        expect(await first.call("read", 5 * PAGE)).toBe(1n);
      }),
    ));

  it("to 4 GiB exactly, where the last byte works and the next does not", async () => {
    const full = await imageOf("grow-full", module("1 65536"));
    await withVm(full, { afterTrap: "keep", maxMemoryBytes: 2 ** 32 }, async (vm) => {
      expect(await vm.call("grow", 65_536)).toBe(-1);
      expect(await vm.call("grow", 65_535)).toBe(1);
      expect(await vm.call("size")).toBe(65_536);
      expect(vm.memory.byteLength).toBe(2 ** 32);
      await vm.call("write8", -1, 0xab);
      expect(await vm.call("read8", -1)).toBe(0xab);
      await vm.call("write", -8, 3n);
      expect(await vm.call("read", -8)).toBe(3n);
      expect(vm.memory.read(2 ** 32 - 8, 8)[0]).toBe(3);
      for (const address of [-7, -1]) {
        const error = await failure(() => vm.call("write", address, -1n), OOB);
        expect(error.message).toContain(`address ${2 ** 32})`);
      }
      expect(await vm.call("read", -8)).toBe(3n);
      expect(await vm.call("read", 0)).toBe(0n);
      expect(await vm.call("grow", 1)).toBe(-1);
      for (const address of [2 ** 30, 2 ** 31, 3 * 2 ** 30]) {
        await vm.call("write", (address - 4) | 0, BigInt(address));
        expect(await vm.call("read", (address - 4) | 0)).toBe(BigInt(address));
      }
    });
  });

  it.each([
    ["1 GiB", 16_384],
    ["just over what fits below 3 GiB of guest-physical space", 49_152],
    ["4 GiB", 65_536],
  ])("a large initial memory boots: %s", async (_, pages) => {
    const large = await imageOf("large", module(`${pages} ${pages}`));
    await withVm(
      large,
      { afterTrap: "keep", maxMemoryBytes: pages * PAGE, timeoutMs: isSvm ? 60_000 : 10_000 },
      async (vm) => {
        expect(vm.memory.byteLength).toBe(pages * PAGE);
        const last = (pages * PAGE - 8) | 0;
        expect(await vm.call("read", last)).toBe(0n);
        await vm.call("write", last, 11n);
        expect(await vm.call("read", last)).toBe(11n);
        expect(vm.memory.read(pages * PAGE - 8, 1)[0]).toBe(11);
        await failure(() => vm.call("read", (pages * PAGE - 7) | 0), OOB);
        expect(await vm.call("grow", 1)).toBe(-1);
      },
    );
  });

  it("from a large initial memory that is no whole 2 MiB", async () => {
    const odd = await imageOf("odd", module("8225"));
    await withVm(odd, { afterTrap: "keep", maxMemoryBytes: 2 ** 30 }, async (vm) => {
      const end = 8225 * PAGE;
      await vm.call("write", end - 8, 1n);
      await failure(() => vm.call("read8", end), OOB);
      expect(await vm.call("grow", 1)).toBe(8225);
      await vm.call("touch", end, end + PAGE);
      await failure(() => vm.call("read8", end + PAGE), OOB);
      expect(await vm.call("grow", 200)).toBe(8226);
      expect(await vm.call("check", end, end + PAGE)).toBe(16);
      await vm.call("touch", end, end + 201 * PAGE);
      expect(await vm.call("check", end, end + 201 * PAGE)).toBe(201 * 16);
      expect(await vm.call("read", end - 8)).toBe(1n);
    });
  });
});
