import type { Workload } from "./workload.ts";

const COUNTS = [1, 100, 10_000];

/** A function of WASI that barecell's guests cannot answer themselves; natively a system call that the vDSO does not answer. */
export const workloads: readonly Workload[] = COUNTS.map((count, i) => ({
  name: `host-calls-${count}`,
  title: `${count.toLocaleString("en-GB")} call${count === 1 ? "" : "s"} to the host (clock_res_get)`,
  order: 30 + i,
  wasm: "workloads/wasm/host-calls.wasm",
  source: "workloads/c/host_calls.c",
  n: count,
  expected: count,
  callsHost: true,
}));
