/** What the main process and its workers say to each other. */

import type { BatchSummary } from "./harness/batch.ts";
import type { FuzzOptions } from "./options.ts";

/** To a worker: run the units of these seeds. */
export interface Assignment {
  readonly first: number;
  readonly count: number;
  readonly options: FuzzOptions;
}

export type Answer =
  | { readonly kind: "done"; readonly summary: BatchSummary }
  | {
      readonly kind: "found";
      readonly summary: BatchSummary;
      /** For people. */
      readonly report: string;
    }
  | { readonly kind: "progress"; readonly text: string }
  /** The fuzzer itself is wrong. */
  | { readonly kind: "broken"; readonly message: string };
