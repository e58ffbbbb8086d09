/** How fast compiled code runs: every kernel in a VM, in one that counts fuel, as native code and in V8, in turns. */
import { execFile, execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { compile, MicroVM } from "barecell";
import { type CoreMark, measureCoreMark } from "../coremark.ts";
import { inProject } from "../paths.ts";
import { type Measurement, nowUs, type Scenario, type Settings, sampleCount } from "../scenario.ts";
import { geometricMean, percentile } from "../statistics.ts";

/** An entry of bench/kernels/kernels.json. */
interface Kernel {
  readonly name: string;
  readonly n: number;
  readonly checksum: number;
  readonly quickN: number;
  readonly quickChecksum: number;
}

/** Why these: bench/kernels/README.md. */
const NATIVE_FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno"];

/** Milliseconds of one run. */
type Side = (n: number) => Promise<{ readonly ms: number; readonly checksum: number }>;

interface KernelSamples {
  readonly vm: number[];
  /** In a VM whose code counts fuel. */
  readonly metered: number[];
  readonly native: number[];
  readonly v8: number[];
}

const kernelPath = (...parts: string[]): string => inProject("bench", "kernels", ...parts);

async function measure(settings: Settings): Promise<Measurement> {
  const kernels = JSON.parse(readFileSync(kernelPath("kernels.json"), "utf8")) as Kernel[];
  const rounds = sampleCount(settings, 9, 2);
  const samples = new Map<string, KernelSamples>();
  for (const [i, kernel] of kernels.entries()) {
    settings.progress(`${kernel.name} (${i + 1} of ${kernels.length})`);
    samples.set(kernel.name, await measureKernel(kernel, rounds, settings));
  }
  const coreMark = settings.quick ? null : await measureCoreMark(settings);
  return describe(samples, rounds, coreMark);
}

async function measureKernel(kernel: Kernel, rounds: number, settings: Settings): Promise<KernelSamples> {
  const [n, checksum] = settings.quick ? [kernel.quickN, kernel.quickChecksum] : [kernel.n, kernel.checksum];
  const module = readFileSync(kernelPath("wasm", `${kernel.name}.wasm`));
  const boot = async (metering: boolean): Promise<MicroVM> =>
    MicroVM.bootSync(await compile(module, { cache: false, metering }), {
      timeoutMs: Number.POSITIVE_INFINITY,
    });
  using vm = await boot(false);
  using metered = await boot(true);
  const sides: Readonly<Record<keyof KernelSamples, Side>> = {
    vm: timed((count) => vm.callSync("kernel_run", count)),
    metered: timed((count) => metered.callSync("kernel_run", count)),
    native: nativeSide(kernel.name, settings),
    v8: v8Side(module),
  };
  const taken: KernelSamples = { vm: [], metered: [], native: [], v8: [] };
  // Two warm-up rounds: the first touches memory, and V8 compiles twice, fast first and well later.
  for (let round = -2; round < rounds; round++) {
    for (const side of ["native", "vm", "metered", "v8"] as const) {
      const run = await sides[side](n);
      if (run.checksum !== checksum) {
        throw new Error(`${kernel.name}, ${side}: checksum ${run.checksum} instead of ${checksum}`);
      }
      if (round >= 0) taken[side].push(run.ms);
    }
  }
  return taken;
}

/** WebAssembly's i32 comes as a signed number; the checksum is unsigned. */
function timed(run: (n: number) => unknown): Side {
  return async (n) => {
    const begin = nowUs();
    const result = run(n);
    return { ms: (nowUs() - begin) / 1000, checksum: Number(result) >>> 0 };
  };
}

function nativeSide(name: string, settings: Settings): Side {
  const program = join(settings.scratch, name);
  const sources = [kernelPath("native", "main.c"), kernelPath(`${name}.c`)];
  execFileSync(process.env["CC"] ?? "cc", [...NATIVE_FLAGS, "-o", program, ...sources]);
  return async (n) => {
    // Twice in a process: the first run pays for the first touch of its memory, as the warm-up does for the others.
    const { stdout } = await promisify(execFile)(program, [String(n), "2"]);
    const [checksum = Number.NaN, ns = Number.NaN] = (stdout.trim().split("\n")[1] ?? "")
      .split(" ")
      .map(Number);
    return { ms: ns / 1e6, checksum };
  };
}

function v8Side(module: Uint8Array<ArrayBuffer>): Side {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module), {});
  const run = instance.exports["kernel_run"] as (n: number) => number;
  return timed(run);
}

