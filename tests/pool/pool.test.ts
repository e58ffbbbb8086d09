/** Pools: each call in a pristine VM, a bounded queue, several images that share fairly, nothing left behind. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  type BarecellError,
  type HostContext,
  Pool,
  type PoolImage,
  type PoolOptions,
} from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf } from "../support/modules.ts";
import { openVms } from "../support/open-vms.ts";

const text = (answer: number): string => `(module
  (import "env" "wait" (func $wait (param i32)))
  (memory (export "memory") 1 16)
  (global $count (mut i32) (i32.const 0))
  (func (export "count") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
    (i32.add (global.get $count) (i32.mul (i32.const 100) (i32.load (i32.const 64)))))
  (func (export "wait") (param i32) (result i32) (call $wait (local.get 0)) (i32.const ${answer}))
  (func (export "answer") (result i32) (i32.const ${answer}))
  (func (export "grow") (result i32) (memory.grow (i32.const 3)))
  (func (export "trap") (i32.store (i32.const 64) (i32.const 77)) unreachable)
  (func (export "spin") (loop $l (br $l))))`;

const one = await imageOf("pool-one", text(1));
const two = await imageOf("pool-two", text(2));

const wait = (_context: HostContext, ms: number): Promise<void> => sleep(ms).then(() => {});
const vm = { imports: { env: { wait } } };

async function withPool<T>(
  images: ConstructorParameters<typeof Pool>[0],
  options: PoolOptions,
  body: (pool: Pool) => Promise<T>,
): Promise<T> {
  const pool = new Pool(images, { vm, ...options });
  try {
    return await body(pool);
  } finally {
    await soon("closing the pool", pool.close());
  }
}

describe("calls", () => {
  it("each in a VM that nobody used before, after traps and kills too", () =>
    withPool(one, { max: 2 }, async (pool) => {
      for (let i = 0; i < 20; i++) {
        expect(await pool.call("count")).toBe(101);
        expect(await pool.call("grow")).toBe(1);
        await failure(() => pool.call("trap"), "BARECELL_TRAP_UNREACHABLE");
        await failure(() => pool.call("spin", { timeoutMs: 1 }), "BARECELL_TIMEOUT");
      }
      expect(pool.metrics.boots).toBeLessThanOrEqual(2);
      expect(pool.metrics.calls).toBe(80);
    }));

  it("on the calling thread, more in a row than there are VMs: the caller cleans", () =>
    withPool(one, { max: 2, min: 2 }, async (pool) => {
      await pool.ready();
      for (let i = 0; i < 20; i++) expect(pool.callSync("count")).toBe(101);
      expect(pool.metrics.cleanedByCaller).toBeGreaterThan(0);
      expect(pool.metrics.boots).toBe(2);
    }));

  it("cleaning comes after the answer", () =>
    withPool(one, { max: 1, min: 1 }, async (pool) => {
      await pool.ready();
      await pool.call("answer");
      expect(pool.metrics.cleaning).toBe(1);
      expect(pool.metrics.resets).toBe(0);
      while (pool.metrics.ready === 0) await sleep(1);
      expect(pool.metrics.resets).toBe(1);
    }));

  it("several in one VM that is lent", () =>
    withPool(one, { max: 1 }, async (pool) => {
      const counts = await pool.use(async (lent) => [await lent.call("count"), lent.callSync("count")]);
      expect(counts).toEqual([101, 202]);
      expect(pool.useSync((lent) => [lent.callSync("count"), lent.callSync("count")])).toEqual([101, 202]);
      expect(await pool.call("count")).toBe(101);
    }));

  it("a VM that its user disposed is replaced", () =>
    withPool(one, { max: 1 }, async (pool) => {
      await pool.use((lent) => lent.dispose());
      expect(await pool.call("count")).toBe(101);
      expect(pool.metrics.boots).toBe(2);
    }));
});

describe("the queue", () => {
  it("never more than max run, the others wait in order", () =>
    withPool(one, { max: 2 }, async (pool) => {
      const order: number[] = [];
      const calls = Array.from({ length: 8 }, async (_, i) => {
        await pool.use(async (vm) => {
          order.push(i);
          await vm.call("wait", 5);
        });
      });
      expect(pool.metrics.waiting).toBeGreaterThanOrEqual(6);
      await Promise.all(calls);
      expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(pool.metrics.boots).toBe(2);
    }));

  it("is bounded in length and time, and left by a signal", () =>
    withPool(one, { max: 1, queueLimit: 2, queueTimeoutMs: 30 }, async (pool) => {
      await pool.ready();
      const controller = new AbortController();
      const running = pool.call("wait", 400);
      const late = pool.call("answer");
      const cancelled = pool.call("answer", { signal: controller.signal });
      const full = await failure(() => pool.call("answer"), "BARECELL_POOL_FULL");
      expect(full.message).toContain("queueLimit");
      controller.abort("enough");
      expect((await failure(() => cancelled, "BARECELL_CANCELLED")).cause).toBe("enough");
      await failure(() => late, "BARECELL_POOL_TIMEOUT");
      await failure(() => pool.call("answer", { signal: AbortSignal.abort("before") }), "BARECELL_CANCELLED");
      expect(() => pool.callSync("answer")).toThrow(/max 1/);
      expect(await running).toBe(1);
      while (pool.metrics.ready === 0) await sleep(1);
      expect(await pool.call("answer")).toBe(1);
    }));

  it("who waits for a VM that cannot boot is told why, each", async () => {
    const images: Record<string, PoolImage> = { bad: { image: one, min: 0, vm: { maxMemoryBytes: 0 } } };
    await withPool(images, {}, async (pool) => {
      const calls = [pool.call("answer"), pool.call("answer"), pool.call("answer")];
      for (const call of calls) await failure(() => call, "BARECELL_MEMORY_LIMIT");
      expect(pool.metrics.bootFailures).toBe(3);
      await failure(async () => pool.callSync("answer"), "BARECELL_MEMORY_LIMIT");
    });
    await withPool({ bad: { image: one, vm: { maxMemoryBytes: 0 } } }, {}, async (pool) => {
      await failure(() => pool.ready(), "BARECELL_MEMORY_LIMIT");
    });
  });
});

describe("several images", () => {
  it("each by its name", () =>
    withPool({ one, two }, { max: 3 }, async (pool) => {
      expect(await pool.image("one").call("answer")).toBe(1);
      expect(await pool.image("two").call("answer")).toBe(2);
      expect(pool.image("two").callSync("answer")).toBe(2);
      await failure(() => pool.call("answer"), "BARECELL_ARGUMENT_INVALID");
      await failure(async () => pool.image("three"), "BARECELL_ARGUMENT_INVALID");
      expect(pool.metrics.calls).toBe(3);
      expect(pool.image("one").metrics.calls).toBe(1);
    }));

  for (const max of [1, 2, 4]) {
    it(`a flood of calls for one does not keep out the other, max ${max}`, () =>
      withPool({ one: { image: one, min: 0 }, two: { image: two, min: 0 } }, { max }, async (pool) => {
        let flood = 0;
        const calls = Array.from({ length: 60 }, () =>
          pool
            .image("one")
            .call("wait", 4)
            .then(() => flood++),
        );
        await sleep(10);
        for (let i = 0; i < 3; i++) {
          expect(await pool.image("two").call("answer")).toBe(2);
        }
        expect(flood).toBeLessThan(60);
        await Promise.all(calls);
      }));
  }

  it("share a budget of memory: a VM that nobody uses makes room", () =>
    withPool(
      { one: { image: one, min: 0 }, two: { image: two, min: 0 } },
      { max: 8, memoryBudgetBytes: 2 ** 20, vm: { ...vm, maxMemoryBytes: 2 ** 20 } },
      async (pool) => {
        for (let i = 0; i < 4; i++) {
          expect(await pool.image(i % 2 ? "one" : "two").call("answer")).toBe(i % 2 ? 1 : 2);
          const { ready, running, cleaning, booting } = pool.metrics;
          expect(ready + running + cleaning + booting).toBeLessThanOrEqual(1);
        }
      },
    ));
});

describe("life", () => {
  it("min VMs are made ahead, and what is idle beyond them goes", () =>
    withPool(one, { min: 1, max: 4, idleMs: 20 }, async (pool) => {
      await pool.ready();
      expect(pool.metrics).toMatchObject({ ready: 1, calls: 0, boots: 1 });
      await Promise.all(Array.from({ length: 4 }, () => pool.call("wait", 10)));
      const idle = async (): Promise<void> => {
        while (pool.metrics.retired < 3) await sleep(5);
      };
      await soon("idle VMs to go", idle());
      expect(pool.metrics.ready).toBe(1);
      expect(pool.metrics.retired).toBe(3);
    }));

  it("closing ends what waits, not what runs, and leaves nothing open", async () => {
    const before = openVms();
    const pool = new Pool(one, { max: 1, vm });
    await pool.ready();
    const running = pool.call("wait", 50);
    const waiting = pool.call("answer");
    const outcome = failure(() => waiting, "BARECELL_POOL_CLOSED");
    await sleep(20);
    const closing = pool.close();
    await outcome;
    expect(await running).toBe(1);
    await closing;
    await pool.close();
    await failure(() => pool.call("answer"), "BARECELL_POOL_CLOSED");
    await failure(async () => pool.callSync("answer"), "BARECELL_POOL_CLOSED");
    expect(openVms()).toBeLessThanOrEqual(before + 1);
  });

  it("random calls, traps, kills and aborts: every answer is right, and nothing is left", async () => {
    const before = openVms();
    await withPool({ one, two }, { max: 4, min: 0, queueLimit: 1000 }, async (pool) => {
      const codes = new Map<string, number>();
      const call = async (i: number): Promise<void> => {
        const name = i % 3 === 0 ? "one" : "two";
        const part = pool.image(name);
        const kind = i % 7;
        const signal = kind === 5 ? AbortSignal.timeout(1 + (i % 5)) : undefined;
        const run =
          kind === 1
            ? part.call("trap")
            : kind === 2
              ? part.call("spin", { timeoutMs: 2 })
              : kind === 5
                ? part.call("spin", { signal })
                : part.call("count");
        const result = await run.catch((error: BarecellError) => error.code);
        codes.set(String(result), (codes.get(String(result)) ?? 0) + 1);
        const wanted =
          kind === 1
            ? ["BARECELL_TRAP_UNREACHABLE"]
            : kind === 2
              ? ["BARECELL_TIMEOUT"]
              : kind === 5
                ? ["BARECELL_CANCELLED"]
                : [101];
        expect(wanted).toContain(result);
      };
      for (let round = 0; round < 6; round++) {
        await Promise.all(Array.from({ length: 50 }, (_, i) => call(round * 50 + i)));
      }
      expect([...codes.values()].reduce((a, b) => a + b)).toBe(300);
      const { running, waiting, resetFailures } = pool.metrics;
      expect({ running, waiting, resetFailures }).toEqual({ running: 0, waiting: 0, resetFailures: 0 });
    });
    expect(openVms()).toBeLessThanOrEqual(before + 1);
  }, 60_000);
});

describe("options", () => {
  for (const options of [
    { max: 0 },
    { max: 1.5 },
    { min: -1 },
    { min: 9, max: 8 },
    { idleMs: -1 },
    { queueLimit: -1 },
    { queueTimeoutMs: Number.NaN },
    { memoryBudgetBytes: 1000 },
  ] as PoolOptions[]) {
    it(`refused: ${JSON.stringify(options)}`, () =>
      failure(async () => new Pool(one, { vm, ...options }), "BARECELL_ARGUMENT_INVALID"));
  }
  for (const images of [null, {}, { a: 5 }, { a: {} }, 5]) {
    it(`refused images: ${JSON.stringify(images)}`, () =>
      failure(async () => new Pool(images as never), "BARECELL_ARGUMENT_INVALID"));
  }
});
