// Runs as a process of its own, in the way that its first argument says. Plain JavaScript, so that Node runs it as it is.
import { PassThrough, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";

const [scenario, url, imagePath] = process.argv.slice(2);
const { MicroVM, Image } = await import(url);
const image = await Image.load(imagePath);
const timeoutMs = Number.POSITIVE_INFINITY;
const boot = (wasi) => MicroVM.boot(image, { wasi, timeoutMs });
const MIB = 2 ** 20;
const DATA = 1024;

/** Takes what it is given after a turn of the event loop, and keeps nothing. */
function slow(count) {
  return new Writable({
    write(chunk, _, done) {
      count(chunk.length);
      setImmediate(done);
    },
  });
}

const scenarios = {
  async "a flood through a slow stream"() {
    let bytes = 0;
    let peak = 0;
    const stdout = slow((length) => {
      bytes += length;
      peak = Math.max(peak, process.memoryUsage.rss());
    });
    const vm = await boot({ stdout });
    await vm.call("flood", 1, MIB, 16);
    const before = process.memoryUsage.rss();
    peak = 0;
    bytes = 0;
    await vm.call("flood", 1, MIB, Number(process.argv[5]));
    vm.dispose();
    console.log(JSON.stringify({ bytes, grownMib: Math.round((peak - before) / MIB) }));
  },
  async "standard input that nobody ends, inherited as a stream"() {
    const vm = await boot({ stdin: process.stdin });
    console.log(await vm.call("read", DATA, 5));
    vm.dispose();
  },
  async "standard input that nobody ends, disposed while the guest waits"() {
    const vm = await boot({ stdin: process.stdin });
    await vm.call("read", DATA, 5);
    const running = vm.call("read", DATA, 5).catch((error) => error.code);
    await sleep(30);
    vm.dispose();
    console.log(await running);
  },
  async "an idle VM with streams of all kinds"() {
    const stdin = new PassThrough();
    stdin.write("x".repeat(1000));
    const vm = await boot({ stdin, stdout: new WritableStream(), stderr: () => {} });
    await vm.call("read", DATA, 5);
    await vm.call("write", 1, DATA, 5);
    globalThis.kept = vm;
  },
  async "input that is not read to its end"() {
    async function* endless() {
      for (;;) yield "x".repeat(100_000);
    }
    const vm = await boot({ stdin: endless() });
    console.log(await vm.call("read", DATA, 5));
    globalThis.kept = vm;
  },
  async "a generator that waits for ever"() {
    async function* endless() {
      yield "12345";
      await new Promise(() => {});
    }
    const vm = await boot({ stdin: endless() });
    console.log(await vm.call("read", DATA, 5));
    globalThis.kept = vm;
  },
  async "process.stdout, shared"() {
    console.log("before");
    const vms = await Promise.all(
      Array.from({ length: 20 }, () => boot({ stdout: process.stdout, stderr: process.stdout })),
    );
    for (const vm of vms) await vm.call("write", 1, DATA, 3);
    await Promise.all(vms.map((vm) => vm.call("write", 2, DATA, 1)));
    for (const vm of vms) vm.dispose();
    console.log("\nafter");
  },
  async "process.stdout without a reader"() {
    const vm = await boot({ stdout: process.stdout });
    // The parent closes its end now.
    process.stderr.write("ready\n");
    await sleep(50);
    const code = await vm.call("flood", 1, MIB, 4).catch((error) => `${error.code} ${error.cause?.code}`);
    process.stderr.write(`${code}\n`);
  },
  async "failures that nobody waits for"() {
    const problems = [];
    process.on("unhandledRejection", (error) => problems.push(String(error)));
    process.on("uncaughtException", (error) => problems.push(String(error)));
    const fails = async () => {
      throw new Error("on purpose");
    };
    async function* torn() {
      yield "abc";
      throw new Error("on purpose");
    }
    const targets = () => [
      fails,
      new WritableStream({ write: fails }),
      new Writable({ write: (_, __, done) => done(new Error("on purpose")) }),
      new Writable({ write: (_, __, done) => setImmediate(done, new Error("on purpose")) }),
    ];
    const codes = new Set();
    for (const ending of ["await", "dispose", "dispose at once"]) {
      for (const stdout of targets()) {
        const vm = await boot({ stdin: torn(), stdout });
        const running = vm.start().then(String, (error) => error.code);
        if (ending === "dispose") await sleep(1);
        if (ending !== "await") vm.dispose();
        codes.add(await running);
        vm.dispose();
      }
    }
    await sleep(20);
    console.log(JSON.stringify({ problems, codes: [...codes].sort() }));
  },
  async "VMs that are forgotten"() {
    const { readdirSync } = await import("node:fs");
    const descriptors = () => readdirSync("/proc/self/fd").length;
    const sources = [];
    const sink = slow(() => {});
    const round = async () => {
      const source = new PassThrough();
      source.write("x".repeat(10_000));
      sources.push(source);
      const vm = await boot({ stdin: source, stdout: sink, stderr: sink });
      await vm.call("read", DATA, 1);
      await vm.call("alternate", 3);
    };
    const collect = async () => {
      for (let i = 0; i < 10; i++) {
        globalThis.gc();
        await sleep(5);
      }
    };
    for (let i = 0; i < 5; i++) await round();
    await collect();
    const before = descriptors();
    for (let i = 0; i < 40; i++) await round();
    await collect();
    console.log(JSON.stringify({ more: Math.max(0, descriptors() - before), sources: sources.length }));
  },
  async "exit during a flood"() {
    const vm = await boot({ stdout: slow(() => {}) });
    void vm.call("flood", 1, MIB, 1_000_000);
    await sleep(30);
    process.exit(7);
  },
  async "workers terminated during floods"() {
    for (let i = 0; i < 6; i++) {
      const worker = new Worker(new URL("worker.mjs", import.meta.url), { workerData: { url, imagePath } });
      await new Promise((resolve) => worker.once("message", resolve));
      await sleep(i * 7);
      await worker.terminate();
    }
    const { readdirSync } = await import("node:fs");
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 6; i++) {
      const worker = new Worker(new URL("worker.mjs", import.meta.url), { workerData: { url, imagePath } });
      await new Promise((resolve) => worker.once("message", resolve));
      await sleep(i * 7);
      await worker.terminate();
    }
    await sleep(50);
    console.log(JSON.stringify({ more: Math.max(0, readdirSync("/proc/self/fd").length - before) }));
  },
};
await scenarios[scenario]();
