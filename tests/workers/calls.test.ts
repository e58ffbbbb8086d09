/** Calls in worker processes: values and bytes come back as from a Pool, errors too, and what cannot go to another process is refused. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type BarecellError, Pool, WorkerPool, type WorkerPoolOptions } from "../support/barecell.ts";
import { failure, names } from "../support/errors.ts";
import { imageOf } from "../support/modules.ts";
import { HOST_MODULE, one, two, withWorkers } from "./guest.ts";

const v128 = Uint8Array.from({ length: 16 }, (_, i) => i * 16);

describe("values", () => {
  it("of all types, both ways, as they are", () =>
    withWorkers(one, { max: 2 }, async (pool) => {
      for (const values of [
        [-5, 2n ** 63n - 1n, 1.5, Math.PI, v128],
        [2 ** 31 - 1, -(2n ** 63n), -0, Number.NaN, new Uint8Array(16)],
        [0, 0n, Number.NEGATIVE_INFINITY, -0, v128.map((byte) => 255 - byte)],
      ]) {
        expect(await pool.call("same", ...values)).toEqual(values);
      }
      const result = (await pool.call("same", 1, 2n, 3, 4, v128)) as [
        number,
        bigint,
        number,
        number,
        Uint8Array,
      ];
      expect(Object.getPrototypeOf(result[4])).toBe(Uint8Array.prototype);
      expect(result[4].buffer.byteLength).toBe(16);
      expect(await pool.call("wait", 0, { timeoutMs: 5000 })).toBe(1);
    }));

  it("bytes and JSON", () =>
    withWorkers(one, { max: 2 }, async (pool) => {
      const input = Uint8Array.from({ length: 5000 }, (_, i) => i);
      const output = await pool.callBytes("echo", input.subarray(10));
      expect(output).toEqual(input.slice(10));
      expect(Object.getPrototypeOf(output)).toBe(Uint8Array.prototype);
      const value = { list: [1, "zwei", null], nested: { yes: true } };
      expect(await pool.callJson("echo", value)).toEqual(value);
      expect(await pool.callBytes("echo", Buffer.from("text"))).toEqual(new Uint8Array(Buffer.from("text")));
      await failure(() => pool.callJson("echo", undefined), "BARECELL_ARGUMENT_INVALID");
      await failure(() => pool.callBytes("echo", "text" as never), "BARECELL_ARGUMENT_INVALID");
      await failure(() => pool.callBytes("answer", input), "BARECELL_ARGUMENT_INVALID");
    }));

  it("references are refused, null is not one", () =>
    withWorkers(one, { max: 1 }, async (pool) => {
      expect(await pool.call("isNull", null)).toBe(1);
      for (const value of [{}, "text", 5, () => 0]) {
        const error = await failure(() => pool.call("isNull", value), "BARECELL_ARGUMENT_INVALID");
        expect(error.message).toContain("externref");
        expect(error.message).toContain("use Pool");
      }
      await failure(() => pool.call("reference", null), "BARECELL_ARGUMENT_INVALID");
      for (const value of [{}, Symbol("s"), () => 0]) {
        const error = await failure(() => pool.call("add", 1, value), "BARECELL_ARGUMENT_INVALID");
        expect(error.message).toContain("argument 2 of 'add'");
      }
      await failure(() => pool.call("add", 1, 2, { timeoutMs: {} }), "BARECELL_ARGUMENT_INVALID");
      await failure(() => pool.call("add", 1, 2, { signal: 5 }), "BARECELL_ARGUMENT_INVALID");
    }));

  it("each call in a VM that nobody used before", () =>
    withWorkers(one, { max: 2, processes: 2 }, async (pool) => {
      for (let i = 0; i < 10; i++) {
        expect(await pool.call("count")).toBe(101);
        await failure(() => pool.call("trap"), "BARECELL_TRAP_UNREACHABLE");
        await failure(() => pool.call("spin", { timeoutMs: 1 }), "BARECELL_TIMEOUT");
      }
    }));
});

describe("errors", () => {
  it("are those of a Pool, field by field", async () => {
    const { default: options } = (await import(HOST_MODULE.href)) as { default: object };
    const pool = new Pool(one, { max: 1, vm: options });
    await withWorkers(one, { max: 1 }, async (workers) => {
      for (const call of [
        ["trap"],
        ["spin", { timeoutMs: 5 }],
        ["spin", { cpuTimeMs: 5 }],
        ["fail"],
        ["nothing"],
        ["nothing", { strange: {} }],
        ["add", 1],
        ["add", 1, 2, 3],
        ["add", 1, "2"],
        ["add", 1, 2, { timeoutms: 5 }],
        ["add", 1, 2, { fuel: 5 }],
        ["add", 1, 2, { timeoutMs: -1 }],
      ] as [string, ...unknown[]][]) {
        const caught = async (run: Promise<unknown>): Promise<BarecellError> =>
          run.then(
            () => expect.fail(`${call} did not fail`),
            (error: BarecellError) => error,
          );
        const theirs = await caught(workers.call(...call));
        const ours = await caught(pool.call(...call));
        expect(fields(theirs)).toEqual(fields(ours));
      }
      const error = await failure(() => workers.call("fail"), "BARECELL_HOST_FUNCTION_FAILED");
      expect(error.cause).toBeInstanceOf(Error);
      expect(error.cause).toMatchObject({
        name: "Refusal",
        message: "not today",
        code: "EREFUSED",
        cause: "mood",
      });
      expect((error.cause as Error).stack).toContain("host.mjs");
      expect(names(error)).toContain("fail");
    });
    await pool.close();
  });

  it("an exit status", async () => {
    const exits = await imageOf(
      "workers-exit",
      `(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (func (export "end") (call $exit (i32.const 7))))`,
    );
    await withWorkers(exits, { max: 1, vm: { wasi: {} } }, async (pool) => {
      expect((await failure(() => pool.call("end"), "BARECELL_GUEST_EXIT")).exitCode).toBe(7);
    });
  });
});

/** What a caller can see of an error; backtraces have the same frames. */
function fields(error: BarecellError): object {
  const { code, kind, cure, message, backtrace, exitCode, limit, cause } = error;
  return { code, kind, cure, message, frames: backtrace, exitCode, limit, cause: String(cause) };
}

