/** Which thread runs a vCPU: the same as the last time, since a change of it costs milliseconds on many kernels (native/vcpu_threads.h). */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { MicroVM } from "../support/barecell.ts";
import { imageOf } from "../support/modules.ts";

const image = await imageOf(
  "busy",
  `(module (func (export "busy") (param i32) (result i32) (local i32)
    (loop $l (local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 1103515245)) (local.get 0)))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 1)))`,
);
const TURNS = 3_000_000;

/** Nanoseconds on a processor, of each vCPU thread (proc(5), /proc/pid/schedstat). */
function cpuTimes(): Map<string, number> {
  const tasks = "/proc/self/task";
  const times = readdirSync(tasks).flatMap((id): [string, number][] => {
    if (readFileSync(`${tasks}/${id}/comm`, "utf8") !== "barecell-vcpu\n") return [];
    return [[id, Number(readFileSync(`${tasks}/${id}/schedstat`, "utf8").split(" ")[0])]];
  });
  return new Map(times);
}

/** The thread that worked most meanwhile. */
async function busiest(run: () => Promise<unknown>): Promise<string | undefined> {
  const before = cpuTimes();
  await run();
  const gains = [...cpuTimes()].map(([id, time]) => [id, time - (before.get(id) ?? 0)] as const);
  return gains.sort(([, a], [, b]) => b - a)[0]?.[0];
}

describe("asynchronous calls", () => {
  it("of a VM are run by one thread, whatever others do in between", async () => {
    const vms = await Promise.all(Array.from({ length: 4 }, () => MicroVM.boot(image, { boot: "direct" })));
    try {
      const call = (vm: MicroVM) => () => vm.call("busy", TURNS);
      // At once, so that each has a thread of its own from here on.
      await Promise.all(vms.map((vm) => vm.call("busy", 10 * TURNS)));
      const threads: (string | undefined)[] = [];
      for (const vm of vms) threads.push(await busiest(call(vm)));
      expect(threads).not.toContain(undefined);
      expect(new Set(threads).size).toBe(vms.length);
      for (const order of [
        [3, 1, 0, 2],
        [0, 0, 3, 1],
        [2, 3, 2, 0],
      ]) {
        for (const i of order) expect(await busiest(call(vms[i] as MicroVM))).toBe(threads[i]);
      }
    } finally {
      for (const vm of vms) vm.dispose();
    }
  });
  it("take another thread rather than wait for the one they had", async () => {
    const [a, b] = [await MicroVM.boot(image), await MicroVM.boot(image)];
    try {
      // Booted one after the other, so on the same thread.
      const first = await busiest(() => a.call("busy", TURNS));
      expect(await busiest(() => b.call("busy", TURNS))).toBe(first);
      const before = cpuTimes();
      // The first is far from its end when the second is asked for, also where this thread has to wait for a processor in between.
      await Promise.all([a.call("busy", 30 * TURNS), b.call("busy", TURNS)]);
      const worked = [...cpuTimes()].filter(([id, time]) => time - (before.get(id) ?? 0) > 1e6);
      expect(worked.length).toBeGreaterThan(1);
    } finally {
      a.dispose();
      b.dispose();
    }
  });
});
