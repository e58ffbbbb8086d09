/**
 * A kill in each of the windows that native/kick.h numbers, many times, at random moments: it is never lost, and never hits the next call. The vCPU runs on a
 * thread of its own in asynchronous calls, so an abort here comes from another thread.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type BarecellError, type BootOptions, type HostContext, MicroVM } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf } from "../support/modules.ts";
import { openVms } from "../support/open-vms.ts";

const KILLS = 400 / slowness;

const image = await imageOf(
  "cancel-windows",
  `(module
    (import "env" "ask" (func $ask (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    ;; a subscription to the monotonic clock, 1,000 seconds from now
    (data (i32.const 1024) "\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\01\\00\\00\\00\\00\\00\\00\\00\\00\\10\\a5\\d4\\e8\\00\\00\\00")
    (func (export "spin") (loop $l (br $l)))
    (func (export "storm") (loop $l (drop (call $random (i32.const 0) (i32.const 1))) (br $l)))
    (func (export "sleep") (result i32) (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 4096)))
    (func (export "ask") (param i32) (result i32) (call $ask (local.get 0)))
    (func (export "quick") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))`,
);

const never = (): Promise<number> => new Promise(() => {});

function boot(ask: (context: HostContext, n: number) => unknown = never, options: BootOptions = {}): MicroVM {
  return MicroVM.bootSync(image, {
    boot: "direct",
    wasi: {},
    answersInGuest: false,
    timeoutMs: 60_000,
    imports: { env: { ask } },
    ...options,
  });
}

/** Waits for a random time around the length of a run, from "in the same turn" to some milliseconds. */
async function randomPause(i: number): Promise<void> {
  const kind = i % 4;
  if (kind === 1) await Promise.resolve();
  if (kind === 2) {
    const end = performance.now() + Math.random() * 0.4;
    while (performance.now() < end);
  }
  if (kind === 3) await sleep(Math.random() * 3);
}

async function killAll(name: string, ask?: (context: HostContext, n: number) => unknown): Promise<void> {
  const args = name === "ask" ? [0] : [];
  for (let i = 0; i < KILLS; i++) {
    const vm = boot(ask);
    const controller = new AbortController();
    const call = vm.call(name, ...args, { signal: controller.signal });
    await randomPause(i);
    const reason = new Error(`kill ${i}`);
    controller.abort(reason);
    const error = await failure(() => call, "BARECELL_CANCELLED");
    expect(error.cause).toBe(reason);
    expect(vm.state).toBe("poisoned");
    vm.dispose();
  }
}

describe("asynchronous calls", () => {
  it("W1, W2, W3: before the entry, at it, and in the guest", () => killAll("spin"), 120_000);
  it("W4: in a storm of host calls", () => killAll("storm"), 120_000);
  it("W5: in a host call that waits", () => killAll("sleep"), 120_000);
  it("W5: while the guest waits for a host function that never answers", () => killAll("ask"), 120_000);
  it("W7: in a call that a host function made into the guest", async () => {
    await killAll("ask", (context) => context.call("spin"));
  }, 120_000);
  it("W7: the same, and the function that made it never ends either", async () => {
    await killAll("ask", (context) => context.call("spin").then(never, never));
  }, 120_000);

  it("W8: around the end of a call: it is done or cancelled, and the next call is not touched", async () => {
    let vm = boot();
    let cancelled = 0;
    for (let i = 0; i < 5 * KILLS; i++) {
      const controller = new AbortController();
      const call = vm.call("quick", i, { signal: controller.signal });
      const end = performance.now() + Math.random() * 0.25;
      while (performance.now() < end);
      if (i % 3 === 0) await Promise.resolve();
      controller.abort();
      const result = await call.catch((error: BarecellError) => error.code);
      controller.abort();
      if (result === "BARECELL_CANCELLED") {
        cancelled++;
        vm.dispose();
        vm = boot();
      } else {
        expect(result).toBe(i + 1);
      }
      expect(await vm.call("quick", 1)).toBe(2);
    }
    vm.dispose();
    expect(cancelled).toBeGreaterThan(0);
  }, 120_000);

  it("W9: disposed at any moment", async () => {
    const before = openVms();
    for (let i = 0; i < KILLS; i++) {
      const vm = boot((context) => context.call("spin"));
      const call = vm.call(["spin", "storm", "sleep", "ask"][i % 4] as string, ...(i % 4 === 3 ? [0] : []));
      await randomPause(i >> 2);
      vm.dispose();
      await failure(() => call, "BARECELL_DISPOSED");
      await vm[Symbol.asyncDispose]();
    }
    expect(openVms()).toBeLessThanOrEqual(before + 2);
  }, 120_000);

  it("a time limit in each of them", async () => {
    for (let i = 0; i < KILLS; i++) {
      const vm = boot((context) => (i % 2 === 0 ? never() : context.call("spin")));
      const name = ["spin", "storm", "sleep", "ask"][i % 4] as string;
      const timeoutMs = 0.001 + Math.random() * 2;
      const call = vm.call(name, ...(name === "ask" ? [0] : []), { timeoutMs });
      const error = await failure(() => call, "BARECELL_TIMEOUT");
      expect(error.limit).toBe("timeoutMs");
      vm.dispose();
    }
  }, 120_000);
});

