/** The worker of peers/worker-threads.ts: runs one workload, says what came of it, and ends, unless it is to stay. */
import { parentPort, workerData } from "node:worker_threads";
import { nowUs } from "./clock.ts";
import { instantiate } from "./wasm-instance.ts";

interface Task {
  readonly module: WebAssembly.Module;
  readonly n: number;
  readonly input: Uint8Array | null;
  readonly callsHost: boolean;
  readonly stays: boolean;
}

const task = workerData as Task;
const instance = instantiate(task.module, task);
const readyAtUs = nowUs();
parentPort?.postMessage({ readyAtUs, ...instance.run() });
// A listener keeps a worker alive.
if (task.stays) parentPort?.on("message", () => {});
