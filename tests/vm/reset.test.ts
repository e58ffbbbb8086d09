/** Reset of a VM: everything that WebAssembly, WASI and the host can change is as after the boot. What machine code can hide: tests/hostile/reset.test.ts. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type BootOptions, type FunctionReference, MicroVM } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf, imageOfModules, withVm } from "../support/modules.ts";

const image = await imageOf(
  "reset",
  `(module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
    (memory (export "memory") 4 1024)
    (data (i32.const 65536) "pristine")
    (data $passive "passive")
    (table $t (export "t") 2 10 funcref)
    (table $x 2 10 externref)
    (elem (i32.const 0) $one)
    (elem $drop func $two)
    (global $n (export "n") (mut i64) (i64.const 7))
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "touch") (param $at i32) (param $end i32)
      (loop $l (i32.store8 (local.get $at) (i32.const 5)) (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $l (i32.lt_u (local.get $at) (local.get $end)))))
    (func (export "sum") (param $at i32) (param $end i32) (result i64) (local $sum i64)
      (loop $l (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at)))) (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $l (i32.lt_u (local.get $at) (local.get $end)))) (local.get $sum))
    (func (export "size") (result i32) (memory.size))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "table_size") (result i32) (table.size $t))
    (func (export "spoil_tables") (result i32)
      (table.set $t (i32.const 0) (ref.func $two)) (table.set $t (i32.const 1) (ref.func $two)) (table.grow $t (ref.func $two) (i32.const 3)))
    (func (export "call_element") (param i32) (result i32) (call_indirect $t (result i32) (local.get 0)))
    (func (export "keep") (param externref) (table.set $x (i32.const 0) (local.get 0)))
    (func (export "kept") (result externref) (table.get $x (i32.const 0)))
    (func (export "reference") (result funcref) (ref.func $one))
    (func (export "take") (param funcref) (result i32) (ref.is_null (local.get 0)))
    (func (export "init") (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 7)) (data.drop $passive))
    (func (export "init_table") (table.init $t $drop (i32.const 1) (i32.const 0) (i32.const 1)) (elem.drop $drop))
    (func (export "read") (param $to i32) (param $count i32) (result i32)
      (i32.store (i32.const 0) (local.get $to)) (i32.store (i32.const 4) (local.get $count))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))) (i32.load (i32.const 8)))
    (func (export "write") (param $from i32) (param $count i32) (result i32)
      (i32.store (i32.const 0) (local.get $from)) (i32.store (i32.const 4) (local.get $count))
      (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (func (export "close") (param i32) (result i32) (call $fd_close (local.get 0)))
    (func (export "random") (param i32 i32) (result i32) (call $random_get (local.get 0) (local.get 1)))
    (func (export "time") (param i32) (result i64) (drop (call $clock (local.get 0) (i64.const 0) (i32.const 16))) (i64.load (i32.const 16)))
    (func (export "mkdir") (result i32) (i32.store8 (i32.const 0) (i32.const 100)) (call $mkdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (func (export "trap") unreachable)
    (func (export "loop") (loop $l (br $l))))`,
);
const WASI: BootOptions = { wasi: { stdin: "secret input", stdout: "capture" } };

/** Both ways to reset, and both ways to boot. */
const WAYS = [
  ["resetSync", "staged", async (vm: MicroVM) => vm.resetSync()],
  ["reset", "staged", (vm: MicroVM) => vm.reset()],
  ["resetSync", "direct", async (vm: MicroVM) => vm.resetSync()],
] as const;

