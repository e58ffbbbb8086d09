/** Sums of what workers report. */
import type { PoolMetrics } from "../pool/pool.ts";

export type MetricsByImage = Record<string, PoolMetrics>;

const NOW = [
  "ready",
  "running",
  "cleaning",
  "booting",
  "waiting",
] as const satisfies readonly (keyof PoolMetrics)[];
const COUNTS = [
  "calls",
  "hits",
  "cleanedByCaller",
  "boots",
  "bootFailures",
  "resets",
  "resetFailures",
  "retired",
] as const satisfies readonly (keyof PoolMetrics)[];

export const NO_METRICS: PoolMetrics = Object.freeze(
  Object.fromEntries([...COUNTS, ...NOW].map((key) => [key, 0])),
) as unknown as PoolMetrics;

/** @param which "counts": what a worker did, that is gone and has nothing any more */
export function sumInto(
  sums: MetricsByImage,
  more: Readonly<MetricsByImage>,
  which: "all" | "counts" = "all",
): void {
  for (const [image, metrics] of Object.entries(more))
    sums[image] = add(sums[image] ?? NO_METRICS, metrics, which);
}

export function add(a: PoolMetrics, b: PoolMetrics, which: "all" | "counts" = "all"): PoolMetrics {
  const keys: readonly (keyof PoolMetrics)[] = which === "all" ? [...COUNTS, ...NOW] : COUNTS;
  return { ...a, ...Object.fromEntries(keys.map((key) => [key, a[key] + b[key]])) };
}
