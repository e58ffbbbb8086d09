import type { Workload } from "./workload.ts";

export const workloads: readonly Workload[] = [
  {
    name: "fib",
    title: "the 20th Fibonacci number by recursion: 21,891 calls",
    order: 10,
    wasm: "workloads/wasm/fib.wasm",
    source: "workloads/c/fib.c",
    n: 20,
    expected: 6765,
  },
  {
    name: "hash",
    title: "SHA-256 of 1 KiB",
    order: 11,
    wasm: "kernels/wasm/sha256.wasm",
    source: "kernels/sha256.c",
    n: 16,
    expected: 1_272_255_934,
    forThroughput: true,
  },
];
