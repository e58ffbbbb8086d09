/** Listeners that throw, VMs that are forgotten, and threads: in processes and workers of their own. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterAll, expect, it } from "vitest";
import { BARECELL_URL, metrics } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { observedGuest as guest } from "../support/observed-guest.ts";

const child = fileURLToPath(new URL("observed-child.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "barecell-observe-"));
const image = join(folder, "observed.cell");
writeFileSync(image, guest.bytes);
afterAll(() => rmSync(folder, { recursive: true }));

async function inProcess(what: string): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--expose-gc",
    child,
    BARECELL_URL,
    image,
    what,
  ]);
  return JSON.parse(stdout) as Record<string, unknown>;
}

it("listeners that throw break no call, and are reported as uncaught exceptions", async () => {
  const { results, codes, uncaught } = await inProcess("throwing");
  expect(results).toEqual(["5", "6", "5", "6"]);
  expect(codes).toEqual(["BARECELL_TIMEOUT", "BARECELL_TIMEOUT", "BARECELL_TRAP_UNREACHABLE"]);
  // Of the channels, and of the option `trace`, for each of its four records.
  expect(uncaught).toBeGreaterThan(30);
});

it("a VM that is forgotten can be collected, and what it counted is not lost", async () => {
  const { collected, hostCalls } = await inProcess("collected");
  // The last one may still be on the stack.
  expect(collected).toBeGreaterThanOrEqual(7);
  expect(hostCalls).toEqual({ "wasi_snapshot_preview1.sched_yield": 40 });
});

it("a worker has metrics and traces of its own", async () => {
  const before = metrics();
  const worker = new Worker(child, { workerData: [BARECELL_URL, image, "own"] });
  const message = await soon("the worker", new Promise((resolve) => worker.once("message", resolve)));
  await worker.terminate();
  expect(message).toEqual({
    before: [0, 0],
    after: [1, 2],
    records: ["sched_yield", "sched_yield", "sched_yield"],
    hostCalls: { "wasi_snapshot_preview1.sched_yield": 3 },
  });
  expect(metrics()).toEqual(before);
});

it("a worker can be ended while a guest waits for its trace to be read", async () => {
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(child, { workerData: [BARECELL_URL, image, "blocked"] });
    await soon("the worker", new Promise((resolve) => worker.once("message", resolve)));
    // The first time while the guest still fills the buffer.
    await sleep(i * 500);
    await soon("its end", worker.terminate());
  }
});
