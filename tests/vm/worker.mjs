// Runs in a worker thread: boots VMs and calls them as its workerData say. Plain JavaScript, so that Node runs it as it is.
import { parentPort, workerData } from "node:worker_threads";

const { MicroVM, Image } = await import(workerData.url);
const image = await Image.load(workerData.image);
const vms = [];
for (let i = 0; i < workerData.vms; i++) {
  const vm = await MicroVM.boot(image, {
    unknownImports: "default",
    timeoutMs: 60_000 * workerData.slowness,
  });
  vms.push(vm);
}
const results = [];
for (const vm of vms) results.push(await vm.call("add", 20, 22), vm.callSync("add", 1, 2));
parentPort.postMessage({ results });
switch (workerData.afterwards) {
  case "loop":
    // The parent terminates us while these run.
    for (const vm of vms) void vm.call("loop").catch(() => {});
    parentPort.postMessage({ looping: true });
    break;
  case "exit":
    for (const vm of vms) void vm.call("loop").catch(() => {});
    process.exit(5);
    break;
  case "dispose":
    for (const vm of vms) vm.dispose();
    break;
  case "leave":
    break; // ends with live VMs
}
