/** The command line of the soak run. */
import { parseArgs } from "node:util";

export const USAGE = `usage: npm run soak -- [--minutes N] [--runs N] [--seed S] [--threads N] [--vms N] [--json]
  --minutes N  ends with the round that passes this time
  --runs N     ends after as many runs. Default 100,000, unlimited with --minutes
  --seed S     repeats a run's choices. Default: from the clock
  --threads N  worker threads. Default 2
  --vms N      VMs at once in each thread. Default 3
  --json       one JSON object at the end instead of text
`;

export class UsageError extends Error {}

export interface SoakOptions {
  readonly runs: number;
  readonly minutes: number;
  readonly seed: number;
  readonly threads: number;
  readonly vms: number;
  readonly json: boolean;
}

export const MAX_SEED = 2 ** 32 - 1;
const DEFAULT_RUNS = 100_000;

export function parseOptions(args: string[]): SoakOptions | "help" {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: "string" },
      runs: { type: "string" },
      seed: { type: "string" },
      threads: { type: "string" },
      vms: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const number = (
    name: Exclude<keyof typeof values, "json" | "help">,
    fallback: number,
    min: number,
    max: number,
  ): number => {
    const text = values[name];
    if (text === undefined) return fallback;
    const value = Number(text);
    const isWhole = name === "minutes" || Number.isInteger(value);
    if (text !== "" && isWhole && value >= min && value <= max) return value;
    throw new UsageError(
      `--${name} takes a ${name === "minutes" ? "" : "whole "}number from ${min} to ${max}, not '${text}'`,
    );
  };
  const minutes = number("minutes", Number.POSITIVE_INFINITY, 0.01, 100_000);
  return {
    minutes,
    runs: number("runs", Number.isFinite(minutes) ? Number.POSITIVE_INFINITY : DEFAULT_RUNS, 1, 1e12),
    seed: number("seed", Date.now() % 2 ** 32, 0, MAX_SEED),
    threads: number("threads", 2, 1, 64),
    vms: number("vms", 3, 1, 64),
    json: values.json,
  };
}
