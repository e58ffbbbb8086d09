/** Endless loops of every kind end on time, whoever runs them, and nobody else notices. */
import { describe, expect, it } from "vitest";
import { type BarecellError, MicroVM } from "../support/barecell.ts";
import { isSvm, slowness, soon } from "../support/environment.ts";
import { failure, names } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const LOOPS: Record<string, string> = {
  empty: "(loop $l (br $l))",
  computing:
    "(local i64) (loop $l (local.set 0 (i64.add (local.get 0) (i64.const 3))) (br_if $l (i64.ne (local.get 0) (i64.const 1)))  (br $l))",
  storing: "(loop $l (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1))) (br $l))",
  floating:
    "(local f64) (loop $l (local.set 0 (f64.div (f64.const 1) (f64.add (local.get 0) (f64.const 1)))) (br $l))",
  host_calls: "(loop $l (drop (call $zero)) (br $l))",
  grow_0: "(loop $l (drop (memory.grow (i32.const 0))) (br $l))",
  grow_refused: "(loop $l (drop (memory.grow (i32.const 60000))) (br $l))",
  grow_1: "(loop $l (drop (memory.grow (i32.const 1))) (br $l))",
  big_fills: "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l))",
  indirect: "(loop $l (call_indirect (i32.const 0)) (br $l))",
  waiting: "(loop $l (call $sleep) (br $l))",
};
/** Sleeping is what poll_oneoff is for: one subscription to the clock, an hour ahead. */
const SLEEP = `(func $sleep
    (i64.store (i32.const 1024) (i64.const 0)) (i32.store8 (i32.const 1032) (i32.const 0)) (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (i64.const 3600000000000)) (i64.store (i32.const 1056) (i64.const 0)) (i64.store (i32.const 1064) (i64.const 0))
    (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 3000))))`;

const module = (start: string): string => `(module
  (import "env" "zero" (func $zero (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 0) $nothing) (func $nothing) ${SLEEP}
  ${Object.entries(LOOPS)
    .map(([name, body]) => `(func $${name} (export "${name}") ${body})`)
    .join("\n")}
  (func (export "answer") (result i32) (i32.const 42)) ${start})`;

const image = await imageOf("loops", module(""));
/** A chain of multiplications, which no compiler makes short. */
const chain = await imageOf(
  "chain",
  `(module (func (export "chain") (param $turns i64) (result i64) (local $x i64)
    (loop $l (local.set $x (i64.xor (i64.mul (local.get $x) (i64.const 6364136223846793005)) (local.get $turns)))
      (br_if $l (i64.ne (i64.const 0) (local.tee $turns (i64.sub (local.get $turns) (i64.const 1))))))
    (local.get $x)))`,
);
/** Longer than a boot, which has the same limit. */
const LIMIT_MS = isSvm ? 2000 : 250;
/** Of a call by itself: a boot keeps the VM's own limit, which is long, since a processor that others want too can make it wait. */
const CALL_LIMIT_MS = 500;
const OPTIONS = { wasi: {}, unknownImports: "default", maxMemoryBytes: 64 * 2 ** 20 } as const;

describe.each(Object.keys(LOOPS))("endless loop: %s", (name) => {
  it.each(["staged", "direct"] as const)("call and callSync end, %s", async (boot) => {
    // The VM's limit; in the emulated machine, where that has to be long, each call gets one of its own. The tests below use the VM's there too.
    const limitMs = isSvm ? CALL_LIMIT_MS : LIMIT_MS;
    const options = { ...OPTIONS, boot, ...(isSvm ? {} : { timeoutMs: limitMs }) };
    const own = isSvm ? [{ timeoutMs: limitMs }] : [];
    await withVm(image, options, async (vm) => {
      const before = performance.now();
      const error = await soon(
        "the call",
        failure(() => vm.call(name, ...own), "BARECELL_TIMEOUT"),
      );
      expect(performance.now() - before).toBeGreaterThanOrEqual(limitMs - 1);
      expect(error.message).toContain(String(limitMs));
      expect(vm.state).toBe("poisoned");
      expect(names(error)).toContain(name);
    });
    await withVm(image, options, (vm) => failure(() => vm.callSync(name, ...own), "BARECELL_TIMEOUT"));
  });
});

describe("start function", () => {
  it("an endless one ends by timeout, boot and bootSync", async () => {
    const endless = await imageOf("endless-start", module("(start $computing)"));
    for (const boot of ["staged", "direct"] as const) {
      const options = { ...OPTIONS, boot, timeoutMs: LIMIT_MS };
      const error = await soon(
        "the boot",
        failure(() => MicroVM.boot(endless, options), "BARECELL_TIMEOUT"),
      );
      expect(error.message).toContain("starting the module");
      await failure(() => MicroVM.bootSync(endless, options), "BARECELL_TIMEOUT");
    }
  });
});

