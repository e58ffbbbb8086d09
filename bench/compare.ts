/**
 * Two results, figure by figure: what is worse beyond noise?
 *
 * Samples that follow each other are alike: they share a busy moment, a batch, a process. So they are not tested one by one, which would find a difference
 * between any two runs, but in blocks: runs of consecutive samples, each by its median, divided by that of the floor's samples of the same time. What slows
 * the machine down slows both sides, and falls out. The blocks of both runs are compared by a permutation test of their ranks (that is, Wilcoxon's rank sum
 * test without its approximation, so that it holds for few blocks too), corrected for the number of figures after Holm. Two runs differ by more than their
 * blocks tell (another process, another memory layout), hence a tolerance besides.
 */
import { loadOptional } from "./isolation/optional.ts";
import { reproducible } from "./isolation/statistics.ts";
import type { Machine } from "./machine.ts";
import { partName, partsOf, type RawSamples, type Report } from "./report.ts";
import { geometricMean, percentile } from "./statistics.ts";

export type Verdict =
  | "regression"
  | "improvement"
  /** Clear, but smaller than the tolerance. */
  | "slight"
  | "no clear difference"
  | "too few samples"
  | "not comparable"
  /** The floor by itself: it tells of the machine, not of barecell. */
  | "machine";

export interface Change {
  readonly name: string;
  readonly unit: string;
  /** p50 of each. */
  readonly before: number;
  readonly after: number;
  /** How much longer the floor takes: the machine's drift. null: it has none of its own, and all floors' together was used. */
  readonly floorRatio: number | null;
  /** How much worse it is with the machine's drift taken out: 1.1 is 10 % more. null: it came to nothing or less. */
  readonly ratio: number | null;
  /** How probable it is to see that without any change, corrected for the number of figures; null if it was not tested. */
  readonly probability: number | null;
  readonly verdict: Verdict;
}

export interface Comparison {
  readonly changes: readonly Change[];
  readonly regressions: readonly Change[];
  /** What is different about the machines. */
  readonly machines: readonly { readonly what: string; readonly before: string; readonly after: string }[];
  readonly onlyBefore: readonly string[];
  readonly onlyAfter: readonly string[];
}

/** Of all figures together: so many comparisons of the same with itself would have one that passes the test, and fewer one that passes the tolerance too. */
const SIGNIFICANT = 0.01;
const BLOCKS = 20;
/** Fewer cannot be significant, however far apart they are, once corrected for some dozens of figures. */
const LEAST_BLOCKS = 8;
const PERMUTATIONS = 10_000;
const MACHINE_SCENARIO = "floor";

interface Statistics {
  permutationTest(
    x: readonly number[],
    y: readonly number[],
    alternative: "two_side",
    rounds: number,
    random: () => number,
  ): number;
}

interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly samples: RawSamples;
}

/** @param tolerance smaller changes are no regressions: 0.1 is 10 % */
export type Comparer = (before: Report, after: Report, tolerance: number) => Comparison;

/** @throws BARECELL_BENCH_PACKAGE_MISSING */
export async function loadComparer(): Promise<Comparer> {
  const statistics = await loadOptional<Statistics>("simple-statistics");
  return (before, after, tolerance) => compare(statistics, before, after, tolerance);
}

function compare(statistics: Statistics, before: Report, after: Report, tolerance: number): Comparison {
  const [old, now] = [figuresOf(before), figuresOf(after)];
  const pairs = old.flatMap((figure) => {
    const other = now.find(({ name, unit }) => name === figure.name && unit === figure.unit);
    return other ? [{ before: figure, after: other }] : [];
  });
  const drift = driftOf(pairs);
  const tested = pairs.map((pair) => test(statistics, pair, drift));
  const corrected = holm(tested.map(({ probability }) => probability));
  const changes = tested.map((change, i): Change => {
    const probability = corrected[i] ?? null;
    return { ...change, probability, verdict: verdict(change.name, change.ratio, probability, tolerance) };
  });
  const names = new Set(pairs.map((pair) => pair.before.name));
  // A scenario says it for its parts.
  const rest = (figures: readonly Figure[]): string[] => {
    const missing = figures.map(({ name }) => name).filter((name) => !names.has(name));
    return missing.filter((name) => !missing.some((other) => name.startsWith(partName(other, ""))));
  };
  return {
    changes,
    regressions: changes.filter((change) => change.verdict === "regression"),
    machines: machineDifferences(before.machine, after.machine),
    onlyBefore: rest(old),
    onlyAfter: rest(now),
  };
}

function figuresOf({ scenarios }: Report): Figure[] {
  return Object.entries(scenarios).flatMap(([name, scenario]) => [
    { name, unit: scenario.unit, samples: scenario.details["samples"] as RawSamples },
    ...Object.entries(partsOf(scenario)).map(([part, { unit, samples }]) => ({
      ...{ name: partName(name, part), unit, samples },
    })),
  ]);
}

