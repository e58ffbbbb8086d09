import { percentile } from "../statistics.ts";

/** By nearest rank, so that it is one of the values. */
export const median = (values: readonly number[]): number => percentile(values, 0.5);
