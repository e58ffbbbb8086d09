/** What a pool and its worker processes say to each other. */
import type { PoolMetrics } from "../pool/pool.ts";
import type { BootOptions } from "../vm/options.ts";
import type { ErrorMessage } from "./error-message.ts";

export interface ImageMessage {
  readonly name: string;
  /** The image's file, for checks and backtraces. */
  readonly bytes: Uint8Array;
  /** The memory file whose pages its VMs map, inherited. */
  readonly fd: number;
  readonly min: number;
  readonly vm: BootOptions;
}

export interface StartMessage {
  readonly kind: "start";
  readonly parentPid: number;
  readonly images: readonly ImageMessage[];
  readonly max: number;
  readonly idleMs: number;
  /** Null: none. */
  readonly memoryBudgetBytes: number | null;
  readonly hostModule: string | null;
}

/** One call, by number. */
export interface CallRequest {
  readonly kind: "call";
  readonly id: number;
  readonly image: string;
  readonly name: string;
  /** Values for a call; bytes for one by the guest convention. */
  readonly args: readonly unknown[] | Uint8Array;
  /** Null: what is in `args` cannot have options behind it, since it is not what the function takes. */
  readonly options: object | null;
  /** How long it may wait for a VM, milliseconds. */
  readonly waitMs: number;
}

export type ToWorker =
  | StartMessage
  | CallRequest
  | { readonly kind: "cancel"; readonly id: number }
  | { readonly kind: "ping" }
  /** To try once more to have `min` VMs ready. */
  | { readonly kind: "ready" }
  | { readonly kind: "close" };

export type FromWorker =
  /** It takes calls. `timeoutsMs`: of each image's VMs. */
  | { readonly kind: "up"; readonly timeoutsMs: Readonly<Record<string, number>> }
  /** Its `min` VMs have booted. */
  | { readonly kind: "ready" }
  /** One of them did not; it takes calls all the same. */
  | { readonly kind: "unready"; readonly error: ErrorMessage }
  /** It cannot take calls, and ends. */
  | { readonly kind: "failed"; readonly error: ErrorMessage }
  /** Each with the metrics of the call's image. */
  | { readonly kind: "result"; readonly id: number; readonly value: unknown; readonly metrics: PoolMetrics }
  | {
      readonly kind: "error";
      readonly id: number;
      readonly error: ErrorMessage;
      readonly metrics: PoolMetrics;
    }
  | { readonly kind: "state"; readonly metrics: Readonly<Record<string, PoolMetrics>> }
  | { readonly kind: "pong" };
