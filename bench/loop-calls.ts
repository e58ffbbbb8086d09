/**
 * A process that makes fresh-state calls as fast as it can: each order says for how many milliseconds. Started by the scenario `throughput`, and by itself as
 * worker threads.
 */
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Image, MicroVM, Pool } from "barecell";
import { answerOrders } from "./helper-orders.ts";
import { type Call, callOnce, check } from "./subject.ts";

export interface LoopTask {
  readonly path: string;
  readonly call: Call;
  /** Reset and call by turns in a VM of each of so many threads; or calls of a pool with as many VMs, by one thread. */
  readonly way: "threads" | "pool";
  readonly count: number;
}

export interface Loop {
  readonly calls: number;
  readonly elapsedUs: number;
}

function loopSync(vm: MicroVM, call: Call, forMs: number): Loop {
  const begin = performance.now();
  let calls = 0;
  let now = begin;
  while (now - begin < forMs) {
    vm.resetSync();
    callOnce(vm, call);
    calls++;
    now = performance.now();
  }
  return { calls, elapsedUs: (now - begin) * 1000 };
}

async function serveThreads(task: LoopTask): Promise<void> {
  const workers = Array.from(
    { length: task.count },
    () => new Worker(new URL(import.meta.url), { workerData: task }),
  );
  const answer = async (worker: Worker): Promise<unknown> => {
    const [message] = await once(worker, "message");
    return message;
  };
  await Promise.all(workers.map(answer));
  await answerOrders(async (forMs) => {
    const loops = workers.map(answer);
    for (const worker of workers) worker.postMessage(forMs);
    return JSON.stringify(await Promise.all(loops));
  });
  await Promise.all(workers.map((worker) => worker.terminate()));
}

async function beWorker({ path, call }: LoopTask): Promise<void> {
  const vm = MicroVM.bootSync(await Image.load(path), { boot: "direct" });
  callOnce(vm, call);
  parentPort?.on("message", (forMs: number) => parentPort?.postMessage(loopSync(vm, call, forMs)));
  parentPort?.postMessage("ready");
}

async function servePool({ path, call, count }: LoopTask): Promise<void> {
  await using pool = new Pool(await Image.load(path), { min: count, max: count });
  await pool.ready();
  await answerOrders(async (forMs) => {
    const begin = performance.now();
    let calls = 0;
    const client = async (): Promise<void> => {
      while (performance.now() - begin < forMs) {
        check(call, await pool.call(call.name, ...call.args));
        calls++;
      }
    };
    await Promise.all(Array.from({ length: count }, client));
    const loop: Loop = { calls, elapsedUs: (performance.now() - begin) * 1000 };
    return JSON.stringify([loop]);
  });
}

if (!isMainThread) {
  await beWorker(workerData as LoopTask);
} else {
  const task = JSON.parse(process.argv[2] ?? "") as LoopTask;
  await (task.way === "threads" ? serveThreads(task) : servePool(task));
}
