/** Records of host calls: what they say, that none is lost, that they are bounded, and that a hostile guest gains nothing by them. */
import { describe, expect, it } from "vitest";
import { type HostCallRecord, type HostContext, MicroVM, metrics } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { withVm } from "../support/modules.ts";
import { echo, observedGuest as guest } from "../support/observed-guest.ts";

const YIELD = "wasi_snapshot_preview1.sched_yield";
const yields = (): number => metrics().hostCalls[YIELD] ?? 0;
const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("latin1");

/** Boots a VM with a trace, and gives the records of a call. */
async function traced(
  mode: "sync" | "async",
  name: string,
  args: readonly unknown[] = [],
  options: object = {},
): Promise<{ records: HostCallRecord[]; error: unknown }> {
  const records: HostCallRecord[] = [];
  const boot = {
    imports: echo,
    wasi: {},
    timeoutMs: 60_000,
    ...options,
    trace: (record: HostCallRecord) => records.push(record),
  };
  return withVm(guest, boot, async (vm) => {
    let error: unknown;
    try {
      if (mode === "sync") vm.callSync(name, ...args);
      else await vm.call(name, ...args);
    } catch (thrown) {
      error = thrown;
    }
    for (const record of records) expect(record.vm).toBe(vm.id);
    return { records, error };
  });
}

for (const mode of ["sync", "async"] as const) {
  describe(`a record, ${mode}`, () => {
    it("has WASI's names, what was written as it was at that time, and what came out", async () => {
      const before = performance.now();
      const { records } = await traced(mode, "write", [], { wasi: { stdout: "capture" } });
      expect(records.length).toBe(1);
      const [record] = records;
      expect(record).toMatchObject({
        kind: "wasi",
        module: "wasi_snapshot_preview1",
        name: "fd_write",
        errno: "success",
        ending: "returned",
        isCut: false,
        results: [{ type: "i32", value: 0 }],
      });
      expect(record?.args.map(({ name, value }) => [name, value])).toEqual([
        ["fd", 1],
        ["iovs", 0],
        ["iovs_len", 2],
        ["nwritten", 256],
      ]);
      // The guest overwrites its buffer right after the call.
      expect(text(record?.args[1]?.memory?.bytes)).toBe("hello\n\x1b[2J");
      expect(record?.args[1]?.memory?.totalBytes).toBe(10);
      expect(record?.args[3]?.pointsTo).toBe(10n);
      expect(record?.startMs).toBeGreaterThan(before - 1);
      expect(record?.startMs).toBeLessThan(performance.now());
      expect(record?.durationUs).toBeGreaterThan(0);
    });

    it("shows what a function filled in, as far as it did", async () => {
      const { records } = await traced(mode, "read", [], { wasi: { stdin: "from the host" } });
      expect(text(records[0]?.args[1]?.memory?.bytes)).toBe("from the host");
      expect(records[0]?.args[3]?.pointsTo).toBe(13n);
    });

    it("shows a path, and nothing at the result's address after a failure", async () => {
      const { records } = await traced(mode, "open", [64, 16]);
      expect(records[0]).toMatchObject({ name: "path_open", errno: "badf", results: [{ value: 8 }] });
      expect(text(records[0]?.args[2]?.memory?.bytes)).toBe("/no/such\x1b]0;file");
      expect(records[0]?.args[8]).toEqual({ type: "i32", value: 256, name: "opened_fd", kind: "result" });
    });

    it("has a host function's values as the function gets them", async () => {
      const { records } = await traced(mode, "host", [-5, -(2n ** 63n), 1.5]);
      expect(records[0]).toMatchObject({ kind: "host", module: "env", name: "host", errno: undefined });
      expect(records[0]?.args.map(({ value }) => value)).toEqual([-5, -(2n ** 63n), 1.5]);
      expect(records[0]?.results).toEqual([{ type: "i64", value: -(2n ** 63n) }]);
    });

    it("says how a call ended that did not return", async () => {
      expect((await traced(mode, "exit", [3])).records[0]).toMatchObject({ ending: "exited", results: [] });
      const failing = { imports: { env: { host: () => Promise.reject(new Error("no")) } } };
      expect((await traced(mode, "host", [1, 1n, 1], failing)).records[0]).toMatchObject({
        ending: "failed",
      });
      const slept = await traced(mode, "sleep", [10_000_000_000n], { timeoutMs: 50 });
      expect(slept.records[0]).toMatchObject({ name: "poll_oneoff", ending: "interrupted" });
      expect(slept.error).toMatchObject({ code: "BARECELL_TIMEOUT" });
    });

    it("reads nothing outside the guest's memory, whatever the numbers", async () => {
      const numbers = [0, 1, 65535, 65536, 2 ** 31 - 1, -1, -8, -65536];
      const records: HostCallRecord[] = [];
      const options = {
        imports: echo,
        wasi: { stdout: "capture" as const },
        trace: (r: HostCallRecord) => records.push(r),
      };
      await withVm(guest, options, async (vm) => {
        for (const pointer of numbers) {
          for (const length of numbers) {
            if (mode === "sync") vm.callSync("raw_write", 1, pointer, length, pointer);
            else await vm.call("raw_write", 1, pointer, length, pointer);
            const opened = records.length;
            vm.callSync("open", pointer, length);
            const path = records[opened]?.args[2];
            const fits = (pointer >>> 0) + Math.min(length >>> 0, 64) <= 65536;
            expect(path?.memory === undefined, `${pointer} ${length}`).toBe(!fits);
            if (path?.memory) expect(path.memory.totalBytes).toBe(length >>> 0);
          }
        }
        expect(vm.callSync("seven")).toBe(7);
      });
      expect(records.length).toBe(2 * numbers.length ** 2);
      for (const { args } of records) {
        for (const { memory } of args) expect(memory?.bytes.length ?? 0).toBeLessThanOrEqual(64);
      }
    });

    it("is there for every call, in order", async () => {
      // More than the buffer holds.
      const count = 8000;
      const { records } = await traced(mode, "yield", [count]);
      expect(records.length).toBe(count);
      for (let i = 1; i < count; i++) {
        if ((records[i]?.startMs ?? 0) < (records[i - 1]?.startMs ?? 0)) throw new Error(`${i} is too early`);
      }
      const numbered = (await traced(mode, "host_times", [5000])).records.map(({ args }) => args[0]?.value);
      expect(numbered).toEqual(Array.from({ length: 5000 }, (_, i) => 5000 - i));
    });
  });
}

