// The attack that no guest of one vCPU can make by itself: mailbox and linear memory change while the host reads them. Another thread of this process
// writes to them, through /proc/self/mem, where the addon has them mapped; nothing in the addon knows of it. Started by racing.test.ts.
import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

/** Host address of guest-physical 0 of the only live VM of an image: from where its first mapping of the image's memory file lies. */
function physicalBase({ segments, magicGpa, magic }) {
  const memory = openSync("/proc/self/mem", "r");
  try {
    for (const line of readFileSync("/proc/self/maps", "utf8").split("\n")) {
      const [, from, until, offset] = /^(\w+)-(\w+) \S+ (\w+) .*memfd:barecell-image/.exec(line) ?? [];
      if (from === undefined) continue;
      for (const { fileOffset, physical } of segments) {
        const place = BigInt(`0x${from}`) + BigInt(fileOffset) - BigInt(`0x${offset}`);
        if (place < BigInt(`0x${from}`) || place >= BigInt(`0x${until}`)) continue;
        const base = place - BigInt(physical);
        const word = Buffer.alloc(8);
        if (readSync(memory, word, 0, 8, base + BigInt(magicGpa)) === 8 && word.readBigUInt64LE() === magic)
          return base;
      }
    }
  } finally {
    closeSync(memory);
  }
  throw new Error("no VM's memory was found in /proc/self/maps");
}

/** A generator of its own, so that a failure can be run again (xorshift). */
function random(seed) {
  let state = BigInt(seed) | 1n;
  return () => {
    state ^= BigInt.asUintN(64, state << 13n);
    state ^= state >> 7n;
    state ^= BigInt.asUintN(64, state << 17n);
    return state;
  };
}

/** As the values of the storm in cases/host-calls.ts: addresses in memory, small numbers, numbers near 2^32, anything. */
function hostileWord(next) {
  const word = next();
  return [word, word & 0x1ffffn, word & 7n, word | 0xffffffc0n][Number(next() & 3n)];
}

/** The racing thread: single words, each with one system call, until it is told to stop. */
function race({ base, seed, flag, header, slots, linear }) {
  const stop = new Int32Array(flag);
  const memory = openSync("/proc/self/mem", "r+");
  const next = random(seed);
  const word = Buffer.alloc(8);
  let writes = 0;
  while (Atomics.load(stop, 0) === 0) {
    const choice = Number(next() & 7n);
    const [place, size] = choice < 3 ? header : choice < 6 ? slots : linear;
    word.writeBigUInt64LE(hostileWord(next));
    // A number: user addresses have 47 bits, and Node takes no bigint here.
    writeSync(memory, word, 0, 8, Number(base) + place + Number(next() % BigInt(size / 8)) * 8);
    writes++;
  }
  closeSync(memory);
  return writes;
}

async function main({ url, bytes, options, layout, rounds, seed, good }) {
  const api = await import(url);
  const image = api.Image.fromBytes(bytes);
  const outcomes = {};
  let writes = 0;
  let largest = 0;
  let output = 0;
  for (let round = 0; round < rounds; round++) {
    const vm = api.MicroVM.bootSync(image, options);
    const flag = new SharedArrayBuffer(4);
    const base = physicalBase(layout);
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { base, seed: seed + round, flag, ...layout },
    });
    await new Promise((resolve) => worker.once("online", resolve));
    const done = new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    // On this thread, while the other one writes.
    for (let i = 0; i < 40 && vm.state === "ready"; i++) {
      let outcome;
      try {
        outcome = String(
          vm.callSync(i % 4 === 3 ? "grow" : "victim", ...(i % 4 === 3 ? [1] : [])) !== undefined,
        );
      } catch (error) {
        outcome = error.name === "BarecellError" ? error.code : `not coded: ${error.stack}`;
      }
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    Atomics.store(new Int32Array(flag), 0, 1);
    writes += await done;
    await worker.terminate();
    largest = Math.max(largest, vm.memory.byteLength);
    output = Math.max(output, vm.stdout().length + vm.stderr().length);
    vm.dispose();
  }
  const neighbour = api.MicroVM.bootSync(api.Image.fromBytes(good), options);
  const fresh = [neighbour.callSync("good", 5), neighbour.callSync("victim")];
  neighbour.dispose();
  process.send({ outcomes, writes, largest, output, fresh }, () => process.disconnect());
}

if (isMainThread) process.once("message", main);
else parentPort.postMessage(race(workerData));
