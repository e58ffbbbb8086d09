/** Every limit: what it ends, with which code, per VM and for a single call. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  type BarecellError,
  type BootOptions,
  type CallOptions,
  type HostContext,
  MicroVM,
} from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const image = await imageOf(
  "limits",
  `(module
    (import "env" "ask" (func $ask (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (memory (export "memory") 1 16)
    (table 1 funcref)
    (data (i32.const 0) "\\10\\00\\00\\00\\64\\00\\00\\00")
    (func (export "ask") (param i32) (result i32) (call $ask (local.get 0)))
    (func (export "asks") (param i32) (loop $l (drop (call $ask (local.get 0)))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "yields") (param i32) (loop $l (drop (call $yield))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "spin") (loop $l (br $l)))
    (func (export "print") (param i32) (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "grow_table") (param i32) (result i32) (table.grow (ref.null func) (local.get 0)))
    (func $deep (export "deep") (param i32) (result i32)
      (if (result i32) (local.get 0)
        (then (i32.add (call $deep (i32.sub (local.get 0) (i32.const 1))) (call $ask_never (local.get 0))))
        (else (i32.const 0))))
    (func $ask_never (param i32) (result i32) (if (result i32) (i32.lt_s (local.get 0) (i32.const 0)) (then (call $ask (i32.const 0))) (else (i32.const 1)))))`,
  { maxTableElements: 1000 },
);

const options = (more: BootOptions = {}): BootOptions => ({
  wasi: { stdout: "capture" },
  imports: { env: { ask: () => 0 } },
  ...more,
});

/** The limit stated for the VM, and for the call: both must hold, in both kinds of calls. */
function bothWays(
  limit: CallOptions,
  more: BootOptions,
  name: string,
  args: unknown[],
  check: (call: () => Promise<unknown>, vm: MicroVM) => Promise<void>,
): void {
  for (const mode of ["sync", "async"] as const) {
    const call = (vm: MicroVM, all: unknown[]) => async (): Promise<unknown> =>
      mode === "sync" ? vm.callSync(name, ...all) : vm.call(name, ...all);
    it(`of the VM, ${mode}`, () =>
      withVm(image, options({ ...more, ...limit }), (vm) => check(call(vm, args), vm)));
    it(`of the call, ${mode}`, () =>
      withVm(image, options(more), (vm) => check(call(vm, [...args, limit]), vm)));
  }
}

const ends =
  (code: Parameters<typeof failure>[1], limit?: string) =>
  async (call: () => Promise<unknown>, vm: MicroVM): Promise<void> => {
    const error = await failure(call, code);
    if (limit !== undefined) {
      expect(error.limit).toBe(limit);
      expect(error.message).toContain(limit);
    }
    expect(vm.state).toBe("poisoned");
  };

describe("timeoutMs", () => {
  bothWays({ timeoutMs: 20 }, {}, "spin", [], ends("BARECELL_TIMEOUT", "timeoutMs"));
});

describe("timeoutMs counts host functions", () => {
  const slow = { imports: { env: { ask: () => sleep(60_000, 0, { ref: false }) } } };
  it("that wait", () =>
    withVm(image, options(slow), async (vm) => {
      await ends("BARECELL_TIMEOUT", "timeoutMs")(() => vm.call("ask", 1, { timeoutMs: 20 }), vm);
    }));
  it("that compute, as soon as they return", () => {
    const busy = (): number => {
      const end = performance.now() + 30;
      while (performance.now() < end);
      return 0;
    };
    return withVm(image, options({ imports: { env: { ask: busy } } }), async (vm) => {
      await ends("BARECELL_TIMEOUT", "timeoutMs")(async () => vm.callSync("ask", 1, { timeoutMs: 20 }), vm);
    });
  });
  it("and aborts their signal", async () => {
    let aborted: Promise<unknown> | undefined;
    const ask = (context: HostContext): Promise<never> => {
      aborted = new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      return new Promise(() => {});
    };
    await withVm(image, options({ imports: { env: { ask } } }), async (vm) => {
      await failure(() => vm.call("ask", 1, { timeoutMs: 20 }), "BARECELL_TIMEOUT");
      await aborted;
    });
  });
});

describe("guestTimeoutMs", () => {
  bothWays({ guestTimeoutMs: 20 }, {}, "spin", [], ends("BARECELL_TIMEOUT", "guestTimeoutMs"));
  const slow = { imports: { env: { ask: () => sleep(30, 0) } } };
  it("does not count host functions", () =>
    withVm(image, options({ ...slow, guestTimeoutMs: 20 }), async (vm) => {
      await vm.call("asks", 3);
      expect(vm.state).toBe("ready");
    }));
  it("counts what they call in the guest", () => {
    const ask = (context: HostContext): unknown => context.callSync("spin");
    return withVm(image, options({ imports: { env: { ask } }, guestTimeoutMs: 20 }), async (vm) => {
      await ends("BARECELL_TIMEOUT", "guestTimeoutMs")(async () => vm.callSync("ask", 1), vm);
    });
  });
  it("adds up over the pieces of a call", () => {
    const ask = (context: HostContext, n: number): unknown => {
      try {
        context.callSync("spin", { timeoutMs: 10 });
      } catch (error) {
        if ((error as BarecellError).limit === "guestTimeoutMs") throw error;
      }
      return n;
    };
    return withVm(image, options({ imports: { env: { ask } } }), async (vm) => {
      const error = await failure(
        () => vm.callSync("asks", 100, { guestTimeoutMs: 500 }),
        "BARECELL_HOST_FUNCTION_FAILED",
      );
      expect((error.cause as BarecellError).limit).toBe("timeoutMs");
    });
  });
});

