// Checks every kernel: native result == result of the committed .wasm in V8 == checksum in kernels.json.
// Prints the best time of both and their ratio (above 1.00: faster than native).
//
//   node bench/kernels/check.mjs [--update] [name…]
//
// --update writes the checksums into kernels.json, after native code and V8 agreed on them.
// Needs Node and a C compiler (CC, or cc).
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

// -ffp-contract=off: WebAssembly has no fused multiply-add, so native code may not use one either.
// -fno-math-errno: lets sqrt be one instruction, as it is in WebAssembly, and needs no libm.
const cflags = ["-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno"];
// Native code and V8 take turns, so that a busy moment of the machine does not hit only one of them.
const turns = 4;
const runsPerTurn = 2;

const here = fileURLToPath(new URL(".", import.meta.url));
const listPath = join(here, "kernels.json");
const list = JSON.parse(readFileSync(listPath, "utf8"));
const args = process.argv.slice(2);
const update = args.includes("--update");
const names = args.filter((arg) => arg !== "--update");
const unknown = names.filter((name) => !list.some((kernel) => kernel.name === name));
if (unknown.length > 0) {
  console.error(`no such kernel: ${unknown.join(", ")}`);
  process.exit(2);
}

const scratch = mkdtempSync(join(tmpdir(), "barecell-kernels-"));
let failures = 0;
const ratios = [];
try {
  for (const kernel of list) {
    if (names.length > 0 && !names.includes(kernel.name)) continue;
    const native = runnerOfNative(kernel.name);
    const v8 = await runnerOfV8(kernel.name);

    const quick = { native: native(kernel.quickN, 1).checksum, v8: v8(kernel.quickN, 1).checksum };
    // V8 compiles twice: fast first, well later. Two full runs bring every kernel to the second.
    v8(kernel.n, 2);
    const runs = { native: [], v8: [] };
    for (let turn = 0; turn < turns; turn += 1) {
      runs.native.push(native(kernel.n, runsPerTurn));
      runs.v8.push(v8(kernel.n, runsPerTurn));
    }
    const full = { native: best(runs.native), v8: best(runs.v8) };

    const agreed = quick.native === quick.v8 && full.native.checksum === full.v8.checksum;
    if (update && agreed) {
      kernel.checksum = full.native.checksum;
      kernel.quickChecksum = quick.native;
    }
    const correct =
      agreed && kernel.checksum === full.native.checksum && kernel.quickChecksum === quick.native;
    if (!correct) failures += 1;
    const ratio = full.native.ms / full.v8.ms;
    ratios.push(ratio);
    console.log(
      `${kernel.name.padEnd(12)} native ${full.native.ms.toFixed(2).padStart(7)} ms   ` +
        `V8 ${full.v8.ms.toFixed(2).padStart(7)} ms   ratio ${ratio.toFixed(2)}   ${correct ? "ok" : "WRONG"}`,
    );
    if (!correct) {
      console.log(`  n: expected ${kernel.checksum}, native ${full.native.checksum}, V8 ${full.v8.checksum}`);
      console.log(`  quickN: expected ${kernel.quickChecksum}, native ${quick.native}, V8 ${quick.v8}`);
    }
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
console.log(`geometric mean of the ratios: ${mean.toFixed(2)}`);
if (update) {
  writeFileSync(listPath, `[\n${list.map((kernel) => `  ${oneLine(kernel)}`).join(",\n")}\n]\n`);
}
process.exitCode = failures === 0 ? 0 : 1;

/** Compiles a kernel; the result runs it `times` times and gives its checksum and best time. */
function runnerOfNative(name) {
  const program = join(scratch, name);
  const sources = [join(here, "native", "main.c"), join(here, `${name}.c`)];
  execFileSync(process.env.CC ?? "cc", [...cflags, "-o", program, ...sources], { stdio: "inherit" });
  return (n, times) => {
    const lines = execFileSync(program, [String(n), String(times)], { encoding: "utf8" })
      .trim()
      .split("\n");
    const runs = lines.map((line) => line.split(" ").map(Number));
    return best(runs.map(([checksum, nanoseconds]) => ({ checksum, ms: nanoseconds / 1e6 })));
  };
}

async function runnerOfV8(name) {
  const { instance } = await WebAssembly.instantiate(readFileSync(join(here, "wasm", `${name}.wasm`)));
  return (n, times) => {
    const runs = [];
    for (let i = 0; i < times; i += 1) {
      const start = performance.now();
      // WebAssembly's i32 comes as a signed number; the checksum is unsigned.
      const checksum = instance.exports.kernel_run(n) >>> 0;
      runs.push({ checksum, ms: performance.now() - start });
    }
    return best(runs);
  };
}

/** The fastest run; a checksum that changes between runs is NaN, which equals nothing. */
function best(runs) {
  const same = runs.every((run) => run.checksum === runs[0].checksum);
  return { checksum: same ? runs[0].checksum : Number.NaN, ms: Math.min(...runs.map((run) => run.ms)) };
}

function oneLine(kernel) {
  return JSON.stringify(kernel)
    .replaceAll(/([{,:])(?=["\d])/g, "$1 ")
    .replace("}", " }");
}
