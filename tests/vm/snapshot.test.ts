/** Snapshots: an image that boots to where a VM was. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type BootOptions, Image, MicroVM, preinitialise } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf, imageOfModules, withVm } from "../support/modules.ts";

const image = await imageOf(
  "snapshot",
  `(module
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 2 4096)
    (data (i32.const 65536) "pristine")
    (data $passive "passive")
    (table $t 2 10 funcref) (table $x 2 10 externref)
    (elem (i32.const 0) $one)
    (elem declare func $two)
    (global $n (export "n") (mut i64) (i64.const 7))
    (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
    (func (export "init") (result i32)
      (global.set $n (i64.const 1234)) (i32.store (i32.const 70000) (i32.const 99))
      (table.set $t (i32.const 1) (ref.func $two)) (data.drop $passive) (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 0))
      (drop (table.grow $t (ref.func $two) (i32.const 3))) (i32.const 5))
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "call_element") (param i32) (result i32) (call_indirect $t (result i32) (local.get 0)))
    (func (export "keep") (param externref) (table.set $x (i32.const 0) (local.get 0)))
    (func (export "reference") (result funcref) (ref.func $two))
    (func (export "take") (param funcref) (result i32) (ref.is_null (local.get 0)))
    (func (export "close") (param i32) (result i32) (call $fd_close (local.get 0)))
    (func (export "renumber") (param i32 i32) (result i32) (call $fd_renumber (local.get 0) (local.get 1)))
    (func (export "random") (result i64) (drop (call $random_get (i32.const 16) (i32.const 8))) (i64.load (i32.const 16)))
    (func (export "time") (param i32) (result i64) (drop (call $clock (local.get 0) (i64.const 0) (i32.const 16))) (i64.load (i32.const 16)))
    (func (export "mkdir") (result i32) (i32.store8 (i32.const 0) (i32.const 100)) (call $mkdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (func (export "rmdir") (result i32) (call $rmdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (func (export "open") (result i32) (i32.store8 (i32.const 0) (i32.const 46))
      (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 2) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 8)))
    (func (export "trap") unreachable))`,
);
const WASI: BootOptions = { wasi: {} };

async function snapshotAfter(
  calls: readonly (readonly [string, ...unknown[]])[],
  options: BootOptions = WASI,
): Promise<Image> {
  return withVm(image, options, async (vm) => {
    for (const [name, ...args] of calls) await vm.call(name, ...args);
    return vm.snapshot();
  });
}

/** By the object, and by way of a file. */
const WAYS: readonly (readonly [string, (image: Image) => Promise<Image>])[] = [
  ["in memory", async (snapshot) => snapshot],
  [
    "on disk",
    async (snapshot) => {
      const folder = mkdtempSync(join(tmpdir(), "barecell-snapshot-"));
      try {
        await snapshot.save(join(folder, "snapshot.cell"));
        return await Image.load(join(folder, "snapshot.cell"));
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  ],
];

describe.each(WAYS)("a snapshot %s", (_, pass) => {
  it.each(["staged", "direct"] as const)(
    "boots (%s) to where the VM was: memory, globals, tables",
    async (boot) => {
      const snapshot = await pass(await snapshotAfter([["init"], ["store", 5, 77]]));
      expect([snapshot.isSnapshot, image.isSnapshot]).toEqual([true, false]);
      await withVm(snapshot, { ...WASI, boot }, async (vm) => {
        for (let round = 0; round < 2; round++) {
          expect(vm.global("n")).toBe(1234n);
          expect([vm.callSync("load", 70000), vm.callSync("load", 5)]).toEqual([99, 77]);
          expect(new TextDecoder().decode(vm.memory.read(65536, 8))).toBe("pristine");
          expect([0, 1, 4].map((i) => vm.callSync("call_element", i))).toEqual([1, 2, 2]);
          expect(vm.callSync("grow", 1)).toBe(2);
          vm.setGlobal("n", 0n);
          vm.callSync("store", 70000, 1);
          vm.callSync("store", 2 * 65536, 1);
          vm.callSync("init");
          // And that is where a reset leads.
          vm.resetSync();
          expect(vm.memory.byteLength).toBe(2 * 65536);
        }
      });
    },
  );
  it.each([1, 31, 33, 700, 2000])(
    "keeps memory that has grown by %i pages, and lets it grow on",
    async (pages) => {
      const end = (2 + pages) * 65536;
      const middle = Math.floor(end / 8192) * 4096;
      const snapshot = await pass(
        await snapshotAfter([
          ["grow", pages],
          ["store", end - 1, 7],
          ["store", middle, 8],
        ]),
      );
      await withVm(snapshot, WASI, async (vm) => {
        expect([vm.callSync("size"), vm.memory.byteLength]).toEqual([2 + pages, end]);
        expect([
          vm.callSync("load", end - 1),
          vm.callSync("load", middle),
          vm.callSync("load", 65536),
        ]).toEqual([7, 8, 112]);
        await failure(() => vm.callSync("load", end), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
        vm.resetSync();
        expect(vm.callSync("grow", 40)).toBe(2 + pages);
        vm.callSync("store", end, 9);
        await failure(() => vm.callSync("store", end + 40 * 65536, 9), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
        vm.resetSync();
        await failure(() => vm.callSync("load", end), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
        vm.resetSync();
        expect(vm.callSync("load", end - 1)).toBe(7);
      });
    },
  );
  it("of a VM that came from a snapshot", async () => {
    const first = await pass(await snapshotAfter([["init"]]));
    const second = await withVm(first, WASI, async (vm) => {
      vm.callSync("store", 9, 9);
      vm.callSync("grow", 3);
      return pass(await vm.snapshot());
    });
    await withVm(second, WASI, (vm) => {
      expect([
        vm.callSync("load", 9),
        vm.callSync("load", 70000),
        vm.callSync("size"),
        vm.global("n"),
      ]).toEqual([9, 99, 5, 1234n]);
    });
  });
});

describe("what a snapshot does not take along", () => {
  it.each([true, false])("random numbers: each VM has its own (in the guest: %s)", async (answersInGuest) => {
    const options = { ...WASI, answersInGuest };
    const numbers: unknown[] = [];
    const snapshot = await withVm(image, options, async (vm) => {
      numbers.push(vm.callSync("random"));
      const taken = await vm.snapshot();
      numbers.push(vm.callSync("random"), vm.callSync("random"));
      return taken;
    });
    for (let i = 0; i < 6; i++) {
      await withVm(snapshot, options, (vm) => {
        numbers.push(vm.callSync("random"));
        vm.resetSync();
        numbers.push(vm.callSync("random"));
      });
    }
    expect(new Set(numbers).size).toBe(15);
  });
  it.each([true, false])(
    "time: real time is now, the monotonic clock goes on (in the guest: %s)",
    async (answersInGuest) => {
      const options = { ...WASI, answersInGuest };
      let before = 0n;
      const snapshot = await withVm(image, options, async (vm) => {
        await new Promise((resolve) => setTimeout(resolve, 400));
        before = vm.callSync("time", 1) as bigint;
        return vm.snapshot();
      });
      await new Promise((resolve) => setTimeout(resolve, 50));
      await withVm(snapshot, options, async (vm) => {
        const first = vm.callSync("time", 1) as bigint;
        expect(first).toBeGreaterThan(before);
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect((vm.callSync("time", 1) as bigint) - first).toBeGreaterThan(19_000_000n);
        expect(Math.abs(Number(vm.callSync("time", 0)) / 1e6 - Date.now())).toBeLessThan(5_000);
        vm.resetSync();
        expect(vm.callSync("time", 1)).toBeGreaterThan(before);
      });
    },
  );
  it("arguments of calls, and what is granted", async () => {
    const snapshot = await withVm(image, WASI, async (vm) => {
      vm.setGlobal("n", 0x5ec2_e75e_c2e7_5ec2n);
      vm.setGlobal("n", 0n);
      return vm.snapshot();
    });
    expect(Buffer.from(snapshot.bytes).includes(Buffer.from("c25ee7c25ee7c25e", "hex"))).toBe(false);
    await failure(() => MicroVM.boot(snapshot), "BARECELL_IMPORT_DENIED");
    await withVm(snapshot, { unknownImports: "trap" }, (vm) =>
      failure(() => vm.callSync("random"), "BARECELL_TRAP_IMPORT_DENIED"),
    );
  });
  it("function references: the snapshot has its own", async () => {
    const snapshot = await snapshotAfter([["reference"]]);
    await withVm(snapshot, WASI, (vm) => {
      expect(vm.callSync("take", vm.callSync("reference"))).toBe(0);
    });
  });
});

describe("refused, with the reason", () => {
  const options: BootOptions = { wasi: { preopens: { "/tmp": { memoryBytes: 2 ** 20 } } } };
  it.each([
    ["a descriptor is open", [["open"]], /descriptor 4 is open/],
    ["a standard stream is closed", [["close", 1]], /descriptor 1,.* is closed/],
    ["a descriptor stands for another", [["renumber", 2, 1]], /descriptor 1 stands for another/],
    ["a directory in memory has an entry", [["mkdir"]], /'\/tmp' is not empty/],
    ["the guest was given a value", [["keep", {}]], /values of JavaScript/],
  ] as const)("%s", async (_, calls, message) => {
    await withVm(image, options, async (vm) => {
      for (const [name, ...args] of calls) await vm.call(name, ...args);
      const error = await failure(() => vm.snapshot(), "BARECELL_SNAPSHOT_REFUSED");
      expect(error.message).toMatch(message);
      // The VM goes on.
      expect(vm.callSync("size")).toBe(2);
    });
  });
  it("not where that is over", async () => {
    const snapshot = await snapshotAfter([["mkdir"], ["rmdir"], ["open"], ["close", 4]], options);
    await withVm(snapshot, options, (vm) =>
      expect([vm.callSync("mkdir"), vm.callSync("mkdir")]).toEqual([0, 20]),
    );
  });
  it("by the VM's state", async () => {
    const vm = await MicroVM.boot(image, WASI);
    const running = vm.call("size");
    await failure(() => vm.snapshot(), "BARECELL_BUSY");
    await running;
    await failure(() => vm.call("trap"), "BARECELL_TRAP_UNREACHABLE");
    await failure(() => vm.snapshot(), "BARECELL_POISONED");
    vm.dispose();
    await failure(() => vm.snapshot(), "BARECELL_DISPOSED");
  });
});

describe("several modules", () => {
  const modules = imageOfModules(
    [
      [
        "lib",
        `(module (memory (export "memory") 0 64) (global $n (export "n") (mut i32) (i32.const 1))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "put") (param i32) (i32.store8 (local.get 0) (i32.const 4)))
        (func (export "get") (param i32) (result i32) (i32.load8_u (local.get 0))))`,
      ],
      [
        "main",
        `(module (import "lib" "get" (func $get (param i32) (result i32))) (memory (export "memory") 0 64)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "get") (param i32) (result i32) (call $get (local.get 0))))`,
      ],
    ],
    { instantiate: "on-demand" },
  );
  it("memories that began empty, and which modules are instantiated", async () => {
    const snapshot = await withVm(await modules, {}, async (vm) => {
      await vm.instantiate("lib");
      expect(vm.module("lib").callSync("grow", 40)).toBe(0);
      vm.module("lib").callSync("put", 40 * 65536 - 1);
      vm.module("lib").setGlobal("n", 50);
      return vm.snapshot();
    });
    await withVm(snapshot, {}, async (vm) => {
      for (let round = 0; round < 2; round++) {
        const lib = vm.module("lib");
        expect([lib.isInstantiated, vm.module("main").isInstantiated]).toEqual([true, false]);
        await failure(() => vm.instantiate("lib"), "BARECELL_NOT_INSTANTIATED");
        expect([lib.callSync("get", 40 * 65536 - 1), lib.global("n"), lib.memory.byteLength]).toEqual([
          4,
          50,
          40 * 65536,
        ]);
        await vm.instantiate("main");
        expect(vm.callSync("grow", 2)).toBe(0);
        expect(vm.callSync("get", 40 * 65536 - 1)).toBe(4);
        lib.callSync("put", 7);
        vm.resetSync();
        expect(lib.callSync("get", 7)).toBe(0);
      }
    });
  });
});

describe("preinitialise", () => {
  it("runs an export once", async () => {
    const ready = await preinitialise(image, "init");
    await withVm(ready, WASI, (vm) => expect(vm.global("n")).toBe(1234n));
  });
  it("fails as the export does", async () => {
    await failure(() => preinitialise(image, "trap"), "BARECELL_TRAP_UNREACHABLE");
    await failure(() => preinitialise(image, "nothing"), "BARECELL_EXPORT_NOT_FOUND");
  });
});
