/** VMs in worker threads, and the end of threads and processes that have live VMs and running calls. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, it } from "vitest";
import { BARECELL_URL, MicroVM } from "../support/barecell.ts";
import { isSvm, slowness, soon } from "../support/environment.ts";
import { imageOf } from "../support/modules.ts";

const image = await imageOf(
  "processes",
  `(module (import "env" "zero" (func $zero (result i32))) (memory 1)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "trap") unreachable)
    (func (export "hosts") (loop $l (drop (call $zero)) (br $l)))
    (func (export "loop") (loop $l (br $l))))`,
);
const folder = mkdtempSync(join(tmpdir(), "barecell-processes-"));
const imagePath = join(folder, "processes.cell");
await image.save(imagePath);
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

function runProcess(scenario: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL("process.mjs", import.meta.url));
    const child = spawn(process.execPath, [script, scenario, BARECELL_URL, imagePath], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const late = setTimeout(() => child.kill("SIGKILL"), 20_000 * slowness);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(late);
      resolve({ code, signal, stderr });
    });
  });
}

describe("the end of a process", () => {
  it.each([
    ["live VMs", 0],
    ["live VMs, collected", 0],
    ["exit during calls", 7],
    ["exit in the same turn as a call", 7],
    ["exit during a boot", 7],
    ["SIGTERM, handled, during a call", 9],
    ["disposal by a finally block", 3],
    ["a worker terminated in a loop, then the end", 4],
    ["exit while a worker loops", 6],
  ])("%s: exit status %i, silently", async (scenario, code) => {
    // Several times: what goes wrong at an exit goes wrong now and then.
    for (let i = 0; i < (isSvm ? 1 : 3); i++)
      expect(await runProcess(scenario)).toEqual({ code, signal: null, stderr: "" });
  });
  it.each([
    ["uncaught error during calls", "on purpose"],
    ["a rejection that nobody handles", "BARECELL_TRAP_UNREACHABLE"],
  ])("%s: Node's own exit status and message", async (scenario, message) => {
    const { code, signal, stderr } = await runProcess(scenario);
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain(message);
  });
  it("SIGTERM during calls ends it by the signal", async () => {
    expect(await runProcess("SIGTERM during calls")).toEqual({ code: null, signal: "SIGTERM", stderr: "" });
  });
});

interface Started {
  readonly worker: Worker;
  readonly results: Promise<unknown>;
  readonly looping: Promise<void>;
  readonly exit: Promise<number>;
}

function startWorker(vms: number, afterwards: string): Started {
  const worker = new Worker(new URL("worker.mjs", import.meta.url), {
    workerData: { url: BARECELL_URL, image: imagePath, vms, afterwards, slowness },
  });
  const fails = new Promise<never>((_, reject) => worker.on("error", reject));
  fails.catch(() => {});
  const message = <T>(wanted: (message: Record<string, unknown>) => T | undefined): Promise<T> =>
    Promise.race([
      fails,
      new Promise<T>((resolve) =>
        worker.on("message", (found: Record<string, unknown>) => {
          const value = wanted(found);
          if (value !== undefined) resolve(value);
        }),
      ),
    ]);
  return {
    worker,
    results: message((found) => found["results"]),
    looping: message((found) => (found["looping"] ? true : undefined)).then(() => undefined),
    exit: new Promise((resolve) => worker.on("exit", resolve)),
  };
}

describe("worker threads", () => {
  it("boot and call in several at once, beside the main thread", async () => {
    const workers = Array.from({ length: 4 }, (_, i) => startWorker(3, i % 2 ? "dispose" : "leave"));
    const vm = await MicroVM.boot(image, { unknownImports: "default" });
    for (let i = 0; i < 50; i++) expect(await vm.call("add", i, 1)).toBe(i + 1);
    for (const { results, exit } of workers) {
      expect(await soon("a worker's results", results)).toEqual([42, 3, 42, 3, 42, 3]);
      expect(await soon("the end of a worker", exit)).toBe(0);
    }
    vm.dispose();
  });
  // A callSync blocks the worker's own thread, and only its deadline ends it; terminate() waits for that, as for any native call.
  it("terminated while guests run: the thread ends, the process lives on", async () => {
    for (let i = 0; i < (isSvm ? 2 : 5); i++) {
      const { worker, looping, exit } = startWorker(4, "loop");
      await soon("the loop", looping);
      await soon("the termination", worker.terminate());
      await soon("the end of the worker", exit);
      const vm = await MicroVM.boot(image, { unknownImports: "default" });
      expect(await vm.call("add", 1, 1)).toBe(2);
      vm.dispose();
    }
  });
  it("terminated at any moment", async () => {
    for (let i = 0; i < (isSvm ? 4 : 12); i++) {
      const { worker, exit } = startWorker(6, "loop");
      await new Promise((resolve) => setTimeout(resolve, i * 12 * slowness));
      await soon("the termination", worker.terminate());
      await soon("the end of the worker", exit);
    }
    const vm = await MicroVM.boot(image, { unknownImports: "default" });
    expect(await vm.call("add", 1, 1)).toBe(2);
    vm.dispose();
  });
  it("a worker that exits by itself during calls", async () => {
    const { exit } = startWorker(3, "exit");
    expect(await soon("the end of the worker", exit)).toBe(5);
  });
});
