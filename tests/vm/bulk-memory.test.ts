/**
 * Large linear memories: beyond their first 2 MiB the kernel uses large pages, and KVM keeps no log of what is written. So a reset finds out what was by other means,
 * and whatever the way the bytes came there, they must be gone.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { MicroVM } from "../support/barecell.ts";
import { announceSkip } from "../support/environment.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { differences, occurrences, WholeVm } from "../support/whole-vm.ts";

const PAGE = 65_536;
const MIB = 2 ** 20;
const SECRET = Buffer.from("a secret of the last tenant");

/** `put` writes the secret, byte by byte; `sum` adds all words of a range. */
const FUNCTIONS = `
  (data $secret "${SECRET.toString()}")
  (func (export "put") (param i32) (memory.init $secret (local.get 0) (i32.const 0) (i32.const ${SECRET.length})))
  (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "touch") (param $at i32) (param $end i32)
    (loop $l (i32.store8 (local.get $at) (i32.const 5)) (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $l (i32.lt_u (local.get $at) (local.get $end)))))
  (func (export "sum") (param $at i32) (param $end i32) (result i64) (local $sum i64)
    (loop $l (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at)))) (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $l (i32.lt_u (local.get $at) (local.get $end)))) (local.get $sum))`;

const image = (name: string, memory: string, more = "") =>
  imageOf(name, `(module (memory (export "memory") ${memory}) ${FUNCTIONS} ${more})`);

/** From the start with bulk memory, and by growth; with contents at both sides of where it could begin, and where there can be none. */
const LAYOUTS = [
  ["16 MiB from the start", await image("bulk", "256"), 0, 16 * MIB],
  [
    "16 MiB with data after 3",
    await image("bulk-data", "256", `(data (i32.const ${3 * MIB}) "data")`),
    0,
    16 * MIB,
  ],
  [
    "16 MiB with data at the end",
    await image("bulk-end", "256", `(data (i32.const ${16 * MIB - 4}) "data")`),
    0,
    16 * MIB,
  ],
  ["an odd size from the start", await image("bulk-odd", "101"), 0, 101 * PAGE],
  ["a page, grown to 12 MiB", await image("bulk-grown", "1"), 191, 12 * MIB],
  ["17 pages, grown by 16", await image("bulk-few", "17"), 16, 33 * PAGE],
  ["4 MiB, grown to 9 MiB and a page", await image("bulk-both", "64"), 81, 145 * PAGE],
] as const;

/** Ends and beginnings of large pages, of the memory, and something in a middle. */
const places = (sizeBytes: number): number[] =>
  [0, 2 * MIB - 10, 2 * MIB, 3 * MIB + 5000, 4 * MIB - 1, 4 * MIB + 12_345, sizeBytes - SECRET.length].filter(
    (at) => at + SECRET.length <= sizeBytes,
  );

const RESETS: readonly (readonly [string, (vm: WholeVm) => void])[] = [
  ["resetSync", (vm) => vm.reset()],
  ["the quick one", (vm) => vm.resetQuickly()],
];

