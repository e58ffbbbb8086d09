/** CoreMark as WebAssembly, in a VM and in V8. The program is no part of the project; it is measured where it is present. */
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { compile, isBarecellError, MicroVM } from "barecell";
import { testData } from "./paths.ts";
import type { Settings } from "./scenario.ts";
import { percentile } from "./statistics.ts";

/** Iterations per second, as the program prints them (p50 over the rounds). */
export interface CoreMark {
  readonly vm: number;
  readonly v8: number;
  readonly samples: { readonly vm: readonly number[]; readonly v8: readonly number[] };
}

/** One run takes 12 to 20 s: the program itself sees to more than 10. */
const ROUNDS = 3;

export async function measureCoreMark(settings: Settings): Promise<CoreMark | null> {
  const path = testData("bench", "wasm3", "coremark", "coremark.wasm");
  if (!existsSync(path)) return null;
  const module = readFileSync(path);
  settings.progress("CoreMark: compiling");
  const image = await compile(module, { cache: false });
  const vm: number[] = [];
  const v8: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    settings.progress(`CoreMark, round ${round + 1} of ${ROUNDS}`);
    using machine = MicroVM.bootSync(image, {
      wasi: { args: ["coremark"], stdout: "capture" },
      timeoutMs: Number.POSITIVE_INFINITY,
    });
    try {
      machine.callSync("_start");
    } catch (error) {
      if (!isBarecellError(error) || error.exitCode !== 0) throw error;
    }
    vm.push(score(new TextDecoder().decode(machine.stdout())));
    v8.push(score(await runInV8(module, join(settings.scratch, "coremark.out"))));
  }
  return { vm: percentile(vm, 0.5), v8: percentile(v8, 0.5), samples: { vm, v8 } };
}

async function runInV8(module: Uint8Array<ArrayBuffer>, outputPath: string): Promise<string> {
  // Not at the top of the file: importing it prints a warning, in every scenario.
  const { WASI } = await import("node:wasi");
  const stdout = openSync(outputPath, "w+");
  try {
    const wasi = new WASI({ version: "preview1", args: ["coremark"], env: {}, stdout, returnOnExit: true });
    const imports = { wasi_snapshot_preview1: wasi.wasiImport };
    wasi.start(new WebAssembly.Instance(new WebAssembly.Module(module), imports as WebAssembly.Imports));
  } finally {
    closeSync(stdout);
  }
  return readFileSync(outputPath, "utf8");
}

/** @throws if the program's own check of its results failed */
function score(output: string): number {
  const found = /^Iterations\/Sec\s*:\s*([\d.]+)/m.exec(output)?.[1];
  if (found === undefined || !output.includes("Correct operation validated")) {
    throw new Error(`CoreMark did not come to a valid result:\n${output}`);
  }
  return Number(found);
}
