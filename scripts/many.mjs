// Makes many idle VMs in worker processes, says what that took, calls some of them, ends them, and says what is left.
//   npm run many -- [--vms 10000] [--processes N] [--calls 500] [--leave-mib 3072] [--json]
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { WorkerPool, compile } = await import(new URL("../dist/index.js", import.meta.url).href);

const { values } = parseArgs({
  options: {
    vms: { type: "string", default: "10000" },
    processes: { type: "string" },
    calls: { type: "string", default: "500" },
    // Where less than this is available the run stops: other programs need memory too.
    "leave-mib": { type: "string", default: "3072" },
    json: { type: "boolean", default: false },
  },
});
const vms = Number(values.vms);
const sampled = Number(values.calls);
const KIB = 1024;

function fieldsOf(path) {
  const lines = readFileSync(path, "utf8").matchAll(/^(\w+):\s+(\d+) kB$/gm);
  return Object.fromEntries([...lines].map(([, name, kib]) => [name, Number(kib) * KIB]));
}

/** Where the kernel keeps what belongs to VMs and threads. */
const KERNEL = ["SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "VmallocUsed", "Percpu"];
const machine = () => fieldsOf("/proc/meminfo");

/** What the processes have of their own, or their part of what they share. */
function memoryOf(pids) {
  const sum = { pssBytes: 0, descriptors: 0, mappings: 0, threads: 0 };
  for (const pid of pids) {
    sum.pssBytes += fieldsOf(`/proc/${pid}/smaps_rollup`).Pss;
    sum.descriptors += readdirSync(`/proc/${pid}/fd`).length;
    sum.mappings += readFileSync(`/proc/${pid}/maps`, "utf8").split("\n").length - 1;
    sum.threads += readdirSync(`/proc/${pid}/task`).length;
  }
  return sum;
}

/** All mappings of image files: what the VMs see of them, and what that takes of memory. */
function imagePages(pids) {
  const sum = { rssBytes: 0, pssBytes: 0, writtenBytes: 0 };
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps`, "utf8");
    for (const [, block] of text.matchAll(/memfd:barecell-image[^\n]*\n((?:\w+:.*\n)+)/g)) {
      const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(block)?.[1] ?? 0) * KIB;
      sum.rssBytes += kib("Rss");
      sum.pssBytes += kib("Pss");
      sum.writtenBytes += kib("Anonymous");
    }
  }
  return sum;
}

const image = await compile(fileURLToPath(new URL("../examples/add/add.wasm", import.meta.url)));
const before = machine();
const options = { min: vms, max: vms, idleMs: Number.POSITIVE_INFINITY };
if (values.processes !== undefined) options.processes = Number(values.processes);
const started = performance.now();
const pool = new WorkerPool(image, options);
let isReady = false;
async function guardMemory() {
  while (!isReady) {
    const { MemAvailable } = machine();
    if (MemAvailable < Number(values["leave-mib"]) * 2 ** 20) {
      const { ready } = pool.metrics;
      await pool.close();
      process.stderr.write(`stopped at ${ready} VMs: only ${MemAvailable >> 20} MiB are available\n`);
      process.exit(1);
    }
    if (!values.json) process.stderr.write(`\r${pool.metrics.ready} VMs ready `);
    await sleep(500);
  }
}
await Promise.all([
  guardMemory(),
  pool.ready().finally(() => {
    isReady = true;
  }),
]);
const readyMs = performance.now() - started;
if (!values.json) process.stderr.write("\n");
const pids = [...pool.pids];
const held = machine();
const workers = memoryOf(pids);
const pages = imagePages([...pids.slice(0, 2)]);

const call = async (i) => {
  const begun = performance.now();
  const result = await pool.call("add", i, 1);
  if (result !== i + 1) throw new Error(`add(${i}, 1) gave ${result}`);
  return performance.now() - begun;
};
const latencies = [];
for (let i = 0; i < sampled; i++) latencies.push(await call(i));
latencies.sort((a, b) => a - b);
// And side by side, in as many VMs.
const burstStarted = performance.now();
await Promise.all(Array.from({ length: sampled }, (_, i) => call(i)));
const burstMs = performance.now() - burstStarted;

const closeStarted = performance.now();
await pool.close();
const closeMs = performance.now() - closeStarted;
// Memory of dead processes comes back a moment later.
await sleep(1000);
const after = machine();
const alive = pids.filter((pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
});

const delta = (key) => held[key] - before[key];
const kernel = Object.fromEntries(KERNEL.map((key) => [key, Math.round(delta(key) / vms)]));
const availableBytes = before.MemAvailable - held.MemAvailable;
const result = {
  vms,
  processes: pids.length,
  readyMs: Math.round(readyMs),
  perVm: {
    readyUs: Math.round((readyMs / vms) * 1000),
    pssBytes: Math.round(workers.pssBytes / vms),
    kernelBytes: kernel,
    availableBytes: Math.round(availableBytes / vms),
    descriptors: Number((workers.descriptors / vms).toFixed(2)),
    mappings: Number((workers.mappings / vms).toFixed(2)),
  },
  perProcess: {
    pssBytes: Math.round(workers.pssBytes / pids.length),
    threads: Math.round(workers.threads / pids.length),
  },
  imagePagesOfTwoProcesses: pages,
  calls: {
    one: {
      p50Us: Math.round(latencies[sampled >> 1] * 1000),
      p99Us: Math.round(latencies[Math.floor(sampled * 0.99)] * 1000),
    },
    burst: { calls: sampled, ms: Math.round(burstMs) },
  },
  closeMs: Math.round(closeMs),
  left: { processes: alive.length, availableBytes: before.MemAvailable - after.MemAvailable },
};
if (values.json) {
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} else {
  const kib = (bytes) => `${(bytes / KIB).toFixed(0)} KiB`;
  const { perVm, perProcess, calls, left } = result;
  process.stdout.write(`${vms} VMs ready in ${pids.length} processes after ${(readyMs / 1000).toFixed(1)} s (${perVm.readyUs} µs a VM)
each VM:      ${kib(perVm.availableBytes)} less available; of that ${kib(perVm.pssBytes)} are the processes' (PSS)
              the kernel's: ${KERNEL.map((key) => `${key} ${kib(kernel[key])}`).join(", ")}
              ${perVm.descriptors} descriptors, ${perVm.mappings} mappings
each process: ${kib(perProcess.pssBytes)} PSS, ${perProcess.threads} threads
image pages of two processes: ${kib(pages.rssBytes)} mapped, ${kib(pages.pssBytes)} their part of it (PSS), ${kib(pages.writtenBytes)} written
calls:        one after the other p50 ${calls.one.p50Us} µs, p99 ${calls.one.p99Us} µs; ${sampled} at once ${calls.burst.ms} ms
closed in ${(closeMs / 1000).toFixed(1)} s; left: ${left.processes} processes, ${kib(left.availableBytes)} of memory
`);
}