interface Pair {
  readonly before: Figure;
  readonly after: Figure;
}

const median = (samples: readonly number[]): number => percentile(samples, 0.5);

/** Of nothing that is measured can there be less than none, but a difference of two measurements may say so: then there is no ratio. */
function ratioOf(after: readonly number[], before: readonly number[]): number | null {
  const [now, old] = [median(after), median(before)];
  return now > 0 && old > 0 ? now / old : null;
}

function floorRatio({ before, after }: Pair): number | null {
  const [old, now] = [before.samples.floor, after.samples.floor];
  return old && now ? ratioOf(now, old) : null;
}

/** Of the machine as a whole, for what has no floor. */
function driftOf(pairs: readonly Pair[]): number {
  const ratios = pairs.flatMap((pair) => floorRatio(pair) ?? []);
  return ratios.length === 0 ? 1 : geometricMean(ratios);
}

type Tested = Omit<Change, "verdict">;

function test(statistics: Statistics, pair: Pair, drift: number): Tested {
  const { before, after } = pair;
  const own = floorRatio(pair);
  const [old, now] = [before, after].map(({ samples }) => blocks(samples, own !== null)) as [
    number[],
    number[],
  ];
  // Together for what has no floor of its own.
  const later = own === null ? now.map((block) => block / drift) : now;
  const ratio = ratioOf(later, old);
  const isTestable = Math.min(old.length, later.length) >= LEAST_BLOCKS && ratio !== null;
  return {
    name: before.name,
    unit: before.unit,
    before: median(before.samples.value),
    after: median(after.samples.value),
    floorRatio: own,
    ratio,
    probability: isTestable ? rankTest(statistics, old, later) : null,
  };
}

/** Medians of consecutive samples, each divided by the floor's of the same part of the run. */
function blocks({ value, floor }: RawSamples, normalise: boolean): number[] {
  const count = Math.min(BLOCKS, value.length, (normalise && floor?.length) || value.length);
  const medians = (samples: readonly number[]): number[] =>
    Array.from({ length: count }, (_, i) => {
      const edge = (at: number): number => Math.floor((at * samples.length) / count);
      return median(samples.slice(edge(i), edge(i + 1)));
    });
  const own = medians(value);
  if (!normalise || !floor) return own;
  const base = medians(floor);
  return own.map((block, i) => block / (base[i] ?? Number.NaN));
}

function rankTest(statistics: Statistics, before: readonly number[], after: readonly number[]): number {
  const sorted = [...before, ...after].sort((a, b) => a - b);
  // Equal ones share the mean of their places.
  const rank = (block: number): number => (sorted.indexOf(block) + sorted.lastIndexOf(block)) / 2;
  const share = statistics.permutationTest(
    after.map(rank),
    before.map(rank),
    "two_side",
    PERMUTATIONS,
    reproducible(),
  );
  // What was seen is one of the permutations: no probability is 0.
  return (share * PERMUTATIONS + 1) / (PERMUTATIONS + 1);
}

/** Holm's correction: each probability times the number of those that are not smaller, and never less than a smaller one's. */
export function holm(probabilities: readonly (number | null)[]): (number | null)[] {
  const order = [...probabilities.keys()]
    .filter((i) => probabilities[i] !== null)
    .sort((a, b) => (probabilities[a] ?? 0) - (probabilities[b] ?? 0));
  const corrected: (number | null)[] = probabilities.map(() => null);
  let least = 0;
  for (const [place, i] of order.entries()) {
    least = Math.max(least, Math.min(1, (probabilities[i] ?? 1) * (order.length - place)));
    corrected[i] = least;
  }
  return corrected;
}

function verdict(name: string, ratio: number | null, probability: number | null, tolerance: number): Verdict {
  if (name === MACHINE_SCENARIO || name.startsWith(partName(MACHINE_SCENARIO, ""))) return "machine";
  if (ratio === null) return "not comparable";
  if (probability === null) return "too few samples";
  if (probability >= SIGNIFICANT) return "no clear difference";
  if (ratio > 1 + tolerance) return "regression";
  return ratio < 1 / (1 + tolerance) ? "improvement" : "slight";
}

/** What a figure may depend on. */
const MACHINE_FIELDS = [
  ...["cpu", "cores", "memoryGiB", "kernel", "kvm", "mitigations", "hugePages", "node", "v8", "compiler"],
] as const;

function machineDifferences(before: Machine, after: Machine): Comparison["machines"] {
  const spell = (machine: Machine, field: string): string => {
    const value = (machine as unknown as Record<string, unknown>)[field];
    return typeof value === "string" ? value : (JSON.stringify(value) ?? "unknown");
  };
  return MACHINE_FIELDS.flatMap((what) => {
    const [old, now] = [spell(before, what), spell(after, what)];
    return old === now ? [] : [{ what, before: old, after: now }];
  });
}
