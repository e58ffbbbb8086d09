/** How long a module of 10 MB takes to compile, and how much memory all processes of it hold at most. */
import { readFileSync, statSync } from "node:fs";
import { compile, MicroVM } from "barecell";
import { processTree, proportionalBytes } from "../isolation/process-memory.ts";
import { enlarge } from "../large-module.ts";
import { inProject } from "../paths.ts";
import { type Measurement, nowUs, type Scenario, type Settings, sampleCount } from "../scenario.ts";

/** Beside the project, which not everybody has; in its place comes a small one from the project. */
const SOURCES = [
  "../shared/data/wasi/wasi-testsuite/rust/fd_readdir.wasm",
  "bench/kernels/wasm/json.wasm",
] as const;
const LOOK_EVERY_MS = 250;

async function measure(settings: Settings): Promise<Measurement> {
  const pathOf = (name: string): string => inProject(...name.split("/"));
  // By its name in the project: a result is for others, and where the project lies is nobody's business.
  const source = SOURCES.find((name) => statSync(pathOf(name), { throwIfNoEntry: false }));
  if (!source) throw new Error("none of the modules to make a large one of is there");
  const module = enlarge(readFileSync(pathOf(source)), settings.quick ? 300_000 : 10 * 2 ** 20);
  const samples: number[] = [];
  const peaks: number[] = [];
  let imageBytes = 0;
  for (let run = 0; run < sampleCount(settings, 1, 1); run++) {
    settings.progress(`${module.length} bytes, run ${run + 1}`);
    let peak = 0;
    const look = setInterval(() => {
      peak = Math.max(peak, proportionalBytes(processTree(process.pid)));
    }, LOOK_EVERY_MS);
    const begin = nowUs();
    try {
      const image = await compile(module, { cache: false });
      samples.push((nowUs() - begin) / 1e6);
      imageBytes = image.bytes.length;
      MicroVM.bootSync(image, { unknownImports: "default", maxMemoryBytes: 2 ** 30 }).dispose();
    } finally {
      clearInterval(look);
    }
    peaks.push(peak);
  }
  return {
    unit: "s",
    samples,
    floor: null,
    details: { moduleBytes: module.length, imageBytes, peakBytes: peaks, lookEveryMs: LOOK_EVERY_MS, source },
    notes: [
      `${(module.length / 2 ** 20).toFixed(1)} MiB of module, ${(imageBytes / 2 ** 20).toFixed(1)} MiB of image, at most ${(Math.max(...peaks) / 2 ** 20).toFixed(0)} MiB of memory in all processes (this one included)`,
    ],
  };
}

export const compileLarge: Scenario = {
  name: "compile-large",
  title: "a module of 10 MB compiled anew, as many processes as the machine has processors",
  measure,
};
