/** What `report.json` holds. */
import type { Machine } from "../machine.ts";
import type { Wall } from "../peers/peer.ts";
import type { Figures } from "./statistics.ts";

export const SCHEMA = "barecell-bench-isolation/1";

/** Whether a function that never comes back was ended, tried several times. */
export interface StopResult {
  readonly verdict: "stopped" | "not stopped" | "not tested";
  readonly detail: string;
  /** How long after its limit each ended, milliseconds. */
  readonly lateMs: readonly number[];
}

/** What a bad memory access of the function did to the host. */
export interface CrashResult {
  readonly verdict: "contained" | "takes the host with it" | "not noticed" | "not tested";
  readonly detail: string;
}

export interface MemoryResult {
  readonly instances: number;
  /** Bytes for each instance; medians of several rounds. */
  readonly proportionalBytes: number;
  readonly kernelBytes: number;
  readonly rounds: readonly { readonly proportionalBytes: number; readonly kernelBytes: number }[];
}

export interface ThroughputResult {
  readonly workload: string;
  readonly cores: number;
  readonly requestsPerSecond: number;
}

export interface PeerResult {
  readonly name: string;
  readonly title: string;
  readonly wall: Wall;
  readonly isOwn: boolean;
  /** The instance is made before the request comes. */
  readonly isAhead: boolean;
  readonly status: "measured" | "unavailable" | "failed";
  /** Why it was not measured, or not completely. */
  readonly reason: string | null;
  readonly install: string | null;
  readonly version: string | null;
  readonly settings: string | null;
  readonly includes: string;
  readonly leavesOut: string;
  readonly crash: CrashResult | null;
  readonly stop: StopResult | null;
  readonly memory: MemoryResult | null;
  /** Why there is no figure for memory. */
  readonly memoryProblem: string | null;
  readonly throughput: readonly ThroughputResult[];
}

/** One peer with one workload. Microseconds. */
export interface CellResult {
  readonly peer: string;
  readonly workload: string;
  readonly status: "measured" | "unsuited" | "failed" | "hung" | "interrupted";
  readonly reason: string | null;
  /** Until the instance is ready; null where that cannot be seen. */
  readonly ready: Figures | null;
  readonly result: Figures | null;
  /** Until all is free again. */
  readonly end: Figures | null;
  /** In the order they were taken; `turn` says in which turn of the peer. */
  readonly samples: readonly {
    readonly turn: number;
    readonly readyUs: number | null;
    readonly resultUs: number;
    readonly endUs: number;
  }[];
}

export interface TimelineResult {
  readonly peer: string;
  readonly totalUs: number;
  readonly steps: readonly {
    readonly name: string;
    readonly side: "host" | "guest";
    readonly startUs: number;
    readonly durationUs: number;
  }[];
}

export interface IsolationReport {
  readonly schema: typeof SCHEMA;
  /** To repeat it. */
  readonly command: string;
  readonly started: string;
  readonly finished: string;
  readonly interrupted: boolean;
  readonly quick: boolean;
  readonly machine: Machine;
  /** What was decided for the measurement. */
  readonly plan: Readonly<Record<string, unknown>>;
  readonly workloads: readonly { readonly name: string; readonly title: string; readonly n: number }[];
  readonly peers: readonly PeerResult[];
  readonly cells: readonly CellResult[];
  readonly timelines: readonly TimelineResult[];
  /** What went wrong without ending the run. */
  readonly warnings: readonly string[];
}
