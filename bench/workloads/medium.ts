import type { Workload } from "./workload.ts";

export const workloads: readonly Workload[] = [
  {
    name: "json",
    title: "writes and scans 64 KiB of JSON",
    order: 20,
    wasm: "kernels/wasm/json.wasm",
    source: "kernels/json.c",
    n: 1,
    expected: 3_003_024_273,
  },
  {
    name: "compress",
    title: "compresses 128 KiB of text (LZ77, two blocks), expands it again, compares",
    order: 21,
    wasm: "kernels/wasm/lz.wasm",
    source: "kernels/lz.c",
    n: 2,
    expected: 3_408_890_635,
  },
];
