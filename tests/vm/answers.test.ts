/** WASI calls that the guest answers itself: no exit, the same answers, and only where they are granted. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Image, MicroVM } from "../support/barecell.ts";
import { hasInvariantCounter } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const REALTIME = 0;
const MONOTONIC = 1;
const EFAULT = 21;
const EINVAL = 28;

const source = (wasi: string): string => `(module
  (import "${wasi}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "${wasi}" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1 4)
  (func (export "clock") (param i32 i32) (result i32) (call $clock (local.get 0) (i64.const 0) (local.get 1)))
  (func (export "random") (param i32 i32) (result i32) (call $random (local.get 0) (local.get 1)))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func (export "now") (param i32) (result i64)
    (drop (call $clock (local.get 0) (i64.const 0) (i32.const 8))) (i64.load (i32.const 8)))
  (func (export "steps_back") (param i32 i32) (result i32) (local i64 i64 i32)
    (loop $again
      (drop (call $clock (local.get 0) (i64.const 0) (i32.const 8)))
      (local.set 3 (i64.load (i32.const 8)))
      (local.set 4 (i32.add (local.get 4) (i64.lt_u (local.get 3) (local.get 2))))
      (local.set 2 (local.get 3))
      (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (br_if $again (local.get 1)))
    (local.get 4)))`;

let image: Image;
beforeAll(async () => {
  image = await imageOf("answers", source("wasi_snapshot_preview1"));
});

/** Exits of one call, apart from the one that ends it. */
function exitsOf(vm: MicroVM, call: () => unknown): number {
  const before = vm.exits.io;
  call();
  return vm.exits.io - before - 1;
}

describe.each(["staged", "direct"] as const)("%s boot", (boot) => {
  let vm: MicroVM;
  beforeAll(() => {
    vm = MicroVM.bootSync(image, { boot, wasi: {} });
  });
  afterAll(() => vm.dispose());

  it("clocks and random bytes cost no exit", () => {
    // Without a counter that can be a clock, the host is asked.
    const exits = hasInvariantCounter ? 0 : 10;
    expect(exitsOf(vm, () => vm.callSync("steps_back", MONOTONIC, 10))).toBe(exits);
    expect(exitsOf(vm, () => vm.callSync("steps_back", REALTIME, 10))).toBe(exits);
    expect(exitsOf(vm, () => vm.callSync("random", 64, 4096))).toBe(0);
  });
  it("the real-time clock is the host's", () => {
    const before = BigInt(Date.now() - 5) * 1_000_000n;
    const now = vm.callSync("now", REALTIME) as bigint;
    expect(now).toBeGreaterThan(before);
    expect(now).toBeLessThan(BigInt(Date.now() + 5) * 1_000_000n);
  });
  it("the monotonic clock never goes back, and passes as the host's does", async () => {
    expect(vm.callSync("steps_back", MONOTONIC, hasInvariantCounter ? 200_000 : 200)).toBe(0);
    const [guest, host] = [vm.callSync("now", MONOTONIC) as bigint, process.hrtime.bigint()];
    await new Promise((resolve) => setTimeout(resolve, 300));
    const hostLater = process.hrtime.bigint();
    const passed = (vm.callSync("now", MONOTONIC) as bigint) - guest;
    const drift = Number(passed - (hostLater - host));
    // Exits and the event loop lie between the readings; a wrong scale would be off by far more.
    expect(Math.abs(drift)).toBeLessThan(100_000_000);
  });
  it("bytes are random: no two runs of them are equal, and all values occur", () => {
    const seen = new Set<string>();
    const counts = new Array<number>(256).fill(0);
    for (let i = 0; i < 64; i++) {
      expect(vm.callSync("random", 1024, 512)).toBe(0);
      const bytes = vm.memory.read(1024, 512);
      seen.add(Buffer.from(bytes).toString("hex"));
      for (const byte of bytes) counts[byte] = (counts[byte] ?? 0) + 1;
    }
    expect(seen.size).toBe(64);
    // 128 of each are expected, with a standard deviation of 11.
    expect(Math.min(...counts)).toBeGreaterThan(50);
    expect(Math.max(...counts)).toBeLessThan(220);
  });
  it("exactly the bytes asked for are written", () => {
    for (const count of [0, 1, 31, 32, 33, 63, 64, 65, 100]) {
      vm.memory.write(2000, new Uint8Array(200));
      expect(vm.callSync("random", 2040, count)).toBe(0);
      const bytes = vm.memory.read(2000, 200);
      expect(bytes.subarray(0, 40).every((byte) => byte === 0)).toBe(true);
      expect(bytes.subarray(40 + count).every((byte) => byte === 0)).toBe(true);
      if (count >= 31) expect(bytes.subarray(40, 40 + count).some((byte) => byte !== 0)).toBe(true);
    }
  });
  it("what is not the plain case is the host's to answer, with the same errno", () => {
    expect(vm.callSync("clock", MONOTONIC, 65_529)).toBe(EFAULT);
    expect(vm.callSync("clock", MONOTONIC, 65_528)).toBe(0);
    expect(vm.callSync("clock", REALTIME, -1)).toBe(EFAULT);
    expect(vm.callSync("clock", 4, 8)).toBe(EINVAL);
    expect(exitsOf(vm, () => vm.callSync("clock", 2, 8))).toBe(1);
    expect(vm.callSync("random", 65_530, 7)).toBe(EFAULT);
    expect(vm.callSync("random", 65_530, 6)).toBe(0);
    expect(vm.callSync("random", -1, -1)).toBe(EFAULT);
  });
  it("memory that has grown counts", () => {
    expect(vm.callSync("grow")).toBe(1);
    expect(vm.callSync("clock", MONOTONIC, 65_529)).toBe(0);
    expect(vm.callSync("random", 65_530, 70)).toBe(0);
  });
});

it("two VMs of one image have different random bytes", async () => {
  const bytesOf = (vm: MicroVM): string => {
    vm.callSync("random", 0, 32);
    return Buffer.from(vm.memory.read(0, 32)).toString("hex");
  };
  const all = await Promise.all([1, 2, 3, 4].map(() => withVm(image, { wasi: {} }, bytesOf)));
  expect(new Set(all).size).toBe(4);
});
it("is off where nothing is granted: the port decides", async () => {
  await withVm(image, { unknownImports: "trap", afterTrap: "keep" }, async (vm) => {
    await failure(() => vm.call("now", MONOTONIC), "BARECELL_TRAP_IMPORT_DENIED");
    await failure(() => vm.call("random", 0, 4), "BARECELL_TRAP_IMPORT_DENIED");
    expect(vm.memory.read(0, 16)).toEqual(new Uint8Array(16));
  });
});
it("is off on request, with the same answers", async () => {
  await withVm(image, { wasi: {}, answersInGuest: false }, (vm) => {
    expect(exitsOf(vm, () => vm.callSync("now", MONOTONIC))).toBe(1);
    expect(exitsOf(vm, () => vm.callSync("random", 0, 8))).toBe(1);
    expect(vm.callSync("steps_back", MONOTONIC, 100)).toBe(0);
  });
});
it("the draft's functions are answered too", async () => {
  const draft = await imageOf("answers-draft", source("wasi_unstable"));
  await withVm(draft, { wasi: {} }, (vm) => {
    expect(exitsOf(vm, () => vm.callSync("now", REALTIME))).toBe(hasInvariantCounter ? 0 : 1);
    expect(exitsOf(vm, () => vm.callSync("random", 0, 8))).toBe(0);
  });
});
