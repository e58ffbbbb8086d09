// Runs hostile images in a process of their own and reports what came of each. Plain JavaScript, so that Node runs it as it is. Started by
// run-hostile.ts with an IPC channel; whatever happens here must leave the parent untouched, and this process alive too.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What is left is counted after so many cases, since the collection before takes longer than a case. The parent finds the one that left it. */
const CASES_PER_COUNT = 8;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The thread that helps with boots: there is one from some boot on, for the life of the process (native/boot_helper.h). */
function isOfProcess(thread) {
  try {
    return readFileSync(`/proc/self/task/${thread}/comm`, "utf8") === "barecell-boot\n";
  } catch {
    return true; // gone since it was listed
  }
}

/** What this process has open. */
function resources() {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // the descriptor of the listing itself
    }
  });
  return {
    vms: links.filter((link) => /kvm-(vm|vcpu)/.test(link)).length,
    descriptors: links.length,
    threads: readdirSync("/proc/self/task").filter((id) => !isOfProcess(id)).length,
  };
}

/** What there is more of than at first. An image holds a descriptor until it is collected, so collection comes first, and again if need be. */
async function leftSince(before) {
  for (let tries = 0; ; tries++) {
    globalThis.gc();
    await sleep(tries);
    const now = resources();
    const left = Object.fromEntries(
      Object.keys(now).map((key) => [key, Math.max(0, now[key] - before[key])]),
    );
    if (tries > 40 || Object.values(left).every((count) => count === 0)) return left;
  }
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

/** A VM of the untouched image. */
function neighbour(api, good, options) {
  return attempt(async () => {
    const vm = await api.MicroVM.boot(good, options);
    const value = [await vm.call("good", 5), await vm.call("victim")];
    await vm[Symbol.asyncDispose]();
    return value;
  });
}

/** Writes each input to the start of linear memory and calls `victim`, in one VM as long as that can be called. */
function sweep(api, image, { options, goodResult, sweep: { inputs, words } }) {
  const outcomes = [];
  let wrong = 0;
  let vm;
  for (let i = 0; i < inputs.length; i += words) {
    if (vm?.state !== "ready") {
      vm?.dispose();
      vm = api.MicroVM.bootSync(image, options);
    }
    const bytes = new Uint8Array(inputs.buffer, inputs.byteOffset + 8 * i, 8 * words);
    try {
      vm.memory.write(0, bytes);
      outcomes.push(vm.callSync("victim"));
    } catch (error) {
      outcomes.push(error.name === "BarecellError" ? error.code : `not coded: ${error}`);
    }
    if (vm.state === "ready" && (i / words) % 64 === 63 && vm.callSync("good", 9) !== goodResult) wrong++;
  }
  vm?.dispose();
  return { sweep: outcomes, wrong };
}

async function calls(api, image, { options, calls, predecessor }) {
  // On this very thread, so that what the one leaves in the processor would be there for the other.
  const other = predecessor && api.MicroVM.bootSync(api.Image.fromBytes(predecessor), options);
  if (other) await attempt(() => other.callSync("victim"));
  const vm = other ? api.MicroVM.bootSync(image, options) : await api.MicroVM.boot(image, options);
  const attempts = [];
  for (const [name, ...args] of calls) {
    attempts.push(await attempt(() => (other ? vm.callSync(name, ...args) : vm.call(name, ...args))));
  }
  const memory = vm.memory.read(0, Math.min(1024, vm.memory.byteLength));
  const output = [vm.stdout(), vm.stderr()];
  await vm[Symbol.asyncDispose]();
  other?.dispose();
  return { calls: attempts, memory, output };
}

/** A function of its own, so that nothing of its frame keeps the image alive afterwards. */
async function hostileRun(api, job) {
  try {
    const image = api.Image.fromBytes(job.bytes);
    return job.sweep ? sweep(api, image, job) : await calls(api, image, job);
  } catch (error) {
    return { boot: describe(error) };
  }
}

process.once("message", async ({ url, good, jobs }) => {
  const api = await import(url);
  const goodImage = api.Image.fromBytes(good);
  // The addon's one spare VM comes with the second VM; and a vCPU thread is idle only a moment after its call's result is there, so calls one after the
  // other may need one or two more.
  await Promise.all(Array.from({ length: 4 }, () => neighbour(api, goodImage, jobs[0].options)));
  await leftSince(resources());
  const before = resources();
  while (jobs.length > 0) {
    const reports = [];
    for (const job of jobs.splice(0, CASES_PER_COUNT)) {
      const outcome = await hostileRun(api, job);
      reports.push({ name: job.name, ...outcome, fresh: await neighbour(api, goodImage, job.options) });
    }
    const left = await leftSince(before);
    for (const report of reports) {
      // A large report is on its way for a while, and disconnecting would lose it.
      await new Promise((resolve) => process.send({ ...report, left }, resolve));
    }
  }
  process.disconnect();
});
