// Runs as a process of its own and ends in the way that its first argument says. Plain JavaScript, so that Node runs it as it is.
import { Worker } from "node:worker_threads";

const [scenario, url, imagePath] = process.argv.slice(2);
const { MicroVM, Image } = await import(url);
const image = await Image.load(imagePath);
const boot = () => MicroVM.boot(image, { unknownImports: "default", timeoutMs: Number.POSITIVE_INFINITY });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const scenarios = {
  async "live VMs"() {
    for (let i = 0; i < 5; i++) await (await boot()).call("add", i, i);
  },
  async "live VMs, collected"() {
    for (let i = 0; i < 200; i++) await (await boot()).call("add", i, i);
  },
  async "exit during calls"() {
    for (const name of ["loop", "hosts", "loop"]) void (await boot()).call(name).catch(() => {});
    await sleep(20);
    process.exit(7);
  },
  async "exit in the same turn as a call"() {
    const vm = await boot();
    void vm.call("loop").catch(() => {});
    process.exit(7);
  },
  async "exit during a boot"() {
    void boot();
    process.exit(7);
  },
  async "uncaught error during calls"() {
    void (await boot()).call("loop").catch(() => {});
    await sleep(10);
    throw new Error("on purpose");
  },
  async "a rejection that nobody handles"() {
    const vm = await boot();
    void vm.call("trap");
    await sleep(10_000);
  },
  async "SIGTERM during calls"() {
    for (const name of ["loop", "hosts"]) void (await boot()).call(name).catch(() => {});
    process.kill(process.pid, "SIGTERM");
    await sleep(10_000);
  },
  async "SIGTERM, handled, during a call"() {
    const vm = await boot();
    const running = vm.call("loop").catch((error) => error.code);
    process.once("SIGTERM", () => vm.dispose());
    process.kill(process.pid, "SIGTERM");
    process.exitCode = (await running) === "BARECELL_DISPOSED" ? 9 : 1;
  },
  async "disposal by a finally block"() {
    const vm = await boot();
    try {
      await vm.call("trap");
    } catch (error) {
      process.exitCode = error.code === "BARECELL_TRAP_UNREACHABLE" ? 3 : 1;
    } finally {
      vm.dispose();
    }
  },
  async "a worker terminated in a loop, then the end"() {
    const worker = new Worker(new URL("worker.mjs", import.meta.url), {
      workerData: { url, image: imagePath, vms: 3, afterwards: "loop", slowness: 1 },
    });
    await new Promise((resolve) => worker.on("message", (message) => message.looping && resolve()));
    await worker.terminate();
    const vm = await boot();
    process.exitCode = (await vm.call("add", 4, 4)) === 8 ? 4 : 1;
  },
  async "exit while a worker loops"() {
    const worker = new Worker(new URL("worker.mjs", import.meta.url), {
      workerData: { url, image: imagePath, vms: 3, afterwards: "loop", slowness: 1 },
    });
    await new Promise((resolve) => worker.on("message", (message) => message.looping && resolve()));
    process.exit(6);
  },
};
await scenarios[scenario]();