describe.each(LAYOUTS)("%s", (_, of, grown, sizeBytes) => {
  it.each(RESETS)("no byte is left after a reset, %s", (_name, reset) => {
    const vm = new WholeVm(of, { maxMemoryBytes: 64 * MIB });
    try {
      const before = vm.memory();
      for (const at of places(sizeBytes)) {
        // One at a time: a reset that missed one place could owe it to the others that it did not.
        if (grown > 0) vm.call("grow", [BigInt(grown)]);
        expect(vm.call("put", [BigInt(at)])).toBeTypeOf("bigint");
        expect(linearDifferences(vm, before, vm.memory())).not.toEqual([]);
        reset(vm);
        const after = vm.memory();
        // The passive segment is code's data, and stays.
        expect(occurrences(after, SECRET)).toEqual(occurrences(before, SECRET));
        expect(linearDifferences(vm, before, after)).toEqual([]);
      }
    } finally {
      vm.dispose();
    }
  });
  it("the next guest finds zeros and data, however much was written, and by whom", () =>
    withVm(of, { maxMemoryBytes: 64 * MIB }, async (vm) => {
      const pristine = grow(vm, grown, sizeBytes);
      for (const [round, writes] of [
        () => vm.callSync("fill", 0, 0xee, sizeBytes),
        () => vm.callSync("touch", 0, sizeBytes),
        () => vm.memory.write(sizeBytes - 100, new Uint8Array(100).fill(7)),
        () => vm.callSync("fill", sizeBytes / 2, 0xdd, 3),
        // Only read, which gives it pages too.
        () => vm.callSync("sum", 0, sizeBytes),
      ].entries()) {
        writes();
        await (round % 2 === 0 ? vm.reset() : vm.resetSync());
        expect(grow(vm, grown, sizeBytes), `round ${round}`).toBe(pristine);
        await vm.reset();
        grow(vm, grown, sizeBytes);
      }
    }));
});

/** Guest-physical pages that differ, without stack and mailbox, which no guest finds anything in: those of the linear memories are at multiples of 2 MiB behind the image's. */
function linearDifferences(vm: WholeVm, a: ReturnType<WholeVm["memory"]>, b: typeof a): string[] {
  const linear = Math.min(
    ...vm.native
      .memoryRanges()
      .map(({ gpa }) => gpa)
      .filter((gpa) => gpa > 4096),
  );
  const only = (memory: typeof a) => new Map([...memory].filter(([gpa]) => gpa >= linear));
  return differences(only(a), only(b));
}

function grow(vm: MicroVM, pages: number, sizeBytes: number): unknown {
  if (pages > 0) vm.callSync("grow", pages);
  expect(vm.memory.byteLength).toBe(sizeBytes);
  return vm.callSync("sum", 0, sizeBytes);
}

describe("a guest that uses little of much", () => {
  it.each([
    ["from the start", LAYOUTS[0][1], 0],
    ["by growth", LAYOUTS[4][1], 191],
  ] as const)("call after call, in the same pages and in others, %s", (_, of, grown) => {
    const vm = new WholeVm(of, { maxMemoryBytes: 64 * MIB });
    try {
      const before = vm.memory();
      const ways: boolean[] = [];
      for (let round = 0; round < 12; round++) {
        if (grown > 0) vm.call("grow", [BigInt(grown)]);
        // The large page of the last round's, a second time and elsewhere, and another.
        for (const at of [5 * MIB, 5 * MIB + round * 8192, (3 + (round % 4) * 2) * MIB]) {
          expect(vm.call("put", [BigInt(at)])).toBeTypeOf("bigint");
        }
        ways.push(vm.resetQuickly());
        expect(linearDifferences(vm, before, vm.memory()), `round ${round}`).toEqual([]);
      }
      // From the second on KVM has a log of it. Growth needs the long way each time.
      expect(ways.slice(1)).toEqual(Array.from({ length: 11 }, () => grown === 0));
      // And then one that uses much of it.
      if (grown > 0) vm.call("grow", [BigInt(grown)]);
      vm.call("fill", [0n, 0xeen, BigInt(12 * MIB)]);
      vm.reset();
      expect(linearDifferences(vm, before, vm.memory())).toEqual([]);
    } finally {
      vm.dispose();
    }
  });
});

