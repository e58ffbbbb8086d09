/** A worker thread of a soak run: does assignments, and between two of them holds no VM and no image. */
import { parentPort } from "node:worker_threads";
import { Image } from "../support/barecell.ts";
import { hostRun } from "./host-run.ts";
import { type Assignment, addEnds, type SoakGuest, type Summary } from "./messages.ts";
import { oneRun } from "./one-run.ts";
import { Random } from "./random.ts";

const MAX_FAILURES = 20;

async function work({ seed, runs, vms, guests }: Assignment): Promise<Summary> {
  const choices = new Random(seed);
  const images = new Map<SoakGuest, Image>();
  const ends: Record<string, number> = {};
  const failures: string[] = [];
  let begun = 0;
  let done = 0;
  const lane = async (): Promise<void> => {
    while (begun < runs && failures.length < MAX_FAILURES) {
      begun++;
      const guest = choices.pick(guests);
      const runSeed = choices.below(2 ** 32);
      const image = images.get(guest) ?? Image.fromBytes(guest.bytes);
      images.set(guest, image);
      const run = guest.callsHost && choices.chance(0.5) ? hostRun : oneRun;
      const { end, failure } = await run(guest, image, new Random(runSeed));
      addEnds(ends, { [end]: 1 });
      if (failure !== undefined) failures.push(failure);
      done++;
    }
  };
  await Promise.all(Array.from({ length: vms }, lane));
  return { runs: done, ends, failures };
}

parentPort?.on("message", async (assignment: Assignment) => {
  let summary: Summary;
  try {
    summary = await work(assignment);
  } catch (error) {
    const text = error instanceof Error ? error.stack : String(error);
    summary = { runs: 0, ends: {}, failures: [`the worker itself failed: ${text}`] };
  }
  // Images hold a descriptor each until they are collected.
  await new Promise((resolve) => setImmediate(resolve));
  globalThis.gc?.();
  await new Promise((resolve) => setImmediate(resolve));
  parentPort?.postMessage(summary);
});
parentPort?.postMessage("ready");
