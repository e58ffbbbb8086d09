import type { Workload } from "./workload.ts";

export const workloads: readonly Workload[] = [
  {
    name: "long",
    title: "computes for a good while: matrices, lists, text, checksums",
    order: 50,
    wasm: "workloads/wasm/long.wasm",
    source: "workloads/c/long.c",
    n: 300,
    expected: 1_247_730_395,
    quick: { n: 30, expected: 253_802_402 },
  },
];
