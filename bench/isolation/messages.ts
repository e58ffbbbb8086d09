/** What the runner asks of a measuring process, and what it gets. */
import type { Availability, Program, Sample, Setting } from "../peers/peer.ts";

/** How a measuring process begins. */
export interface HostTask {
  readonly peer: string;
  readonly setting: Setting;
}

export type Order =
  | { readonly op: "available" }
  | { readonly op: "open"; readonly program: Program }
  | { readonly op: "batch"; readonly count: number; readonly warmUp: number }
  | { readonly op: "loop"; readonly forMs: number }
  | { readonly op: "hold"; readonly count: number }
  | { readonly op: "release" }
  | { readonly op: "stop"; readonly limitMs: number }
  | { readonly op: "details" }
  | { readonly op: "end" };

export interface Throughput {
  readonly requests: number;
  readonly elapsedUs: number;
}

/** What came of a request that should be stopped. */
export interface StopAnswer {
  readonly how: "stopped" | "returned" | "failed";
  readonly message: string;
  /** Since the request was made. */
  readonly elapsedMs: number;
}

/** The value of each order's answer. */
export interface Answers {
  readonly available: Availability;
  readonly open: null;
  readonly batch: readonly Sample[];
  readonly loop: Throughput;
  /** False if the peer cannot keep instances. */
  readonly hold: boolean;
  readonly release: null;
  readonly stop: StopAnswer;
  readonly details: Readonly<Record<string, unknown>>;
  readonly end: null;
}

export type Request = Order & { readonly id: number };
export type Reply =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly id: number; readonly ok: false; readonly message: string; readonly install?: string };
