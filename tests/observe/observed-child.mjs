// Run as a process or a worker thread by isolation.test.ts: what must not be done in the tests' own process. Plain JavaScript, so that Node runs it as it is.
import { subscribe } from "node:diagnostics_channel";
import { setTimeout as sleep } from "node:timers/promises";
import { isMainThread, parentPort, workerData } from "node:worker_threads";

const [url, imagePath, what] = isMainThread ? process.argv.slice(2) : workerData;
const { Image, MicroVM, metrics } = await import(url);
const image = await Image.load(imagePath);
const boot = { imports: { env: { host: (_context, _a, b) => b } }, wasi: {} };
const tell = (message) =>
  isMainThread ? process.stdout.write(`${JSON.stringify(message)}\n`) : parentPort.postMessage(message);

const scripts = {
  /** Every listener throws. */
  async throwing() {
    let uncaught = 0;
    process.on("uncaughtException", (error) => {
      if (error.message !== "listener") throw error;
      uncaught++;
    });
    const fail = () => {
      throw new Error("listener");
    };
    for (const name of ["boot", "call", "host-call"]) {
      for (const step of ["start", "end", "asyncStart", "asyncEnd", "error"])
        subscribe(`tracing:barecell:${name}:${step}`, fail);
    }
    for (const name of ["trap", "kill", "trace"]) subscribe(`barecell:${name}`, fail);
    const codes = [];
    const results = [];
    for (const vm of [
      await MicroVM.boot(image, { ...boot, trace: fail }),
      MicroVM.bootSync(image, { ...boot, trace: fail }),
    ]) {
      results.push(String(vm.callSync("host", 1, 5n, 1)), String(await vm.call("host", 1, 6n, 1)));
      await vm.call("loop", { timeoutMs: 20 }).catch((error) => codes.push(error.code));
      vm.dispose();
    }
    const vm = await MicroVM.boot(image, boot);
    await vm.call("trap").catch((error) => codes.push(error.code));
    vm.dispose();
    await sleep(50);
    tell({ results, codes, uncaught });
  },
  /** What was counted by a VM that is collected without dispose(). */
  async collected() {
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const count = 8;
    for (let i = 0; i < count; i++) {
      const vm = MicroVM.bootSync(image, { ...boot, trace: () => {} });
      vm.callSync("yield", 5);
      registry.register(vm, i);
    }
    for (let i = 0; i < 200 && collected < count - 1; i++) {
      globalThis.gc();
      await sleep(10);
    }
    globalThis.gc();
    await sleep(50);
    tell({ collected, hostCalls: metrics().hostCalls });
  },
  /** A thread's own metrics and traces. */
  async own() {
    const records = [];
    const before = metrics();
    const vm = await MicroVM.boot(image, { ...boot, trace: ({ name }) => records.push(name) });
    await vm.call("yield", 2);
    vm.callSync("yield", 1);
    vm.dispose();
    tell({
      before: [before.boots, before.calls],
      after: [metrics().boots, metrics().calls],
      records,
      hostCalls: metrics().hostCalls,
    });
  },
  /** The thread is ended while a guest waits for its trace to be read. */
  async blocked() {
    const vm = await MicroVM.boot(image, { ...boot, trace: () => {} });
    vm.call("yield_forever").catch(() => {});
    tell({ running: true });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
  },
};
await scripts[what]();
