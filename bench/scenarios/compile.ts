/** How long it takes from a module to the first result: small and large ones, compiled anew and from the cache. */
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type CompileOptions, type CompileStep, compile, type Image, MicroVM } from "barecell";
import { inProject } from "../paths.ts";
import {
  interleave,
  type Measurement,
  nowUs,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { geometricMean, summarize } from "../statistics.ts";

/** Modules beside the project, which not everybody has; a size that was not found is left out, and said so. */
const LARGER = [
  ["150 KB", "../shared/data/wasi/wasi-testsuite/rust/fd_readdir.wasm"],
  ["200 KB", "../shared/data/bench/sightglass/bz2/benchmark.wasm"],
] as const;
const SMALL = ["small", "examples/add/add.wasm"] as const;

interface Case {
  readonly name: string;
  readonly path: string;
  readonly options: CompileOptions;
}

async function measure(settings: Settings): Promise<Measurement> {
  const missing: string[] = [];
  const modules = [SMALL, ...LARGER].flatMap(([name, place]) => {
    const path = inProject(...place.split("/"));
    if (statSync(path, { throwIfNoEntry: false })) return [{ name, path }];
    missing.push(name);
    return [];
  });
  const cases: Case[] = modules.flatMap(({ name, path }) => [
    { name: `${name}, anew`, path, options: {} },
    { name: `${name}, anew, quick`, path, options: { optimize: "quick" } },
  ]);
  const cache = join(settings.scratch, "cache");
  const times = new Map<string, number[]>();
  const steps = new Map<string, Map<string, number[]>>();
  // What belongs to no module (the guest's runtime) is in the cache before the first sample.
  settings.progress("warming up");
  for (const module of modules.slice(0, settings.quick ? 1 : undefined)) {
    await compile(readFileSync(module.path), { cache });
  }
  const rounds = sampleCount(settings, 5, 1);
  const used = settings.quick ? cases.slice(0, 2) : cases;
  await interleave(
    rounds,
    1,
    [
      ...used.map(({ name, path, options }) => async () => {
        const bytes = readFileSync(path);
        const own = steps.get(name) ?? new Map<string, number[]>();
        steps.set(name, own);
        let [step, since]: [CompileStep | undefined, number] = [undefined, nowUs()];
        const begin = since;
        const image = await compile(bytes, {
          ...options,
          // The name of the image is not cached, the runtime is.
          name: `${name} ${begin}`,
          cache,
          onProgress(next) {
            const now = nowUs();
            if (step) push(own, step, (now - since) / 1000);
            [step, since] = [next, now];
          },
        });
        boot(image);
        push(times, name, (nowUs() - begin) / 1000);
      }),
      ...modules.slice(0, settings.quick ? 1 : undefined).map(({ name, path }) => async () => {
        const begin = nowUs();
        boot(await compile(readFileSync(path), { cache }));
        push(times, `${name}, from the cache`, (nowUs() - begin) / 1000);
      }),
    ],
    (done) => settings.progress(`${done} of ${rounds}`),
  );
  rmSync(cache, { recursive: true, force: true });
  const p50s = [...times].map(([name, samples]) => [name, summarize(samples).p50] as const);
  const anew = used.map(({ name }) => times.get(name) ?? []);
  return {
    unit: "ms (geometric mean)",
    samples: Array.from({ length: rounds }, (_, round) =>
      geometricMean(anew.map((samples) => samples[round] ?? Number.NaN)),
    ),
    floor: null,
    details: {
      p50s: Object.fromEntries(p50s),
      samples: Object.fromEntries(times),
      stepsP50: Object.fromEntries(
        [...steps].map(([name, own]) => [
          name,
          Object.fromEntries([...own].map(([step, samples]) => [step, summarize(samples).p50])),
        ]),
      ),
      missing,
    },
    notes: [
      ...p50s.map(([name, p50]) => `${name}: ${p50.toFixed(0)} ms to a booted VM`),
      ...(missing.length > 0 ? [`not there, so not measured: ${missing.join(", ")}`] : []),
    ],
  };
}

function boot(image: Image): void {
  MicroVM.bootSync(image, { unknownImports: "default", maxMemoryBytes: 2 ** 30 }).dispose();
}

function push(into: Map<string, number[]>, name: string, value: number): void {
  const samples = into.get(name);
  if (samples) samples.push(value);
  else into.set(name, [value]);
}

export const compileModules: Scenario = {
  name: "compile",
  title: "from a module's bytes to a booted VM: compiled anew at two levels, and from the cache",
  measure,
};