describe("what the start of the module wrote", () => {
  it("is there again, and nothing beside it in its large page", async () => {
    const started = await image(
      "bulk-start",
      "256",
      `(func $start (i64.store (i32.const ${5 * MIB + 8192}) (i64.const 77)) (i64.store (i32.const ${16 * MIB - 8}) (i64.const 78))) (start $start)`,
    );
    await withVm(started, {}, async (vm) => {
      for (let round = 0; round < 3; round++) {
        expect(vm.callSync("sum", 0, 16 * MIB)).toBe(77n + 78n);
        vm.callSync("put", 5 * MIB + 8192 - 10);
        vm.callSync("put", 5 * MIB + 3 * 4096);
        // In the last round more than is kept.
        if (round === 1) vm.callSync("fill", 0, 1, 16 * MIB);
        await vm.reset();
      }
      expect(vm.callSync("sum", 0, 16 * MIB)).toBe(77n + 78n);
    });
  });
  it("and asked the host: then the VM is a new one, in the same memory", async () => {
    const asking = await imageOf(
      "bulk-asking",
      `(module (import "env" "seed" (func $seed (result i64))) (memory (export "memory") 256) ${FUNCTIONS}
        (func $start (i64.store (i32.const ${5 * MIB}) (call $seed))) (start $start))`,
    );
    let seed = 0n;
    await withVm(asking, { imports: { env: { seed: () => ++seed } } }, async (vm) => {
      for (let round = 1n; round < 4n; round++) {
        expect(vm.callSync("sum", 0, 16 * MIB)).toBe(round);
        vm.callSync("fill", 3 * MIB, 9, 8 * MIB);
        await vm.reset();
      }
    });
  });
});

describe("a snapshot", () => {
  it("takes bulk memory along, and goes back to it", async () => {
    const [, source] = LAYOUTS[0];
    const snapshot = await withVm(source, {}, async (vm) => {
      vm.callSync("put", 9 * MIB - 3);
      return vm.snapshot();
    });
    await withVm(snapshot, {}, async (vm) => {
      const sum = vm.callSync("sum", 0, 16 * MIB);
      for (let round = 0; round < 2; round++) {
        expect(Buffer.from(vm.memory.read(9 * MIB - 3, SECRET.length))).toEqual(SECRET);
        vm.callSync("fill", 2 * MIB, 3, 12 * MIB);
        await vm.reset();
        expect(vm.callSync("sum", 0, 16 * MIB)).toBe(sum);
      }
    });
  });
});

describe("large pages", () => {
  /** KiB in large pages, by mapping. */
  const largeKib = (): Map<string, number> =>
    new Map(
      [
        ...readFileSync("/proc/self/smaps", "utf8").matchAll(
          /^([0-9a-f]+)-[0-9a-f]+ [\s\S]*?^AnonHugePages:\s+(\d+) kB$/gm,
        ),
      ].map(([, start, kib]) => [start ?? "", Number(kib)]),
    );
  /** What has come, whatever VMs of other tests give back meanwhile. */
  const come = (before: Map<string, number>): number =>
    [...largeKib()].reduce((sum, [start, kib]) => sum + Math.max(0, kib - (before.get(start) ?? 0)), 0);
  const setting = readFileSync("/sys/kernel/mm/transparent_hugepage/enabled", "utf8");
  const isOnRequest = setting.includes("[madvise]");
  if (!isOnRequest)
    announceSkip("large pages", `this kernel gives them to nobody or to everybody (${setting.trim()})`);

  it.skipIf(!isOnRequest)("stand behind what a guest touches, and behind nothing else", () =>
    withVm(LAYOUTS[0][1], {}, async (vm) => {
      const before = largeKib();
      vm.callSync("touch", 0, 2 * MIB);
      expect(come(before)).toBe(0);
      vm.callSync("touch", 6 * MIB, 6 * MIB + 4096);
      vm.callSync("touch", 10 * MIB, 12 * MIB);
      // The kernel gives none where it has none left; this machine has.
      expect(come(before)).toBe(2 * 2048);
    }),
  );
});

describe("an idle VM", () => {
  it("gives back what one call needed, if that was much", () =>
    withVm(LAYOUTS[4][1], { maxMemoryBytes: 256 * MIB }, async (vm) => {
      const rssMib = (): number => process.memoryUsage().rss / MIB;
      vm.callSync("grow", 128 * 16 - 1);
      vm.callSync("touch", 0, 128 * MIB);
      const touched = rssMib();
      await vm.reset();
      // What else the process frees or takes meanwhile, such as memory of VMs of other tests, is far less.
      expect(touched - rssMib()).toBeGreaterThan(90);
    }));
});
