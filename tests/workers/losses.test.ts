/** Workers that are killed, die, hang or cannot start, at any moment: their calls say so, others go on, and another worker takes the place. */
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { type BarecellError, WorkerPool } from "../support/barecell.ts";
import { slowness, soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { HOST_MODULE, isAlive, one, two, until, withWorkers } from "./guest.ts";

const kill = (pid: number | undefined, signal: NodeJS.Signals = "SIGKILL"): void => {
  if (pid === undefined) throw new Error("no worker to kill");
  process.kill(pid, signal);
};

/** Channels to workers are sockets; other descriptors of this process may come and go with the test runner. */
function sockets(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      return false;
    }
  }).length;
}

/** Processes that this one started and has not seen the end of. */
function children(): string[] {
  return readdirSync("/proc/self/task").flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
}

describe("kill -9", () => {
  it("while idle: another takes the place, with its VMs", () =>
    withWorkers(one, { min: 4, max: 4, processes: 2 }, async (pool) => {
      await pool.ready();
      const [first, second] = pool.pids;
      kill(first);
      await until("the loss", () => pool.metrics.workersLost === 1);
      expect(await pool.call("count")).toBe(101);
      await until("the replacement", () => pool.metrics.ready === 4);
      expect(pool.pids).toContain(second);
      expect(pool.pids).not.toContain(first);
      await pool.ready();
    }));

  it("during a call: that says how the worker ended, and those that wait go elsewhere", () =>
    withWorkers(one, { max: 2, processes: 2 }, async (pool) => {
      await pool.ready();
      const lost = failure(() => pool.call("wait", 60_000), "BARECELL_WORKER_LOST");
      const [victim] = pool.pids;
      await until("both workers", () => pool.metrics.workers === 2);
      const other = pool.call("wait", 300);
      const waiting = Array.from({ length: 5 }, () => pool.call("answer"));
      // The first call went to the worker that has a VM ready, which is the first.
      kill(victim);
      const error = await lost;
      expect(error.message).toContain("SIGKILL");
      expect((error.cause as Error).message).toContain("SIGKILL");
      expect(await other).toBe(1);
      expect(await Promise.all(waiting)).toEqual([1, 1, 1, 1, 1]);
    }));

  it("during the start and the boots: ready() waits for the next one", () =>
    withWorkers(one, { min: 20, max: 20 }, async (pool) => {
      kill(pool.pids[0]);
      await soon("ready after a kill at the start", pool.ready());
      expect(pool.metrics).toMatchObject({ ready: 20, workersLost: 1 });
    }));

  it("while closing, in the middle of a call", async () => {
    const pool = new WorkerPool(one, { max: 2, processes: 2, hostModule: HOST_MODULE });
    await pool.ready();
    const lost = failure(() => pool.call("wait", 60_000), "BARECELL_WORKER_LOST");
    await sleep(50);
    const closing = pool.close();
    for (const pid of pool.pids) kill(pid);
    await lost;
    await soon("closing", closing);
    expect(pool.pids).toEqual([]);
  });
});

describe("a worker", () => {
  it("that ends itself: its exit status is in the error", () =>
    withWorkers(one, { max: 1 }, async (pool) => {
      const error = await failure(() => pool.call("die"), "BARECELL_WORKER_LOST");
      expect(error.message).toContain("exited with status 42");
      expect(await pool.call("answer")).toBe(1);
    }));

  it.each([
    ["is stopped", async (pool: WorkerPool) => kill(pool.pids[0], "SIGSTOP"), "answer"],
    ["holds up its thread", async () => {}, "block"],
  ] as const)("that %s is killed and replaced", (_, before, name) =>
    withWorkers(one, { max: 1, unresponsiveMs: 300 * slowness }, async (pool) => {
      await pool.ready();
      const [victim] = pool.pids;
      await before(pool);
      const error = await failure(() => pool.call(name, { timeoutMs: 200 }), "BARECELL_WORKER_LOST");
      expect(error.message).toMatch(/did not answer|not over long after its time limit/);
      expect(error.message).toContain("SIGKILL");
      expect(isAlive(victim as number)).toBe(false);
      expect(await pool.call("answer")).toBe(1);
    }),
  );

  it("that is slow, and answers when it is asked, is left alone", () =>
    withWorkers(one, { max: 1, unresponsiveMs: 250 * slowness }, async (pool) => {
      expect(await pool.call("wait", 1500 * slowness, { timeoutMs: Number.POSITIVE_INFINITY })).toBe(1);
      expect(pool.metrics.workersLost).toBe(0);
    }));

  it("is not blamed for what held up the thread of its pool", () =>
    withWorkers(one, { max: 1, unresponsiveMs: 250 * slowness }, async (pool) => {
      await pool.ready();
      for (let i = 0; i < 3; i++) {
        const call = pool.call("answer", { timeoutMs: 100 });
        const end = performance.now() + 1000 * slowness;
        while (performance.now() < end);
        expect(await call).toBe(1);
      }
      expect(pool.metrics.workersLost).toBe(0);
    }));

  it.each([
    ["throws", "throw new RangeError('bad day')", /bad day/],
    ["is no JavaScript", "export default {", /cannot load/],
    ["exports nothing", "export const other = 1", /no default export/],
    ["gives no options", "export default () => 5", /gave no boot options/],
    ["throws for an image", "export default (name) => { throw new Error('not ' + name) }", /not workers-one/],
  ])("whose host module %s", async (_, source, message) => {
    await withWorkers(one, { hostModule: moduleFile(source) }, async (pool) => {
      const waiting = failure(() => pool.call("answer"), "BARECELL_HOST_MODULE_FAILED");
      const error = await failure(() => pool.ready(), "BARECELL_HOST_MODULE_FAILED");
      expect(error.message).toMatch(message);
      await waiting;
    });
  });

  it("whose host module ends the process, again and again: nobody waits forever", async () => {
    await withWorkers(one, { hostModule: moduleFile("process.exit(3)") }, async (pool) => {
      const waiting = failure(() => pool.call("answer"), "BARECELL_WORKER_LOST");
      const error = await failure(() => pool.ready(), "BARECELL_WORKER_LOST");
      expect(error.message).toContain("exited with status 3");
      await waiting;
    });
  });
});

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