function describe(
  samples: ReadonlyMap<string, KernelSamples>,
  rounds: number,
  coreMark: CoreMark | null,
): Measurement {
  const all = [...samples.values()];
  // One sample is one round over all kernels, as their geometric mean: so p50 / floor.p50 is the mean of ratios, in which no kernel
  // counts for more because it runs for longer.
  const perRound = (side: keyof KernelSamples): number[] =>
    Array.from({ length: rounds }, (_, round) =>
      geometricMean(all.map((kernel) => kernel[side][round] ?? 0)),
    );
  const kernels = Object.fromEntries(
    [...samples].map(([name, kernel]) => {
      const best = speeds(kernel, (list) => Math.min(...list));
      return [name, { ...speeds(kernel, (list) => percentile(list, 0.5)), best }];
    }),
  );
  const { speedOfNative, speedOfV8, meteringPrice } = meanSpeeds(Object.values(kernels));
  const best = meanSpeeds(Object.values(kernels).map((kernel) => kernel.best));
  const slowest = Object.entries(kernels)
    .sort(([, a], [, b]) => a.best.speedOfNative - b.best.speedOfNative)
    .slice(0, 3)
    .map(([name, kernel]) => `${name} ${kernel.best.speedOfNative.toFixed(2)}`);
  const dearest = Object.entries(kernels)
    .sort(([, a], [, b]) => b.best.meteringPrice - a.best.meteringPrice)
    .slice(0, 3)
    .map(([name, kernel]) => `${name} ${kernel.best.meteringPrice.toFixed(2)}`);
  return {
    unit: "ms (geometric mean)",
    samples: perRound("vm"),
    floor: perRound("native"),
    details: {
      warmUpRounds: 2,
      speedOfNative,
      speedOfV8,
      vsV8: 1 / speedOfV8,
      meteringPrice,
      best,
      kernels,
      coreMark,
      kernelSamples: Object.fromEntries(samples),
    },
    notes: [
      `${speedOfNative.toFixed(2)} times the speed of native code, ${speedOfV8.toFixed(2)} times that of V8 (geometric means of ${all.length} kernels)`,
      `best rounds: ${best.speedOfNative.toFixed(2)} and ${best.speedOfV8.toFixed(2)}; slowest against native: ${slowest.join(", ")}`,
      `with metering ${meteringPrice.toFixed(3)} times as long, best rounds ${best.meteringPrice.toFixed(3)}; dearest: ${dearest.join(", ")}`,
      coreMark
        ? `CoreMark ${coreMark.vm.toFixed(0)} iterations/s, ${(coreMark.vm / coreMark.v8).toFixed(2)} times V8's ${coreMark.v8.toFixed(0)}`
        : "CoreMark not measured (a quick run, or its file is not there)",
    ],
  };
}

interface Speeds {
  /** Above 1 where the VM is faster. */
  readonly speedOfNative: number;
  readonly speedOfV8: number;
  /** How much longer it takes where fuel is counted, as a factor. */
  readonly meteringPrice: number;
}

/** @param figure of a side's samples: their median, or their best, which other work on the machine cannot spoil so easily */
function speeds(kernel: KernelSamples, figure: (samples: readonly number[]) => number) {
  const [vmMs, nativeMs, v8Ms] = [figure(kernel.vm), figure(kernel.native), figure(kernel.v8)];
  const meteredMs = figure(kernel.metered);
  return {
    ...{ vmMs, meteredMs, nativeMs, v8Ms },
    speedOfNative: nativeMs / vmMs,
    speedOfV8: v8Ms / vmMs,
    meteringPrice: meteredMs / vmMs,
  };
}

function meanSpeeds(kernels: readonly Speeds[]): Speeds {
  return {
    speedOfNative: geometricMean(kernels.map((kernel) => kernel.speedOfNative)),
    speedOfV8: geometricMean(kernels.map((kernel) => kernel.speedOfV8)),
    meteringPrice: geometricMean(kernels.map((kernel) => kernel.meteringPrice)),
  };
}

export const compute: Scenario = {
  name: "compute",
  title: "the kernels of bench/kernels in a VM; the floor is the same C, compiled natively",
  measure,
};