describe("cancelling", () => {
  it("ends a call in its worker, which then goes on", () =>
    withWorkers(one, { max: 1 }, async (pool) => {
      for (const name of ["spin", "wait"]) {
        const controller = new AbortController();
        const reason = { why: name };
        const args = name === "wait" ? [60_000] : [];
        const running = failure(
          () => pool.call(name, ...args, { signal: controller.signal, timeoutMs: 60_000 }),
          "BARECELL_CANCELLED",
        );
        while (pool.metrics.running === 0) await sleep(1);
        await sleep(20);
        controller.abort(reason);
        expect((await running).cause).toBe(reason);
        expect(await pool.call("count")).toBe(101);
      }
      expect(pool.metrics.workersLost).toBe(0);
    }));

  it("before it began, in the queue, and in the turn in which it is sent", () =>
    withWorkers(one, { max: 1 }, async (pool) => {
      await pool.ready();
      const aborted = await failure(
        () => pool.call("answer", { signal: AbortSignal.abort("before") }),
        "BARECELL_CANCELLED",
      );
      expect(aborted.cause).toBe("before");
      const running = pool.call("wait", 200);
      const waiting = new AbortController();
      const waits = failure(() => pool.call("answer", { signal: waiting.signal }), "BARECELL_CANCELLED");
      waiting.abort("in the queue");
      expect((await waits).cause).toBe("in the queue");
      expect(await running).toBe(1);
      const sent = new AbortController();
      const call = failure(() => pool.call("spin", { signal: sent.signal }), "BARECELL_CANCELLED");
      sent.abort("at once");
      expect((await call).cause).toBe("at once");
    }));
});

describe("several images", () => {
  it("each by its name, and with metrics of its own", () =>
    withWorkers({ one, two: { image: two, min: 0 } }, { max: 4, processes: 2 }, async (pool) => {
      expect(await pool.image("one").call("answer")).toBe(1);
      expect(await pool.image("two").call("answer")).toBe(2);
      expect(pool.image("one").metrics.calls).toBe(1);
      expect(pool.image("two").metrics.calls).toBe(1);
      expect(pool.metrics.calls).toBe(2);
      await failure(() => pool.call("answer"), "BARECELL_ARGUMENT_INVALID");
      await failure(async () => pool.image("three"), "BARECELL_ARGUMENT_INVALID");
    }));
});

describe("options", () => {
  for (const options of [
    { processes: 0 },
    { max: 4, processes: 5 },
    { max: 0 },
    { min: 9, max: 8 },
    { unresponsiveMs: 0 },
    { hostModule: "./host.mjs" },
    { hostModule: "https://example.org/host.mjs" },
    { hostModule: 5 },
    { env: { A: 5 } },
    { memoryBudgetBytes: 2 ** 21, max: 4, processes: 4, vm: { maxMemoryBytes: 2 ** 20 } },
    { vm: { wasi: { stdout: { fd: 1 } } } },
    { vm: { wasi: { sockets: [3] } } },
    { vm: { signal: AbortSignal.abort() } },
  ] as WorkerPoolOptions[]) {
    it(`refused: ${JSON.stringify(options)}`, () =>
      failure(async () => new WorkerPool(one, options), "BARECELL_ARGUMENT_INVALID"));
  }
  it("functions are refused, and the message says what to do", async () => {
    const error = await failure(
      async () => new WorkerPool(one, { vm: { imports: { env: { wait() {} } } } }),
      "BARECELL_ARGUMENT_INVALID",
    );
    expect(error.message).toContain("vm.imports.env.wait is a function");
    expect(error.message).toContain("hostModule");
    const listener = { one: { image: one, vm: { trace() {} } }, two };
    const named = await failure(async () => new WorkerPool(listener), "BARECELL_ARGUMENT_INVALID");
    expect(named.message).toContain("vm of 'one'.trace");
  });
});
