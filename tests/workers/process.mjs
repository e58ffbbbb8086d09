// Runs as a process of its own, makes a pool of worker processes and ends in the way that its first argument says. Prints the workers' numbers first.
import { Worker } from "node:worker_threads";

const [scenario, url, imagePath, hostModule] = process.argv.slice(2);
const { WorkerPool, Image } = await import(url);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const image = await Image.load(imagePath);
const open = (options = {}) =>
  new WorkerPool(image, { min: 2, max: 4, processes: 2, hostModule, ...options });
const say = (pool) => process.stdout.write(`workers ${pool.pids.join(" ")}\n`);

async function ready(options) {
  const pool = open(options);
  await pool.ready();
  say(pool);
  return pool;
}

const scenarios = {
  async "the end without close"() {
    await ready();
  },
  async "the end at once"() {
    say(open());
  },
  async "a call that nobody awaits is finished"() {
    const pool = open();
    say(pool);
    void pool.call("wait", 200).then(() => {
      process.exitCode = 5;
    });
  },
  async "a queued call without a deadline is finished"() {
    const pool = open({ min: 0, max: 1, processes: 1, queueTimeoutMs: Number.POSITIVE_INFINITY });
    say(pool);
    void pool.call("wait", 50);
    void pool.call("wait", 50).then(() => {
      process.exitCode = 5;
    });
  },
  async "close, then the end"() {
    const pool = await ready();
    await pool.close();
  },
  async "exit during calls"() {
    const pool = await ready();
    for (let i = 0; i < 3; i++) void pool.call("spin").catch(() => {});
    await sleep(50);
    process.exit(7);
  },
  async "uncaught error during calls"() {
    const pool = await ready();
    void pool.call("spin").catch(() => {});
    await sleep(50);
    throw new Error("on purpose");
  },
  async "SIGINT to all processes, and a gentle end"() {
    const pool = await ready();
    const running = pool.call("wait", 300);
    await sleep(50);
    process.once("SIGINT", async () => {
      await pool.close();
      process.exitCode = (await running) === 1 && pool.metrics.workersLost === 0 ? 9 : 1;
    });
    process.kill(-process.pid, "SIGINT");
    await running;
  },
  async "to be killed"() {
    const pool = await ready();
    void pool.call("spin", { timeoutMs: 60_000 }).catch(() => {});
    // One whose thread never comes back to see that its channel is closed.
    void pool.call("block", { timeoutMs: 60_000 }).catch(() => {});
    await sleep(100);
    process.stdout.write("kill me\n");
    await sleep(60_000);
  },
  async "a thread with a pool, terminated"() {
    const source = `const { workerData: { url, path, hostModule }, parentPort } = require("node:worker_threads");
      import(url).then(async ({ WorkerPool, Image }) => {
        const pool = new WorkerPool(await Image.load(path), { min: 2, max: 4, processes: 2, hostModule });
        await pool.ready();
        void pool.call("block").catch(() => {});
        setTimeout(() => parentPort.postMessage(pool.pids), 300);
      });`;
    const worker = new Worker(source, { eval: true, workerData: { url, path: imagePath, hostModule } });
    const pids = await new Promise((resolve) => worker.once("message", resolve));
    process.stdout.write(`workers ${pids.join(" ")}\n`);
    await worker.terminate();
    process.stdout.write("terminated\n");
    await sleep(60_000);
  },
};
await scenarios[scenario]();
