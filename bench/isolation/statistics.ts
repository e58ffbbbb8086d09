/** Figures of samples with the interval that they may be expected in, by resampling (bootstrap). */
import { type Summary, summarize } from "../statistics.ts";
import { loadOptional } from "./optional.ts";

export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface Figures extends Summary {
  readonly count: number;
  /** 95 % bootstrap percentile interval of the median. */
  readonly p50Interval: Interval;
}

interface SimpleStatistics {
  sampleWithReplacement<T>(values: readonly T[], count: number, random?: () => number): T[];
  medianSorted(values: readonly number[]): number;
  quantileSorted(values: readonly number[], share: number): number;
}

/** The usual 95 %. */
const [LOW, HIGH] = [0.025, 0.975];

export type Summarizer = (samples: readonly number[]) => Figures;

/** @throws BARECELL_BENCH_PACKAGE_MISSING */
export async function loadSummarizer(rounds: number): Promise<Summarizer> {
  const statistics = await loadOptional<SimpleStatistics>("simple-statistics");
  return (samples) => {
    const random = reproducible();
    const medians = Array.from({ length: rounds }, () => {
      const drawn = statistics.sampleWithReplacement(samples, samples.length, random);
      return statistics.medianSorted(drawn.sort((a, b) => a - b));
    }).sort((a, b) => a - b);
    return {
      count: samples.length,
      ...summarize(samples),
      p50Interval: {
        low: statistics.quantileSorted(medians, LOW),
        high: statistics.quantileSorted(medians, HIGH),
      },
    };
  };
}

/** The same numbers each time, so that the same samples give the same report (xorshift32). */
export function reproducible(): () => number {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
