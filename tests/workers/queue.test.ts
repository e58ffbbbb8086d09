/** The one queue in front of all processes: bounded, left by deadline and signal, fair between images; and what the pool says of itself. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { failure } from "../support/errors.ts";
import { one, two, until, withWorkers } from "./guest.ts";

describe("the queue", () => {
  it("never more than max run, in all processes together", () =>
    withWorkers(one, { max: 3, processes: 2 }, async (pool) => {
      let most = 0;
      const calls = Array.from({ length: 20 }, async () => {
        await pool.call("wait", 10);
        most = Math.max(most, pool.metrics.running);
      });
      await Promise.all(calls);
      expect(most).toBeLessThanOrEqual(3);
      expect(pool.metrics).toMatchObject({ calls: 20, running: 0, waiting: 0 });
      expect(pool.metrics.boots).toBeLessThanOrEqual(3);
    }));

  it("is bounded in length and time", () =>
    withWorkers(one, { max: 1, queueLimit: 1, queueTimeoutMs: 40 }, async (pool) => {
      await pool.ready();
      const running = pool.call("wait", 1500);
      const late = failure(() => pool.call("answer"), "BARECELL_POOL_TIMEOUT");
      const full = await failure(() => pool.call("answer"), "BARECELL_POOL_FULL");
      expect(full.message).toContain("queueLimit");
      expect((await late).message).toContain("queueTimeoutMs");
      expect(await running).toBe(1);
    }));

  it("what waits longest for an image comes first", () =>
    withWorkers(one, { max: 1 }, async (pool) => {
      const order: number[] = [];
      await Promise.all(Array.from({ length: 6 }, (_, i) => pool.call("answer").then(() => order.push(i))));
      expect(order).toEqual([0, 1, 2, 3, 4, 5]);
    }));

  it("who waits for a VM that cannot boot is told why", () =>
    withWorkers({ bad: { image: one, vm: { maxMemoryBytes: 0 } } }, { max: 2 }, async (pool) => {
      await failure(() => pool.ready(), "BARECELL_MEMORY_LIMIT");
      const calls = [pool.call("answer"), pool.call("answer"), pool.call("answer")];
      for (const call of calls) await failure(() => call, "BARECELL_MEMORY_LIMIT");
      expect(pool.metrics.workersLost).toBe(0);
    }));

  for (const [max, processes] of [
    [1, 1],
    [2, 2],
    [4, 2],
  ] as const) {
    it(`a flood of calls for one image does not keep out the other: max ${max} in ${processes}`, () =>
      withWorkers(
        { one: { image: one, min: 0 }, two: { image: two, min: 0 } },
        { max, processes },
        async (pool) => {
          let flood = 0;
          const calls = Array.from({ length: 60 }, () =>
            pool
              .image("one")
              .call("wait", 4)
              .then(() => flood++),
          );
          await until("the first of the flood", () => flood > 0);
          for (let i = 0; i < 3; i++) expect(await pool.image("two").call("answer")).toBe(2);
          expect(flood).toBeLessThan(60);
          await Promise.all(calls);
        },
      ));
  }
});

describe("life", () => {
  it("min VMs of each image, divided among the processes", () =>
    withWorkers(
      { one: { image: one, min: 3 }, two: { image: two, min: 2 } },
      { max: 6, processes: 3, idleMs: 20 },
      async (pool) => {
        await pool.ready();
        expect(pool.metrics).toMatchObject({ ready: 5, boots: 5, workers: 3 });
        expect(pool.image("one").metrics.ready).toBe(3);
        expect(pool.image("two").metrics.ready).toBe(2);
        await Promise.all(Array.from({ length: 6 }, () => pool.image("two").call("wait", 20)));
        await until("idle VMs beyond min to go", () => pool.image("two").metrics.ready === 2);
      },
    ));

  it("closing ends what waits, not what runs, and all processes", async () => {
    let pids: readonly number[] = [];
    await withWorkers(one, { max: 1 }, async (pool) => {
      await pool.ready();
      pids = pool.pids;
      const running = pool.call("wait", 100);
      const waiting = failure(() => pool.call("answer"), "BARECELL_POOL_CLOSED");
      const closing = pool.close();
      await waiting;
      expect(await running).toBe(1);
      await closing;
      await pool.close();
      expect(pool.pids).toEqual([]);
      await failure(() => pool.call("answer"), "BARECELL_POOL_CLOSED");
      await failure(() => pool.ready(), "BARECELL_POOL_CLOSED");
      await failure(async () => pool.image("one"), "BARECELL_POOL_CLOSED");
    });
    expect(pids.length).toBe(1);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });

  it("closing at once, before a process takes calls", () =>
    withWorkers(one, { max: 2, processes: 2 }, async (pool) => {
      const call = failure(() => pool.call("answer"), "BARECELL_POOL_CLOSED");
      const ready = failure(() => pool.ready(), "BARECELL_POOL_CLOSED");
      await sleep(1);
      await pool.close();
      await call;
      await ready;
    }));
});