it("clocks are asked of the host while a trace runs, and of the guest itself otherwise", async () => {
  expect((await traced("sync", "clock")).records.map(({ name }) => name)).toEqual(["clock_time_get"]);
  const kept = await traced("sync", "clock", [], { answersInGuest: true });
  await withVm(guest, { imports: echo, wasi: {} }, (vm) => {
    vm.callSync("clock");
    // Where the processor's counter is no clock, the host answers in any case.
    expect(vm.stats().hostCalls["wasi_snapshot_preview1.clock_time_get"] ?? 0).toBe(kept.records.length);
  });
});

it("calls of the guest within host functions are in it, inner ones first", async () => {
  for (const mode of ["sync", "async"] as const) {
    const imports = {
      env: {
        host: (context: HostContext, depth: number): bigint | Promise<bigint> => {
          if (depth === 0) return 1n;
          if (mode === "sync") return context.callSync("host", depth - 1, 0n, 0) as bigint;
          return context.call("host", depth - 1, 0n, 0) as Promise<bigint>;
        },
      },
    };
    const { records, error } = await traced(mode, "host", [3, 0n, 0], { imports });
    expect(error).toBe(undefined);
    expect(records.map(({ args }) => args[0]?.value)).toEqual([0, 1, 2, 3]);
    const [inner, , , outer] = records;
    expect(outer?.durationUs).toBeGreaterThan(inner?.durationUs ?? 0);
  }
});

describe("what waits to be read", () => {
  const block = (ms: number): void => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  };

  it("is bounded: a guest that is too far ahead of JavaScript waits, and nothing is lost", async () => {
    let records = 0;
    const options = { imports: echo, wasi: {}, timeoutMs: 60_000, trace: () => records++ };
    await withVm(guest, options, async (vm) => {
      const before = yields();
      const stop = new AbortController();
      const running = vm.call("yield_forever", { signal: stop.signal });
      // 256 KiB of records of 56 bytes.
      const most = (256 * 1024) / 56 + 2;
      const giveUpMs = performance.now() + 15_000;
      while (yields() - before < most - 3 && performance.now() < giveUpMs) block(20);
      block(200);
      const ahead = yields() - before;
      expect(ahead).toBeLessThanOrEqual(most);
      block(200);
      expect(yields() - before).toBe(ahead);
      setTimeout(() => stop.abort(), 100);
      await failure(() => soon("the cancel", running), "BARECELL_CANCELLED");
      expect(yields() - before).toBeGreaterThan(ahead);
      expect(records).toBe(yields() - before);
    });
  });

  it("a time limit ends the wait", async () => {
    let records = 0;
    const options = { imports: echo, wasi: {}, trace: () => records++ };
    await withVm(guest, options, async (vm) => {
      const before = yields();
      const running = vm.call("yield_forever", { timeoutMs: 1500 });
      block(2500);
      const made = yields() - before;
      await failure(() => soon("the timeout", running), "BARECELL_TIMEOUT");
      // It had ended while nobody read.
      expect(yields() - before).toBe(made);
      expect(records).toBe(made);
    });
  });

  it("dispose() and cancels end the wait, many times", async () => {
    for (let i = 0; i < 12; i++) {
      const vm = await MicroVM.boot(guest, { imports: echo, wasi: {}, trace: () => {} });
      const running = failure(() => vm.call("yield_forever"), "BARECELL_DISPOSED");
      block(i * 30);
      vm.dispose();
      await soon("dispose", running);
      await soon("what it holds", vm[Symbol.asyncDispose]());
    }
  });
});

it("a listener may use the VM that is traced as far as it can be used then", async () => {
  const codes: unknown[] = [];
  let vm: MicroVM | undefined;
  const trace = (): void => {
    try {
      vm?.callSync("seven");
    } catch (error) {
      codes.push((error as { code?: string }).code);
    }
  };
  vm = await MicroVM.boot(guest, { imports: echo, wasi: {}, trace });
  await vm.call("yield", 6000);
  vm.callSync("yield", 6000);
  expect(codes.length).toBe(12_000);
  expect(new Set(codes)).toEqual(new Set(["BARECELL_BUSY"]));
  vm.dispose();
});

it("a listener may dispose the VM in the middle of a synchronous run", async () => {
  const vm: MicroVM = await MicroVM.boot(guest, { imports: echo, wasi: {}, trace: () => vm.dispose() });
  await failure(() => vm.callSync("yield", 6000), "BARECELL_DISPOSED");
});

it("must be a function", async () => {
  await failure(() => MicroVM.boot(guest, { trace: 1 as never }), "BARECELL_ARGUMENT_INVALID");
});