describe("synchronous calls", () => {
  it("W6: in the host function itself", async () => {
    for (let i = 0; i < KILLS; i++) {
      const controller = new AbortController();
      let reached = 0;
      const vm = boot((context, n) => {
        controller.abort();
        reached++;
        return n < 3 ? context.callSync("ask", n + 1) : 1;
      });
      const call = (): unknown => vm.callSync("ask", i % 4, { signal: controller.signal });
      await failure(call, "BARECELL_CANCELLED");
      expect(reached).toBe(1);
      vm.dispose();
    }
  });

  it("W6: and the function throws besides", async () => {
    const controller = new AbortController();
    const vm = boot(() => {
      controller.abort("enough");
      throw new Error("never seen");
    });
    const error = await failure(
      () => vm.callSync("ask", 0, { signal: controller.signal }),
      "BARECELL_CANCELLED",
    );
    expect(error.cause).toBe("enough");
    vm.dispose();
  });

  it("W7: a time limit in the inner call ends that, and the outer one by its own choice", async () => {
    for (let i = 0; i < KILLS / 4; i++) {
      const vm = boot((context) => context.callSync("spin", { timeoutMs: 0.5 }));
      const error = await failure(() => vm.callSync("ask", 0), "BARECELL_HOST_FUNCTION_FAILED");
      expect((error.cause as BarecellError).code).toBe("BARECELL_TIMEOUT");
      vm.dispose();
      const other = boot((context) => context.callSync("spin"));
      await failure(() => other.callSync("ask", 0, { timeoutMs: 0.5 }), "BARECELL_TIMEOUT");
      other.dispose();
    }
  });
});

describe("before anything runs", () => {
  it("a signal that is aborted already: the VM stays ready", async () => {
    const vm = boot();
    const signal = AbortSignal.abort("no");
    for (const call of [() => vm.call("quick", 1, { signal }), () => vm.callSync("quick", 1, { signal })]) {
      const error = await failure(call, "BARECELL_CANCELLED");
      expect(error.cause).toBe("no");
      expect(vm.state).toBe("ready");
    }
    expect(vm.callSync("quick", 1)).toBe(2);
    vm.dispose();
    await failure(
      () => MicroVM.boot(image, { wasi: {}, imports: { env: { ask: never } }, signal }),
      "BARECELL_CANCELLED",
    );
  });

  it("a boot is cancelled in its start function", async () => {
    const starts = await imageOf("cancel-boot", "(module (func $f (loop $l (br $l))) (start $f))");
    for (let i = 0; i < KILLS; i++) {
      const controller = new AbortController();
      const booting = MicroVM.boot(starts, { boot: i % 2 ? "direct" : "staged", signal: controller.signal });
      await randomPause(i >> 1);
      controller.abort();
      await failure(() => booting, "BARECELL_CANCELLED");
    }
  }, 120_000);
});