describe("cpuTimeMs", () => {
  bothWays({ cpuTimeMs: 20 }, {}, "spin", [], ends("BARECELL_TIMEOUT", "cpuTimeMs"));
  it("does not count waiting, nor host functions", () => {
    // What the machine below takes away in the middle of the guest's own microseconds counts too, and can be some tens of milliseconds.
    const cpuTimeMs = 80 * slowness;
    const busy = (): number => {
      const end = performance.now() + 1.1 * cpuTimeMs;
      while (performance.now() < end);
      return 0;
    };
    return withVm(image, options({ imports: { env: { ask: busy } }, cpuTimeMs }), async (vm) => {
      vm.callSync("asks", 3);
      await vm.call("asks", 3);
    });
  });
});

describe("maxHostCalls", () => {
  bothWays({ maxHostCalls: 5 }, {}, "yields", [6], ends("BARECELL_HOST_CALL_LIMIT"));
  bothWays({ maxHostCalls: 5 }, {}, "asks", [6], ends("BARECELL_HOST_CALL_LIMIT"));
  it("that many are fine, in each call anew", () =>
    withVm(image, options({ maxHostCalls: 5 }), async (vm) => {
      for (let i = 0; i < 3; i++) vm.callSync("yields", 5);
      await failure(() => vm.callSync("yields", 1, { maxHostCalls: 0 }), "BARECELL_HOST_CALL_LIMIT");
    }));
});

describe("maxOutputBytes", () => {
  bothWays({ maxOutputBytes: 250 }, {}, "print", [3], async (call, vm) => {
    await ends("BARECELL_OUTPUT_LIMIT")(call, vm);
    expect(vm.stdout()).toHaveLength(250);
  });
  it("counts for the VM's life, whatever it was for one call", () =>
    withVm(image, options({ maxOutputBytes: 250 }), async (vm) => {
      vm.callSync("print", 4, { maxOutputBytes: 400 });
      await failure(() => vm.callSync("print", 1), "BARECELL_OUTPUT_LIMIT");
    }));
});

describe("maxMemoryBytes", () => {
  const page = 65536;
  bothWays({ maxMemoryBytes: 3 * page }, {}, "grow", [3], async (call, vm) => {
    expect(await call()).toBe(-1);
    expect(vm.state).toBe("ready");
  });
  it("of a call is at most the VM's, and holds for that call", () =>
    withVm(image, options({ maxMemoryBytes: 4 * page }), async (vm) => {
      await failure(() => vm.callSync("grow", 1, { maxMemoryBytes: 5 * page }), "BARECELL_ARGUMENT_INVALID");
      expect(vm.callSync("grow", 1, { maxMemoryBytes: page })).toBe(-1);
      expect(vm.callSync("grow", 2)).toBe(1);
      expect(vm.callSync("grow", 0, { maxMemoryBytes: page })).toBe(3);
      expect(vm.callSync("grow", 1, { maxMemoryBytes: page })).toBe(-1);
      expect(vm.callSync("grow", 2)).toBe(-1);
      expect(vm.callSync("grow", 1)).toBe(3);
    }));
});

describe("maxTableElements", () => {
  bothWays({ maxTableElements: 10 }, {}, "grow_table", [10], async (call) => {
    expect(await call()).toBe(-1);
  });
  it("never more than the image has", () =>
    withVm(image, options({ maxTableElements: 5000 }), (vm) => {
      expect(vm.callSync("grow_table", 1000)).toBe(-1);
      expect(vm.callSync("grow_table", 999)).toBe(1);
    }));
});

describe("maxStackBytes", () => {
  bothWays({ maxStackBytes: 8192 }, {}, "deep", [2000], ends("BARECELL_TRAP_STACK_EXHAUSTED"));
  it("more is the image's", () =>
    withVm(image, options({ maxStackBytes: 2 ** 30 }), (vm) => {
      expect(vm.callSync("deep", 2000)).toBe(2000);
    }));
});

describe("bad values", () => {
  const bad: unknown[] = [0, -1, Number.NaN, "5", null, {}, 5n];
  for (const name of ["timeoutMs", "guestTimeoutMs", "cpuTimeMs"]) {
    for (const value of bad) {
      it(`${name}: ${typeof value} ${String(value)}`, async () => {
        await failure(() => MicroVM.bootSync(image, options({ [name]: value })), "BARECELL_ARGUMENT_INVALID");
        await withVm(image, options(), (vm) =>
          failure(() => vm.callSync("grow", 0, { [name]: value }), "BARECELL_ARGUMENT_INVALID"),
        );
      });
    }
  }
  for (const name of [
    "maxHostCalls",
    "maxMemoryBytes",
    "maxStackBytes",
    "maxTableElements",
    "maxOutputBytes",
  ]) {
    for (const value of [-1, 1.5, Number.POSITIVE_INFINITY, Number.NaN, "5", null, 5n]) {
      it(`${name}: ${typeof value} ${String(value)}`, async () => {
        await failure(() => MicroVM.bootSync(image, options({ [name]: value })), "BARECELL_ARGUMENT_INVALID");
        await withVm(image, options(), (vm) =>
          failure(() => vm.callSync("grow", 0, { [name]: value }), "BARECELL_ARGUMENT_INVALID"),
        );
      });
    }
  }
  it("a name that is no option, a signal that is none", () =>
    withVm(image, options(), async (vm) => {
      const error = await failure(() => vm.callSync("grow", 0, { timeout: 5 }), "BARECELL_ARGUMENT_INVALID");
      expect(error.message).toContain("timeoutMs");
      await failure(() => vm.call("grow", 0, { signal: 5 }), "BARECELL_ARGUMENT_INVALID");
      expect(vm.state).toBe("ready");
    }));
});
