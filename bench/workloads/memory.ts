import type { Workload } from "./workload.ts";

/** MiB, and the sum of the bytes written. */
const SIZES = [
  [1, 32_640],
  [16, 522_240],
  [64, 2_088_960],
] as const;

export const workloads: readonly Workload[] = SIZES.map(([mib, expected], i) => ({
  name: `memory-${mib}`,
  title: `writes to every page of ${mib} MiB`,
  order: 40 + i,
  wasm: `workloads/wasm/memory-${mib}.wasm`,
  source: "workloads/c/memory.c",
  defines: [`MIB=${mib}u`],
  n: 1,
  expected,
  touchesBytes: mib * 2 ** 20,
}));
