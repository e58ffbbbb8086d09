/** Percentiles and means of samples. */

export interface Summary {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Nearest rank, so that every figure was really measured; as in bench/floor/report.c. @param share 0 to 1 */
export function percentile(samples: readonly number[], share: number): number {
  return rank([...samples].sort(ascending), share);
}

export function summarize(samples: readonly number[]): Summary {
  const sorted = [...samples].sort(ascending);
  return { p50: rank(sorted, 0.5), p90: rank(sorted, 0.9), p99: rank(sorted, 0.99), max: rank(sorted, 1) };
}

/** The mean for ratios: twice as fast here and half as fast there is 1. */
export function geometricMean(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("no values");
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

const ascending = (a: number, b: number): number => a - b;

function rank(sorted: readonly number[], share: number): number {
  // Thousandths of a percent, in whole numbers: 0.07 * 100 is 7.000000000000001, and its ceiling 8.
  const index = Math.ceil((Math.round(share * 100_000) * sorted.length) / 100_000) - 1;
  const value = sorted[Math.max(0, index)];
  if (value === undefined) throw new RangeError("no samples");
  return value;
}
