/** A thread with a V8 heap of its own for each request. */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { type Peer, type Prepared, type Program, type Sample, Stopped } from "./peer.ts";
import { nowUs } from "./support/clock.ts";

/** From the worker: when it began to run the workload's code, CLOCK_MONOTONIC, and what came of it. */
interface Answer {
  readonly readyAtUs: number;
  readonly result: number;
  readonly output: Uint8Array | null;
}

const SCRIPT = new URL("./support/wasm-worker.js", import.meta.url);

interface Running {
  readonly worker: Worker;
  readonly answer: Promise<Answer>;
  readonly ended: Promise<void>;
}

function start(module: WebAssembly.Module, { n, input, callsHost }: Program, stays: boolean): Running {
  const worker = new Worker(SCRIPT, { workerData: { module, n, input, callsHost, stays } });
  const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  const answer = new Promise<Answer>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (status) => reject(new Error(`the worker ended without an answer (${status})`)));
  });
  // Whoever stops it has no interest in the answer.
  answer.catch(() => {});
  return { worker, answer, ended };
}

async function prepare(program: Program): Promise<Prepared> {
  const module = new WebAssembly.Module(readFileSync(program.wasmPath));
  return {
    async request(limitMs): Promise<Sample> {
      const begin = nowUs();
      const { worker, answer, ended } = start(module, program, false);
      let isStopped = false;
      const terminate = (): void => {
        isStopped = true;
        void worker.terminate();
      };
      const timer = limitMs === undefined ? undefined : setTimeout(terminate, limitMs);
      try {
        const { readyAtUs, result, output } = await answer;
        const resultUs = nowUs() - begin;
        await ended;
        return { readyUs: readyAtUs - begin, resultUs, endUs: nowUs() - begin, result, output };
      } catch (error) {
        await ended;
        throw isStopped ? new Stopped("terminated") : error;
      } finally {
        clearTimeout(timer);
      }
    },
    async hold(count) {
      const workers = Array.from({ length: count }, () => start(module, program, true));
      await Promise.all(workers.map(({ answer }) => answer));
      return async () => {
        await Promise.all(workers.map(({ worker }) => worker.terminate()));
      };
    },
    async dispose() {},
  };
}

export const peer: Peer = {
  name: "worker-threads",
  title: "worker_threads, a new worker for each request",
  order: 0,
  wall: "thread",
  includes:
    "starting the thread, its V8 isolate and Node's environment; a WebAssembly.Instance; the call; a message with the result",
  leavesOut: "compiling the module: workers share the compiled code",
  async available() {
    return { version: `Node ${process.versions.node}` };
  },
  prepare,
};