describe("time", () => {
  it("the backtrace of a timeout names the function that ran", () =>
    withVm(image, OPTIONS, async (vm) => {
      const call = vm.call("big_fills", { timeoutMs: CALL_LIMIT_MS });
      const error: BarecellError = await failure(() => call, "BARECELL_TIMEOUT");
      expect(names(error)).toContain("big_fills");
    }));
  it("is that of each call, not of all together", () =>
    withVm(image, { ...OPTIONS, timeoutMs: 200 * slowness }, async (vm) => {
      const end = performance.now() + 500 * slowness;
      while (performance.now() < end) expect(await vm.call("answer")).toBe(42);
    }));
  // The timer of a thread stays as a run left it (native/kick.cc), so each of these finds it set for another time than its own.
  it.each([
    [10_000, 60, 10_000, 30],
    [30, 10_000, 60, 10_000],
    [Number.POSITIVE_INFINITY, 40, Number.POSITIVE_INFINITY, 40],
  ])("whatever the limits of the calls before on that thread: %d, %d, %d, %d ms", async (...limits) => {
    for (const [i, timeoutMs] of limits.entries()) {
      await withVm(image, { ...OPTIONS, boot: "direct", afterTrap: "keep" }, (vm) => {
        if (timeoutMs >= 10_000) {
          // Longer than the limit of the one before.
          const end = performance.now() + 100;
          while (performance.now() < end) expect(vm.callSync("answer", { timeoutMs })).toBe(42);
          // Nothing of an early signal is left.
          expect(vm.callSync("answer")).toBe(42);
          return;
        }
        const before = performance.now();
        expect(() => vm.callSync(i % 2 === 0 ? "empty" : "waiting", { timeoutMs })).toThrow("timeoutMs");
        expect(performance.now() - before).toBeGreaterThanOrEqual(timeoutMs - 1);
      });
    }
  });
  it("a long call is not ended by the time of one before", () =>
    withVm(chain, { boot: "direct" }, (vm) => {
      vm.callSync("chain", 1n, { timeoutMs: 50 });
      const before = performance.now();
      let turns = 10_000_000n;
      // Beyond the 50 ms, whatever the machine.
      for (; performance.now() - before < 200; turns *= 2n)
        vm.callSync("chain", turns, { timeoutMs: 600_000 });
      expect(turns).toBeGreaterThan(10_000_000n);
    }));
  it("fractions of a millisecond are allowed, and stop the call before its end or not", async () => {
    for (let i = 0; i < 20; i++) {
      const vm = await MicroVM.boot(image, { ...OPTIONS, timeoutMs: 10_000 });
      vm.dispose();
      await failure(() => MicroVM.boot(image, { ...OPTIONS, timeoutMs: 0.001 }), "BARECELL_TIMEOUT");
    }
  });
  it("Infinity is no limit", () =>
    withVm(image, { ...OPTIONS, timeoutMs: Number.POSITIVE_INFINITY }, async (vm) => {
      expect(await vm.call("answer")).toBe(42);
      expect(vm.callSync("answer")).toBe(42);
      const running = failure(() => vm.call("empty"), "BARECELL_DISPOSED");
      await new Promise((resolve) => setTimeout(resolve, 100));
      vm.dispose();
      await soon("the call", running);
    }));
});

describe("the event loop", () => {
  it("keeps turning while guests loop", async () => {
    const vms = await Promise.all(Array.from({ length: 2 }, () => MicroVM.boot(image, OPTIONS)));
    const running = vms.map((vm, i) =>
      failure(() => vm.call(i ? "empty" : "host_calls", { timeoutMs: CALL_LIMIT_MS }), "BARECELL_TIMEOUT"),
    );
    let ticks = 0;
    const ticker = setInterval(() => ticks++, 5);
    await soon("the loops", Promise.all(running));
    clearInterval(ticker);
    // A hundred would fit; with two processors and two loops a few are proof enough.
    expect(ticks).toBeGreaterThan(5);
    for (const vm of vms) vm.dispose();
  });
  it("turns while a guest sleeps, and the sleep costs the processor nothing", async () => {
    const vm = await MicroVM.boot(image, OPTIONS);
    const used = process.cpuUsage();
    await soon(
      "the sleep",
      failure(() => vm.call("waiting", { timeoutMs: CALL_LIMIT_MS }), "BARECELL_TIMEOUT"),
    );
    const { user, system } = process.cpuUsage(used);
    expect((user + system) / 1000).toBeLessThan(300 * slowness);
    vm.dispose();
  });
});

describe("neighbours", () => {
  it("VMs that time out do not disturb one that computes", async () => {
    const victim = await MicroVM.boot(image, { ...OPTIONS, timeoutMs: 60_000 });
    const loops = Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const vm = await MicroVM.boot(image, OPTIONS);
        const loop = ["empty", "host_calls", "storing"][i % 3] as string;
        await failure(() => vm.call(loop, { timeoutMs: 400 + i * 10 }), "BARECELL_TIMEOUT");
        vm.dispose();
      }),
    );
    let done = false;
    const end = (): void => {
      done = true;
    };
    loops.then(end, end);
    while (!done) expect(await victim.call("answer")).toBe(42);
    await soon("the loops", loops);
    expect(victim.callSync("answer")).toBe(42);
    victim.dispose();
  });
});
