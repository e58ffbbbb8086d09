import { makeCoreMark } from "./support/coremark-module.ts";
import type { Workload } from "./workload.ts";

/** `n` is the power of ten that CoreMark finds its number of iterations with; see `makeCoreMark`. */
export const workloads: readonly Workload[] = [
  {
    name: "coremark",
    title:
      "CoreMark: 1,210 of its iterations, 121 in a quick run (the program is taken from where it is present)",
    order: 51,
    wasm: makeCoreMark,
    source: null,
    n: 1,
    expected: 100,
    quick: { n: 0, expected: 10 },
  },
];
