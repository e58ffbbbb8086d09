import type { Workload } from "./workload.ts";

export const workloads: readonly Workload[] = [
  {
    name: "nothing",
    title: "returns its argument: pure start",
    order: 0,
    wasm: "workloads/wasm/nothing.wasm",
    source: "workloads/c/nothing.c",
    n: 42,
    expected: 42,
    forThroughput: true,
  },
];
