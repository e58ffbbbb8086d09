// Runs hostile images in a process of their own and reports what came of each. Plain JavaScript, so that Node runs it as it is. Started by
// run-hostile.ts with an IPC channel; whatever happens here must leave the parent untouched, and this process alive too.
import { readdirSync, readlinkSync } from "node:fs";

/** File descriptors of VMs and vCPUs that this process has open. */
function kvmDescriptors() {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return /kvm-(vm|vcpu)/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false; // the descriptor of the listing itself
    }
  }).length;
}

function describe(error) {
  return {
    code: error.code,
    message: error.message,
    frames: error.backtrace?.map((frame) => frame.name),
    isCoded: error.name === "BarecellError",
  };
}

async function attempt(run) {
  try {
    return { value: await run() };
  } catch (error) {
    return { error: describe(error) };
  }
}

async function runCase(api, hostile, good) {
  const report = { name: hostile.name };
  try {
    const image = api.Image.fromBytes(hostile.bytes);
    const vm = await api.MicroVM.boot(image, hostile.options);
    report.calls = [];
    for (const [name, ...args] of hostile.calls)
      report.calls.push(await attempt(() => vm.call(name, ...args)));
    report.memory = vm.memory.read(0, 64);
    await vm[Symbol.asyncDispose]();
  } catch (error) {
    report.boot = describe(error);
  }
  // A neighbour that did nothing wrong.
  report.fresh = await attempt(async () => {
    const vm = await api.MicroVM.boot(good, hostile.options);
    const value = [await vm.call("good", 5), await vm.call("victim")];
    await vm[Symbol.asyncDispose]();
    return value;
  });
  report.kvmDescriptors = kvmDescriptors();
  return report;
}

process.once("message", async ({ url, good, cases }) => {
  const api = await import(url);
  const goodImage = api.Image.fromBytes(good);
  for (const hostile of cases) process.send(await runCase(api, hostile, goodImage));
  process.disconnect();
});
