// Runs in a worker thread: copies input to output once, says so, and then floods until it is terminated.
import { parentPort, workerData } from "node:worker_threads";

const { MicroVM, Image } = await import(workerData.url);
const image = await Image.load(workerData.imagePath);
const timeoutMs = Number.POSITIVE_INFINITY;
const chunks = [];
async function* input() {
  yield "a worker's ";
  yield "input";
}
const copier = await MicroVM.boot(image, {
  wasi: { stdin: input(), stdout: (chunk) => void chunks.push(chunk) },
  timeoutMs,
});
await copier.start();
async function* endless() {
  for (;;) yield "x".repeat(1000);
}
const stdout = () => new Promise((resolve) => setImmediate(resolve));
const flooding = await MicroVM.boot(image, { wasi: { stdout }, timeoutMs });
void flooding.call("flood", 1, 100_000, 1_000_000);
const copying = await MicroVM.boot(image, { wasi: { stdin: endless(), stdout }, timeoutMs });
void copying.start();
parentPort.postMessage(Buffer.concat(chunks).toString());
