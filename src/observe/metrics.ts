/** Counters and histograms of this thread: what all its VMs did, those that are gone included. Counting costs nanoseconds; sums are made when somebody asks. */
import { type ErrorCode, errorTable } from "../errors.ts";

/** Durations in buckets that double. */
export interface Histogram {
  /** Upper bounds of the buckets, inclusive, microseconds: 1, 2, 4, … 2^26. What took longer is in one more bucket. */
  readonly boundsUs: readonly number[];
  readonly counts: readonly number[];
  readonly count: number;
  readonly sumUs: number;
}

export interface Metrics {
  /** That are over, in whatever way. */
  readonly boots: number;
  /** Calls of exports that are over, in whatever way, those made by host functions included. A call that was refused (busy, poisoned, disposed) is none. */
  readonly calls: number;
  readonly resets: number;
  /** Modules compiled or found in the cache. */
  readonly compiles: { readonly compiled: number; readonly cached: number; readonly failed: number };
  /** Boots, calls and other runs that a trap, a limit or a kill, or something else ended, by error code. */
  readonly traps: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly kills: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly otherErrors: Readonly<Partial<Record<ErrorCode, number>>>;
  /** Of granted imports, by `module.name`; all others together under `(unknown imports)`. */
  readonly hostCalls: Readonly<Record<string, number>>;
  readonly growthRefusals: number;
  readonly bootLatency: Histogram;
  readonly callLatency: Histogram;
}

const BUCKETS = 27;
const BOUNDS_US: readonly number[] = Array.from({ length: BUCKETS }, (_, i) => 2 ** i);

class Durations {
  readonly #counts = new Float64Array(BUCKETS + 1);
  #sumUs = 0;

  add(ms: number): void {
    const us = ms * 1000;
    this.#sumUs += us;
    // 2^i-1 < us <= 2^i; what 32 bits cannot hold is in the last one.
    const place = us <= 1 ? 0 : us > 2 ** (BUCKETS - 1) ? BUCKETS : 32 - Math.clz32(Math.ceil(us) - 1);
    this.#counts[place] = (this.#counts[place] as number) + 1;
  }

  snapshot(): Histogram {
    const counts = Array.from(this.#counts);
    return {
      boundsUs: BOUNDS_US,
      counts,
      count: counts.reduce((sum, n) => sum + n, 0),
      sumUs: this.#sumUs,
    };
  }
}

/** What native code counts for a VM, while that lives and after: see `NativeVm.counts()`. */
export interface VmCounts {
  /** Of each import, the name that it is counted under. */
  readonly names: readonly string[];
  readonly counts: BigUint64Array;
}

const counters = { resets: 0, compiled: 0, cached: 0, failedCompiles: 0, growthRefusals: 0 };
const errors = new Map<ErrorCode, number>();
const finishedHostCalls = new Map<string, number>();
const live = new Set<VmCounts>();
const durations = { boots: new Durations(), calls: new Durations() };

/** Limits that refuse something before a guest runs, or within it, and end none. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  "BARECELL_MODULE_TOO_LARGE",
  "BARECELL_MEMORY_LIMIT",
  "BARECELL_COMPILE_LIMIT",
  "BARECELL_CALL_DEPTH",
]);

/** Whether the host ended the guest, as opposed to what the guest did itself. */
export function isKill(code: ErrorCode): boolean {
  return (errorTable[code].kind === "limit" && !REFUSALS.has(code)) || code === "BARECELL_DISPOSED";
}

export function countEnd(kind: "boots" | "calls", ms: number): void {
  durations[kind].add(ms);
}

export function countError(code: ErrorCode): void {
  errors.set(code, (errors.get(code) ?? 0) + 1);
}

export function countReset(): void {
  counters.resets++;
}

export function countCompile(result: "compiled" | "cached" | "failedCompiles"): void {
  counters[result]++;
}

/** Counts of a VM that was forgotten without dispose() are not lost: what it counts in outlives it. */
const forgotten = new FinalizationRegistry<VmCounts>(forgetCounts);

/** @param owner what goes when the VM goes */
export function addCounts(owner: object, counts: VmCounts): void {
  live.add(counts);
  forgotten.register(owner, counts, counts);
}

/** The VM is over: only the sums are kept. Idempotent. */
export function foldCounts(counts: VmCounts): void {
  forgotten.unregister(counts);
  forgetCounts(counts);
}

function forgetCounts(counts: VmCounts): void {
  if (!live.delete(counts)) return;
  addHostCalls(finishedHostCalls, counts);
  counters.growthRefusals += growthRefusals(counts);
}

export function hostCallsOf(counts: VmCounts): Record<string, number> {
  return Object.fromEntries(addHostCalls(new Map(), counts));
}

/** Names that were never called are left out. */
function addHostCalls(sums: Map<string, number>, { names, counts }: VmCounts): Map<string, number> {
  names.forEach((name, i) => {
    const count = Number(counts[i]);
    if (count > 0) sums.set(name, (sums.get(name) ?? 0) + count);
  });
  return sums;
}

export function growthRefusals({ counts }: VmCounts): number {
  return Number(counts.at(-1));
}

/**
 * What all VMs of this thread did so far (a worker has metrics of its own). Each answer is a new object; taking two and subtracting gives what came between.
 */
export function metrics(): Metrics {
  const hostCalls = new Map(finishedHostCalls);
  let refusals = counters.growthRefusals;
  for (const counts of live) {
    addHostCalls(hostCalls, counts);
    refusals += growthRefusals(counts);
  }
  const bootLatency = durations.boots.snapshot();
  const callLatency = durations.calls.snapshot();
  const errorsWhere = (holds: (code: ErrorCode) => boolean): Partial<Record<ErrorCode, number>> =>
    Object.fromEntries([...errors].filter(([code]) => holds(code)));
  const isTrap = (code: ErrorCode): boolean => errorTable[code].kind === "trap";
  return {
    boots: bootLatency.count,
    calls: callLatency.count,
    resets: counters.resets,
    compiles: {
      compiled: counters.compiled,
      cached: counters.cached,
      failed: counters.failedCompiles,
    },
    traps: errorsWhere(isTrap),
    kills: errorsWhere(isKill),
    otherErrors: errorsWhere((code) => !isTrap(code) && !isKill(code)),
    hostCalls: Object.fromEntries(hostCalls),
    growthRefusals: refusals,
    bootLatency,
    callLatency,
  };
}