describe.each(WAYS)("%s after a %s boot", (_, boot, reset) => {
  const options: BootOptions = { ...WASI, boot };

  it("memory: zeros and initial data, whatever was written, in the image's pages or not", () =>
    withVm(image, options, async (vm) => {
      for (let round = 0; round < 3; round++) {
        expect(vm.callSync("load", 0)).toBe(0);
        expect(new TextDecoder().decode(vm.memory.read(65536, 8))).toBe("pristine");
        vm.callSync("fill", 65536 - 10, 0xaa, 100);
        vm.callSync("store", 4 * 65536 - 1, 0xbb);
        vm.callSync("store", 0, 0xcc);
        await reset(vm);
        expect(vm.memory.read(0, 4 * 65536).filter((byte) => byte !== 0).length).toBe(8);
      }
    }));
  it("globals, tables, dropped segments", () =>
    withVm(image, options, async (vm) => {
      for (let round = 0; round < 2; round++) {
        vm.setGlobal("n", 99n);
        expect(vm.callSync("spoil_tables")).toBe(2);
        vm.callSync("init");
        vm.callSync("init_table");
        expect([vm.callSync("call_element", 0), vm.callSync("table_size")]).toEqual([2, 5]);
        await failure(() => vm.callSync("init"), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
        await reset(vm);
        expect(vm.global("n")).toBe(7n);
        expect([vm.callSync("call_element", 0), vm.callSync("table_size")]).toEqual([1, 2]);
        await failure(() => vm.callSync("call_element", 1), "BARECELL_TRAP_UNINITIALIZED_ELEMENT");
        await reset(vm);
      }
    }));
  it("grown memory is gone, and empty when it is grown again", () =>
    withVm(image, options, async (vm) => {
      for (let round = 0; round < 3; round++) {
        expect(vm.callSync("grow", 40)).toBe(4);
        vm.callSync("fill", 0, 0xee, 44 * 65536);
        await reset(vm);
        expect([vm.callSync("size"), vm.memory.byteLength]).toEqual([4, 4 * 65536]);
        // Read and write, at the first byte that is outside and in the middle of a large page.
        for (const at of [4 * 65536, 4 * 65536 + 4096, 36 * 65536]) {
          await failure(() => vm.callSync("load", at), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
          vm.resetSync();
          await failure(() => vm.callSync("store", at, 1), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
          vm.resetSync();
        }
        expect(vm.callSync("grow", 40)).toBe(4);
        expect(vm.callSync("sum", 0, 44 * 65536)).toBe(
          new DataView(new TextEncoder().encode("pristine").buffer).getBigInt64(0, true),
        );
        await reset(vm);
      }
    }));
  it("more pages than are worth copying", () =>
    withVm(image, options, async (vm) => {
      const pristine = new DataView(new TextEncoder().encode("pristine").buffer).getBigInt64(0, true);
      for (let round = 0; round < 2; round++) {
        vm.callSync("grow", 900);
        vm.callSync("touch", 0, 904 * 65536);
        await reset(vm);
        vm.callSync("grow", 900);
        expect(vm.callSync("sum", 0, 904 * 65536)).toBe(pristine);
        await reset(vm);
        expect(vm.callSync("sum", 0, 4 * 65536)).toBe(pristine);
      }
    }));
  it("what the host wrote for the guest, in pages that the guest never touched", () =>
    withVm(image, { ...options, answersInGuest: false }, async (vm) => {
      for (let round = 0; round < 2; round++) {
        expect(vm.callSync("read", 3 * 65536 + 100, 50)).toBe(12);
        expect(new TextDecoder().decode(vm.memory.read(3 * 65536 + 100, 12))).toBe("secret input");
        vm.callSync("random", 3 * 65536 - 4096, 4096);
        vm.memory.write(2 * 65536 + 4095, new Uint8Array([1, 2]));
        await reset(vm);
        expect(vm.memory.read(0, 4 * 65536).filter((byte) => byte !== 0).length).toBe(8);
      }
    }));
  it("what the host wrote in more places than it remembers", () =>
    withVm(image, options, async (vm) => {
      vm.callSync("grow", 20);
      for (let page = 0; page < 200; page += 2) vm.memory.write(page * 4096 + 7, new Uint8Array([1]));
      await reset(vm);
      vm.callSync("grow", 20);
      expect(vm.memory.read(0, 24 * 65536).filter((byte) => byte !== 0).length).toBe(8);
      vm.memory.write(0, new Uint8Array([1]));
      await reset(vm);
      expect(vm.memory.read(0, 4 * 65536).filter((byte) => byte !== 0).length).toBe(8);
    }));
  it("WASI: descriptors, input, captured output, its limit", () =>
    withVm(image, { ...options, maxOutputBytes: 100 }, async (vm) => {
      for (let round = 0; round < 3; round++) {
        expect([vm.callSync("read", 1000, 50), vm.callSync("read", 1000, 50)]).toEqual([12, 0]);
        vm.callSync("fill", 2000, 65, 90);
        expect(vm.callSync("write", 2000, 90)).toBe(0);
        expect([vm.callSync("close", 1), vm.callSync("write", 2000, 1)]).toEqual([0, 8]);
        await reset(vm);
        expect(vm.stdout().length).toBe(0);
      }
    }));
  it("WASI: directories in memory are empty", () =>
    withVm(image, { ...options, wasi: { preopens: { "/tmp": { memoryBytes: 65536 } } } }, async (vm) => {
      for (let round = 0; round < 3; round++) {
        expect([vm.callSync("mkdir"), vm.callSync("mkdir")]).toEqual([0, 20]); // EEXIST
        await reset(vm);
      }
    }));
  it.each([true, false])("random numbers are others each time (in the guest: %s)", (answersInGuest) =>
    withVm(image, { ...options, answersInGuest }, async (vm) => {
      const seen = new Set<string>();
      for (let round = 0; round < 20; round++) {
        vm.callSync("random", 0, 16);
        seen.add(Buffer.from(vm.memory.read(0, 16)).toString("hex"));
        await reset(vm);
      }
      expect(seen.size).toBe(20);
    }),
  );
  it("random numbers are others each time, also if the start asked for some", async () => {
    const seeded = await imageOf(
      "seeded",
      `(module (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
        (memory (export "memory") 1) (func $start (drop (call $random_get (i32.const 8) (i32.const 8)))) (start $start)
        (func (export "random") (result i64) (drop (call $random_get (i32.const 0) (i32.const 8))) (i64.load (i32.const 0))))`,
    );
    await withVm(seeded, { ...options, wasi: {} }, async (vm) => {
      const seen = new Set<unknown>();
      const atStart = new Set<string>();
      for (let round = 0; round < 10; round++) {
        seen.add(vm.callSync("random"));
        atStart.add(Buffer.from(vm.memory.read(8, 8)).toString("hex"));
        await reset(vm);
      }
      expect(seen.size).toBe(10);
      // In place: the start was not run again.
      expect(atStart.size).toBe(1);
    });
  });
  it("fixed clock and random numbers begin anew", () =>
    withVm(image, { ...options, wasi: { deterministic: true } }, async (vm) => {
      const seen = new Set<string>();
      for (let round = 0; round < 3; round++) {
        vm.callSync("random", 0, 16);
        const time = [vm.callSync("time", 0), vm.callSync("time", 1)];
        seen.add(`${Buffer.from(vm.memory.read(0, 16)).toString("hex")} ${time}`);
        await reset(vm);
      }
      expect(seen.size).toBe(1);
    }));
  it.each([true, false])("the monotonic clock starts again (in the guest: %s)", (answersInGuest) =>
    withVm(image, { ...options, answersInGuest }, async (vm) => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      const old = vm.callSync("time", 1) as bigint;
      expect(old).toBeGreaterThan(299_000_000n);
      await reset(vm);
      expect(vm.callSync("time", 1)).toBeLessThan(old);
      expect(Number(vm.callSync("time", 0)) / 1e6).toBeGreaterThan(Date.now() - 60_000);
    }),
  );
  it("references", () =>
    withVm(image, options, async (vm) => {
      const reference = vm.callSync("reference") as FunctionReference;
      vm.callSync("keep", { secret: true });
      expect(vm.callSync("take", reference)).toBe(0);
      await reset(vm);
      expect(vm.callSync("kept")).toBe(null);
      await failure(() => vm.callSync("take", reference), "BARECELL_ARGUMENT_INVALID");
      expect(vm.callSync("take", vm.callSync("reference") as FunctionReference)).toBe(0);
    }));
  it("a poisoned VM is usable again", () =>
    withVm(image, { ...options, timeoutMs: 300 }, async (vm) => {
      for (const [name, code] of [
        ["trap", "BARECELL_TRAP_UNREACHABLE"],
        ["loop", "BARECELL_TIMEOUT"],
      ] as const) {
        vm.callSync("store", 0, 1);
        await failure(() => vm.call(name), code);
        expect(vm.state).toBe("poisoned");
        await reset(vm);
        expect([vm.state, vm.callSync("load", 0)]).toEqual(["ready", 0]);
      }
    }));
});

describe("several memories", () => {
  const modules = imageOfModules([
    [
      "lib",
      `(module (memory (export "memory") 1 64) (data (i32.const 100) "lib")
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
      (func (export "put") (param i32) (i32.store8 (local.get 0) (i32.const 1)))
      (func (export "get") (param i32) (result i32) (i32.load8_u (local.get 0))))`,
    ],
    [
      "main",
      `(module (memory (export "memory") 0 64)
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
      (func (export "put") (param i32) (i32.store8 (local.get 0) (i32.const 1)))
      (func (export "get") (param i32) (result i32) (i32.load8_u (local.get 0))))`,
    ],
  ]);
  it("each goes back to its size and contents", async () =>
    withVm(await modules, {}, async (vm) => {
      const lib = vm.module("lib");
      for (let round = 0; round < 3; round++) {
        expect([lib.callSync("grow", 33), vm.callSync("grow", 35)]).toEqual([1, 0]);
        for (const at of [100, 65535, 65536, 33 * 65536]) {
          lib.callSync("put", at);
          vm.callSync("put", at);
        }
        vm.resetSync();
        expect([lib.memory.byteLength, vm.memory.byteLength]).toEqual([65536, 0]);
        expect(lib.callSync("get", 100)).toBe("l".charCodeAt(0));
        expect(lib.callSync("get", 65535)).toBe(0);
        await failure(() => lib.callSync("get", 65536), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
        vm.resetSync();
        await failure(() => vm.callSync("get", 100), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
        vm.resetSync();
        expect([lib.callSync("grow", 33), vm.callSync("grow", 35)]).toEqual([1, 0]);
        expect([
          lib.callSync("get", 65536),
          lib.callSync("get", 33 * 65536),
          vm.callSync("get", 100),
        ]).toEqual([0, 0, 0]);
        vm.resetSync();
      }
    }));
});

describe("a start that does something outside of its memory is done again", () => {
  it("one that asks the host", async () => {
    const chatty = await imageOf(
      "chatty",
      `(module (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 64) "started") (data (i32.const 0) "\\40\\00\\00\\00\\07\\00\\00\\00")
        (global $n (export "n") (mut i32) (i32.const 0))
        (func $start (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (global.set $n (i32.add (global.get $n) (i32.const 1))))
        (start $start)
        (func (export "spoil") (global.set $n (i32.const 50)) (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))))`,
    );
    await withVm(chatty, { wasi: { stdout: "capture" } }, async (vm) => {
      for (let round = 0; round < 4; round++) {
        expect(new TextDecoder().decode(vm.stdout())).toBe("started");
        expect(vm.global("n")).toBe(1);
        vm.callSync("spoil");
        if (round % 2 === 0) await vm.reset();
        else vm.resetSync();
      }
    });
  });
  it("one that grows its memory", async () => {
    const growing = await imageOf(
      "growing",
      `(module (memory (export "memory") 1 40) (func $start (drop (memory.grow (i32.const 3))) (i32.store (i32.const 200000) (i32.const 5))) (start $start)
        (func (export "size") (result i32) (memory.size)) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "load") (param i32) (result i32) (i32.load (local.get 0))) (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1))))`,
    );
    await withVm(growing, {}, async (vm) => {
      for (let round = 0; round < 3; round++) {
        expect([vm.callSync("size"), vm.callSync("load", 200000), vm.callSync("load", 200004)]).toEqual([
          4, 5, 0,
        ]);
        vm.callSync("grow", 36);
        vm.callSync("store", 200004, 77);
        vm.resetSync();
      }
      await failure(() => vm.callSync("load", 4 * 65536), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
    });
  });
  it("one that traps the next time leaves a poisoned VM", async () => {
    const picky = await imageOf(
      "picky",
      `(module (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "\\40\\00\\00\\00\\01\\00\\00\\00")
        (func $start (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))) (if (i32.eqz (i32.load (i32.const 8))) (then unreachable)))
        (start $start) (func (export "f") (result i32) (i32.const 1)))`,
    );
    const folder = mkdtempSync(join(tmpdir(), "barecell-reset-"));
    writeFileSync(join(folder, "input"), "xy");
    const fd = openSync(join(folder, "input"), "r");
    try {
      await withVm(picky, { wasi: { stdin: { fd } }, afterTrap: "keep" }, async (vm) => {
        vm.resetSync();
        expect(vm.callSync("f")).toBe(1);
        // Each start has read a byte, and now there is none left.
        await failure(() => vm.reset(), "BARECELL_TRAP_UNREACHABLE");
        expect(vm.state).toBe("poisoned");
        await failure(() => vm.callSync("f"), "BARECELL_POISONED");
        await failure(() => vm.resetSync(), "BARECELL_TRAP_UNREACHABLE");
        expect(vm.state).toBe("poisoned");
      });
    } finally {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    }
  });
});

describe("modules that are instantiated on demand", () => {
  it("are not instantiated after a reset", async () => {
    const onDemand = await imageOf(
      "on-demand",
      `(module (global $n (export "n") (mut i32) (i32.const 3)) (func (export "f") (result i32) (global.get $n)))`,
      {
        instantiate: "on-demand",
      },
    );
    await withVm(onDemand, {}, async (vm) => {
      for (let round = 0; round < 3; round++) {
        await failure(() => vm.callSync("f"), "BARECELL_NOT_INSTANTIATED");
        await vm.instantiate("on-demand");
        expect(vm.callSync("f")).toBe(3);
        vm.setGlobal("n", 9);
        vm.resetSync();
      }
    });
  });
});

describe("states", () => {
  it("not while a call runs, nor while another reset does", () =>
    withVm(image, { ...WASI, timeoutMs: 500 }, async (vm) => {
      const running = vm.call("loop");
      await failure(() => vm.reset(), "BARECELL_BUSY");
      await failure(() => vm.resetSync(), "BARECELL_BUSY");
      await failure(() => running, "BARECELL_TIMEOUT");
      await vm.reset();
      // Too much to be done at once.
      vm.callSync("grow", 40);
      const resetting = vm.reset();
      expect(vm.state).toBe("running");
      await failure(() => vm.reset(), "BARECELL_BUSY");
      await failure(() => vm.callSync("size"), "BARECELL_BUSY");
      await failure(() => vm.memory.read(0, 1), "BARECELL_BUSY");
      await failure(() => vm.memory.write(0, new Uint8Array(1)), "BARECELL_BUSY");
      await resetting;
      expect(vm.callSync("size")).toBe(4);
    }));
  it("little to be reset is done at once, and the VM is busy until its promise settles all the same", () =>
    withVm(image, WASI, async (vm) => {
      vm.callSync("store", 65536, 99);
      const resetting = vm.reset();
      expect(vm.state).toBe("running");
      expect(() => vm.callSync("size")).toThrow("another call of this VM is running");
      expect(() => vm.memory.read(65536, 1)).toThrow("another call of this VM is running");
      await resetting;
      expect(vm.state).toBe("ready");
      expect(vm.callSync("load", 65536)).toBe("p".charCodeAt(0));
    }));
  it.each([0, 40])("not after dispose, which may come during a reset (of %d grown pages)", async (pages) => {
    const vm = await MicroVM.boot(image, WASI);
    vm.callSync("grow", pages);
    const resetting = vm.reset();
    vm.dispose();
    await failure(() => resetting, "BARECELL_DISPOSED");
    await failure(() => vm.reset(), "BARECELL_DISPOSED");
    await failure(() => vm.resetSync(), "BARECELL_DISPOSED");
    await vm[Symbol.asyncDispose]();
  });
  it("many VMs of one image, each by itself", async () => {
    const vms = await Promise.all(Array.from({ length: 12 }, () => MicroVM.boot(image, WASI)));
    try {
      for (let round = 0; round < 5; round++) {
        await Promise.all(vms.map((vm, i) => vm.call("store", 65536, i + 1)));
        await Promise.all(vms.filter((_, i) => i % 2 === 0).map((vm) => vm.reset()));
        const found = await Promise.all(vms.map((vm) => vm.call("load", 65536)));
        expect(found).toEqual(vms.map((_, i) => (i % 2 === 0 ? "p".charCodeAt(0) : i + 1)));
      }
    } finally {
      for (const vm of vms) vm.dispose();
    }
  });
});