function moduleFile(source: string): URL {
  const folder = mkdtempSync(join(tmpdir(), "barecell-host-module-"));
  folders.push(folder);
  const path = join(folder, "host.mjs");
  writeFileSync(path, source);
  return pathToFileURL(path);
}

/** Repeatable, so that a run that fails can be had again. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

it.each([1, 2])(
  "random kills, seed %i: every call has its answer or its reason, and nothing is left",
  async (seed) => {
    const before = { sockets: sockets(), children: children().length };
    const choose = random(seed);
    const outcomes: Record<string, number> = {};
    const seen = new Set<number>();
    const pool = new WorkerPool(
      { one: { image: one, min: 2 }, two },
      { max: 6, processes: 3, hostModule: HOST_MODULE, queueTimeoutMs: Number.POSITIVE_INFINITY },
    );
    let isOver = false;
    let answers = 0;
    // Some in the middle of their start, some after a while of work: by answers, so that a slow machine sees all sorts too.
    const killer = async (): Promise<void> => {
      const end = performance.now() + 4_000;
      for (let kills = 0; kills < 12 && performance.now() < end; kills++) {
        const goal = choose(3) === 0 ? answers : answers + choose(40);
        while (answers < goal && performance.now() < end) await sleep(2);
        await sleep(choose(20));
        const { pids } = pool;
        for (const pid of pids) seen.add(pid);
        const victim = pids[choose(pids.length)];
        if (victim !== undefined) process.kill(victim, "SIGKILL");
      }
      isOver = true;
    };
    const caller = async (): Promise<void> => {
      while (!isOver) {
        const kind = choose(5);
        const part = pool.image(kind % 2 ? "one" : "two");
        const signal = kind === 4 ? AbortSignal.timeout(1 + choose(20)) : undefined;
        const [wanted, run] =
          kind === 0
            ? [kind % 2 ? 1 : 2, part.call("wait", choose(20))]
            : kind === 1
              ? ["BARECELL_TRAP_UNREACHABLE", part.call("trap")]
              : kind === 4
                ? ["BARECELL_CANCELLED", part.call("spin", { signal })]
                : [101, part.call("count")];
        const result = await run.catch((error: BarecellError) => error.code);
        if (result !== "BARECELL_WORKER_LOST") answers++;
        outcomes[String(result)] = (outcomes[String(result)] ?? 0) + 1;
        expect([wanted, "BARECELL_WORKER_LOST"]).toContain(result);
      }
    };
    const work = [killer(), ...Array.from({ length: 8 }, caller)];
    await soon("all calls", Promise.all(work));
    expect(pool.metrics.workersLost).toBeGreaterThan(2);
    expect(outcomes["101"]).toBeGreaterThan(0);
    expect(outcomes["BARECELL_WORKER_LOST"]).toBeGreaterThan(0);
    expect(pool.metrics).toMatchObject({ running: 0, waiting: 0 });
    // The last kill may not have been noticed yet.
    await until("all workers", () => pool.metrics.workers === 3 && pool.pids.every(isAlive));
    expect(await soon("a call afterwards", pool.image("one").call("count"))).toBe(101);
    for (const pid of pool.pids) seen.add(pid);
    await soon("closing", pool.close());
    for (const pid of seen) expect(isAlive(pid)).toBe(false);
    await until("the end of all channels", () => sockets() <= before.sockets);
    expect(children().length).toBe(before.children);
  },
  60_000,
);
