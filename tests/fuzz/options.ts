/** The command line of the fuzzer. */
import { parseArgs } from "node:util";
import type { CompileSettings } from "./engines/vm.ts";
import type { GeneratorName } from "./harness/batch.ts";

export const USAGE = `usage: npm run fuzz:diff -- [--seed N] [--count N] [--minutes N] [--jobs N] [--out DIR] [--opt 0..3]
                               [--generator own|binaryen|both] [--target host|x86-64-v2|x86-64-v3] [--batch N] [--reduce SECONDS]
  --seed N       the first unit's seed; the next units take the next ones. Default: from the clock
  --count N      units to run (a unit is a module with what it imports). Default 500, unlimited with --minutes
  --minutes N    ends after the batch that passes this time
  --jobs N       processes. Default 1: compiling uses all processors by itself
  --out DIR      where a case is saved. Default build/fuzz
  --opt 0..3     level of the C compiler. Default: 2 for most batches, any for some
  --generator    which modules. Default both
  --target       processor level. Default: host for most batches, x86-64-v2 for some
  --batch N      units in an image. Default 24
  --reduce S     seconds to spend on making a case small. Default 300
`;

export class UsageError extends Error {}

export interface FuzzOptions {
  readonly seed: number;
  readonly count: number;
  readonly minutes: number;
  readonly jobs: number;
  readonly out: string;
  /** Undefined: it changes from batch to batch. */
  readonly optimize: CompileSettings["optimize"] | undefined;
  /** Undefined: it changes from batch to batch. */
  readonly targetCpu: CompileSettings["targetCpu"] | undefined;
  readonly generator: GeneratorName;
  readonly batch: number;
  readonly reduceSeconds: number;
}

export const MAX_SEED = 2 ** 32 - 1;

export function parseOptions(args: string[]): FuzzOptions | "help" {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: "string" },
      count: { type: "string" },
      minutes: { type: "string" },
      jobs: { type: "string" },
      out: { type: "string", default: "build/fuzz" },
      opt: { type: "string" },
      generator: { type: "string", default: "both" },
      target: { type: "string" },
      batch: { type: "string" },
      reduce: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const number = (name: keyof typeof values, fallback: number, min: number, max: number): number => {
    const text = values[name];
    if (text === undefined) return fallback;
    const value = Number(text);
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw new UsageError(`--${name} takes a whole number from ${min} to ${max}, not '${text}'`);
  };
  const minutes = number("minutes", 0, 1, 100_000);
  return {
    seed: number("seed", Date.now() % 2 ** 31, 0, MAX_SEED),
    count: number("count", minutes > 0 ? Number.POSITIVE_INFINITY : 500, 1, MAX_SEED),
    minutes: minutes > 0 ? minutes : Number.POSITIVE_INFINITY,
    jobs: number("jobs", 1, 1, 256),
    out: values.out,
    optimize: values.opt === undefined ? undefined : (number("opt", 2, 0, 3) as CompileSettings["optimize"]),
    targetCpu:
      values.target === undefined
        ? undefined
        : oneOf("target", values.target, ["host", "x86-64-v2", "x86-64-v3"]),
    generator: oneOf("generator", values.generator, ["own", "binaryen", "both"]),
    batch: number("batch", 24, 1, 500),
    reduceSeconds: number("reduce", 300, 0, 100_000),
  };
}

function oneOf<const T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found !== undefined) return found;
  throw new UsageError(`--${name} takes one of ${allowed.join(", ")}, not '${value}'`);
}
