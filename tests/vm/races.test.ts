/**
 * Kills from other threads and by deadlines, at random moments: none may be lost (the call would never end), none may hit another call than its
 * own. The windows are numbered in native/kick.h; which of them is hit is a matter of luck, hence the numbers.
 */
import { describe, expect, it } from "vitest";
import { type BarecellError, type BootOptions, MicroVM } from "../support/barecell.ts";
import { isSvm, soon } from "../support/environment.ts";
import { imageOf } from "../support/modules.ts";

const image = await imageOf(
  "races",
  `(module (import "env" "zero" (func $zero (result i32))) (memory (export "memory") 1)
    (func (export "empty") (loop $l (br $l)))
    (func (export "host") (loop $l (drop (call $zero)) (br $l)))
    (func (export "grow") (loop $l (drop (memory.grow (i32.const 0))) (br $l)))
    (func (export "short") (param i32) (result i32) (local i32)
      (loop $l (local.set 1 (i32.add (local.get 1) (call $zero))) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if $l (local.get 0)))
      (i32.add (local.get 1) (i32.const 7))))`,
);
const OPTIONS: BootOptions = { unknownImports: "default" };
const LOOPS = ["empty", "host", "grow"] as const;

/** A generator of its own, so that a failure can be run again (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SEED = Number(process.env["BARECELL_TEST_SEED"] ?? 20_260_101);
const sleep = (ms: number): Promise<void> =>
  ms < 0.05
    ? Promise.resolve()
    : ms < 0.5
      ? new Promise((resolve) => setImmediate(resolve))
      : new Promise((resolve) => setTimeout(resolve, ms));

describe(`kills (seed ${SEED})`, () => {
  it("200 VMs with timeouts and disposals at random times", async () => {
    const next = random(SEED);
    const count = isSvm ? 40 : 200;
    const plans = Array.from({ length: count }, (_, i) => ({
      loop: LOOPS[i % 3] as string,
      timeoutMs: next() < 0.5 ? 1 + next() * 60 : Number.POSITIVE_INFINITY,
      disposeAfterMs: next() * 60,
      boot: next() < 0.5 ? ("staged" as const) : ("direct" as const),
    }));
    const codes = await soon(
      "200 VMs",
      Promise.all(
        plans.map(async (plan) => {
          const vm = await MicroVM.boot(image, { ...OPTIONS, boot: plan.boot, timeoutMs: 10_000 });
          vm.dispose();
          let started: MicroVM;
          try {
            started = await MicroVM.boot(image, { ...OPTIONS, boot: plan.boot, timeoutMs: plan.timeoutMs });
          } catch (error) {
            // A deadline of a few milliseconds can pass while 200 VMs boot.
            return (error as BarecellError).code;
          }
          const running = started.call(plan.loop).then(
            () => "it returned",
            (error: BarecellError) => error.code,
          );
          await sleep(plan.disposeAfterMs);
          started.dispose();
          const code = await running;
          await started[Symbol.asyncDispose]();
          return code;
        }),
      ),
      60_000,
    );
    for (const [i, code] of codes.entries()) {
      const allowed =
        plans[i]?.timeoutMs === Number.POSITIVE_INFINITY
          ? ["BARECELL_DISPOSED"]
          : ["BARECELL_DISPOSED", "BARECELL_TIMEOUT"];
      expect(allowed, JSON.stringify(plans[i])).toContain(code);
    }
  });

  it("disposal from before the call to after its end, in small steps", async () => {
    const rounds = isSvm ? 60 : 400;
    const seen = new Map<string, number>();
    for (let i = 0; i < rounds; i++) {
      const vm = MicroVM.bootSync(image, { ...OPTIONS, timeoutMs: Number.POSITIVE_INFINITY });
      // About as long as the steps reach.
      const running = vm.call("short", 20).then(
        (value) => String(value),
        (error: BarecellError) => error.code,
      );
      const until = performance.now() + (i % 40) * 0.05;
      while (performance.now() < until);
      vm.dispose();
      const result = await soon("the call", running);
      seen.set(result, (seen.get(result) ?? 0) + 1);
    }
    expect(
      [...seen.keys()].sort().filter((result) => result !== "7" && result !== "BARECELL_DISPOSED"),
    ).toEqual([]);
    expect(seen.get("BARECELL_DISPOSED")).toBeGreaterThan(0);
  });

  it("a deadline about as long as the call: in time or too late, and never a wrong result", async () => {
    const next = random(SEED + 1);
    const counts = { right: 0, late: 0 };
    const rounds = isSvm ? 40 : 300;
    for (let i = 0; i < rounds; i++) {
      const timeoutMs = 0.2 + next() * 2;
      let vm: MicroVM;
      try {
        vm = MicroVM.bootSync(image, { ...OPTIONS, boot: "direct", timeoutMs });
      } catch (error) {
        expect((error as BarecellError).code).toBe("BARECELL_TIMEOUT");
        counts.late++;
        continue;
      }
      try {
        expect(i % 2 ? vm.callSync("short", 30) : await soon("the call", vm.call("short", 30))).toBe(7);
        counts.right++;
      } catch (error) {
        expect((error as BarecellError).code, String(error)).toBe("BARECELL_TIMEOUT");
        counts.late++;
      }
      vm.dispose();
    }
    expect(counts.right + counts.late).toBe(rounds);
  });

  it("a late kick of one VM never ends the next call of its thread", async () => {
    // The same threads run VMs that are killed and VMs that must come to their end; those have no deadline that could explain a loss.
    const next = random(SEED + 2);
    const rounds = isSvm ? 10 : 60;
    for (let round = 0; round < rounds; round++) {
      const doomed = await Promise.all(
        Array.from({ length: 3 }, () =>
          MicroVM.boot(image, { ...OPTIONS, timeoutMs: Number.POSITIVE_INFINITY }),
        ),
      );
      const ends = doomed.map((vm, i) =>
        vm.call(LOOPS[i] as string).catch((error: BarecellError) => error.code),
      );
      const safe = MicroVM.bootSync(image, { ...OPTIONS, timeoutMs: Number.POSITIVE_INFINITY });
      const steps = doomed.map(async (vm) => {
        await sleep(next() * 4);
        vm.dispose();
      });
      for (let i = 0; i < 20; i++)
        expect(await soon("a call that nobody kills", safe.call("short", 1 + Math.floor(next() * 20)))).toBe(
          7,
        );
      await Promise.all(steps);
      expect(await soon("the killed calls", Promise.all(ends))).toEqual([
        "BARECELL_DISPOSED",
        "BARECELL_DISPOSED",
        "BARECELL_DISPOSED",
      ]);
      expect(safe.callSync("short", 3)).toBe(7);
      safe.dispose();
    }
  });

  it("deadlines that pass while VMs boot", async () => {
    // Nobody has the VM yet, so what can end a boot is its deadline.
    const next = random(SEED + 3);
    const results = await soon(
      "the boots",
      Promise.all(
        Array.from({ length: isSvm ? 20 : 150 }, async () => {
          try {
            const vm = await MicroVM.boot(image, { ...OPTIONS, timeoutMs: 0.05 + next() * 3 });
            vm.dispose();
            return "ready";
          } catch (error) {
            return (error as BarecellError).code;
          }
        }),
      ),
    );
    for (const result of results) expect(["ready", "BARECELL_TIMEOUT"]).toContain(result);
  });
});
