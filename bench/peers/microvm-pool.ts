/** A pool of one VM that is reset after each answer. */
import { setImmediate as turn } from "node:timers/promises";
import { Pool } from "barecell";
import type { Peer, Prepared, Program, Setting } from "./peer.ts";
import { nowUs } from "./support/clock.ts";
import { addressOfData, bootOptions, callIn, imageOf, MICROVM } from "./support/microvm.ts";

/** All its VMs are clean. */
async function rested(pool: Pool, vms: number): Promise<void> {
  while (pool.metrics.ready < vms) await turn();
}

async function prepare(program: Program, setting: Setting): Promise<Prepared> {
  const image = await imageOf(program, setting);
  const dataAt = addressOfData(image, program);
  const open = async (vms: number): Promise<Pool> => {
    const pool = new Pool(image, { min: vms, max: vms, vm: bootOptions(program, "direct") });
    await pool.ready();
    return pool;
  };
  const pool = await open(1);
  const use = (from: Pool, limitMs?: number) => from.useSync((vm) => callIn(vm, program, dataAt, limitMs));
  return {
    async request(limitMs) {
      const begin = nowUs();
      let answer: ReturnType<typeof callIn>;
      let resultUs: number;
      try {
        answer = use(pool, limitMs);
        resultUs = nowUs() - begin;
      } finally {
        await rested(pool, 1);
      }
      return { readyUs: 0, resultUs, endUs: nowUs() - begin, ...answer };
    },
    // Nothing between two requests: each finds the VM as the last one left it, and cleans it.
    async loop(forMs) {
      const begin = nowUs();
      let requests = 0;
      for (; nowUs() - begin < forMs * 1000; requests++) use(pool);
      await rested(pool, 1);
      return { requests, elapsedUs: nowUs() - begin };
    },
    async hold(count) {
      const held = await open(count);
      // Each gets a VM of its own: none is given back before all are taken.
      await Promise.all(
        Array.from({ length: count }, () => held.use((vm) => callIn(vm, program, dataAt, undefined))),
      );
      await rested(held, count);
      return () => held.close();
    },
    dispose: () => pool.close(),
  };
}

export const peer: Peer = {
  ...MICROVM,
  isAhead: true,
  name: "microvm-pool",
  title: "microVM, warm pool",
  order: 13,
  includes: "taking a clean VM out of the pool; the call; reading the result",
  leavesOut:
    "compiling the module; booting the VM, once for thousands of requests; and cleaning it, which comes after the answer: throughput includes that. Memory is that of VMs that have answered and were cleaned",
  prepare,
};
