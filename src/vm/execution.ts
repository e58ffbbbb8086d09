/** Runs entries of an image in its VM, one at a time, and keeps the VM's state. What the values mean, the callers know. */
// The global of that name is a getter.
import { performance } from "node:perf_hooks";
import { BarecellError, type ErrorCode } from "../errors.ts";
import type { Image } from "../image/image.ts";
import type { CallTracer } from "../observe/call-tracer.ts";
import type { VmObserver } from "../observe/vm-observer.ts";
import { fromNative, type NativeOutcome, type NativeVm, OUTCOME } from "./addon.ts";
import { Fuel } from "./fuel.ts";
import type { HostCalls } from "./host-calls.ts";
import { type Frame, nameOf } from "./host-context.ts";
import type { Limits } from "./limits.ts";
import { invalid } from "./option-checks.ts";
import type { CheckedBootOptions } from "./options.ts";
import { outcomeError } from "./outcome-error.ts";
import { NO_SLOTS } from "./slots.ts";
import type { StandardStreams } from "./streams/standard-streams.ts";

export type VmState = "ready" | "running" | "poisoned" | "disposed";

/** One run of the guest. */
export interface EntryRun {
  /** "reset" brings the VM back to what the boot left, which may start the modules again. */
  readonly kind: "boot" | "call" | "reset";
  /** For messages: `'fib'`. */
  readonly what: string;
  /** The export, of a call; undefined for what is no call of one: globals, instantiation. */
  readonly name: string | undefined;
  /** Place in the image's list of entries. */
  readonly entry: number;
  /** Arguments before, results after; 16 bytes each. */
  readonly slots: Uint8Array;
  readonly argumentCount: number;
  readonly resultCount: number;
  readonly limits: Limits;
  readonly signal: AbortSignal | undefined;
  /** Whether it instantiates a module. */
  readonly instantiates: boolean;
  /** Runs no code of the modules', which could want a standard stream. */
  readonly touchesNoStream: boolean;
}

/** What runs an entry: the VM itself, or a host function that calls back into the guest. */
export interface Runner {
  run(run: EntryRun): Promise<void>;
  runSync(run: EntryRun): void;
}

export class Execution implements Runner {
  readonly image: Image;
  readonly native: NativeVm;
  readonly options: CheckedBootOptions;
  readonly fuel: Fuel;
  readonly observer: VmObserver;
  /** Kept here, as native code does not keep it. */
  readonly tracer: CallTracer | undefined;
  readonly #hostCalls: HostCalls;
  readonly #streams: StandardStreams;
  #state: VmState = "ready";
  #life = 1;
  #isResetting = false;
  readonly #onReset: (() => void)[] = [];
  #running: Promise<unknown> | undefined;
  #runsSync = false;
  /** Of the run that goes on; and the one that was aborted during the last run. */
  #signal: AbortSignal | undefined;
  #aborted: AbortSignal | undefined;
  /** What a reset runs, should it have to start the modules again. */
  readonly #resetRun: EntryRun;
  #broken: BarecellError | undefined;
  #released: Promise<void> | undefined;

  constructor(parts: {
    readonly image: Image;
    readonly native: NativeVm;
    readonly options: CheckedBootOptions;
    readonly hostCalls: HostCalls;
    readonly streams: StandardStreams;
    readonly observer: VmObserver;
    readonly tracer: CallTracer | undefined;
  }) {
    this.image = parts.image;
    this.native = parts.native;
    this.options = parts.options;
    this.#hostCalls = parts.hostCalls;
    this.#streams = parts.streams;
    this.observer = parts.observer;
    this.tracer = parts.tracer;
    this.fuel = new Fuel(parts.image, parts.native);
    this.#resetRun = this.#startRun("reset", "starting the module again", undefined);
  }

  get state(): VmState {
    return this.#state;
  }

  /** How often the guest began anew. */
  get life(): number {
    return this.#life;
  }

  /** Why the guest cannot go on, after a call that a host function made into it. */
  get broken(): BarecellError | undefined {
    return this.#broken;
  }

  async boot(): Promise<void> {
    await this.#perform(this.#startRun("boot", "starting the module", this.options.signal));
  }

  bootSync(): void {
    this.#performSync(this.#startRun("boot", "starting the module", this.options.signal));
  }

  #startRun(kind: "boot" | "reset", what: string, signal: AbortSignal | undefined): EntryRun {
    const { limits } = this.options;
    const nothing = { name: undefined, entry: 0, slots: NO_SLOTS.bytes, argumentCount: 0, resultCount: 0 };
    return { kind, what, ...nothing, limits, signal, instantiates: true, touchesNoStream: false };
  }

  /** Back to what the boot left, on a thread of its own if it takes longer than a moment. In states "ready" and "poisoned". */
  async reset(): Promise<void> {
    const startMs = performance.now();
    await this.#perform(this.#resetRun);
    this.observer.didReset(startMs);
  }

  /** As `reset`, on the calling thread. */
  resetSync(): void {
    const startMs = performance.now();
    this.#performSync(this.#resetRun);
    this.observer.didReset(startMs);
  }

  /** What is kept in JavaScript about the guest goes with a reset too. */
  onReset(forget: () => void): void {
    this.#onReset.push(forget);
  }

  /** Whether not even memory may be looked at now. */
  get isResetting(): boolean {
    return this.#isResetting;
  }

  /** On a thread of its own. */
  run(run: EntryRun): Promise<void> {
    return this.observer.run(run, () => this.#perform(run));
  }

  /** On the calling thread. */
  runSync(run: EntryRun): void {
    this.observer.runSync(run, this.#performCall, run);
  }

  /** One function for all calls: a warm call is short enough for a closure of its own to show. */
  readonly #performCall = (run: EntryRun): void => this.#performSync(run);

  async #perform(run: EntryRun): Promise<void> {
    this.#prepare(run);
    let running: Promise<true | NativeOutcome>;
    try {
      running = this.#streams.during(() => this.#start(run), run.limits.timeoutMs);
    } catch (error) {
      // No thread could be started: the VM is as it was. A reset may have been done at once, and by half.
      if (run.kind === "reset") this.#state = "poisoned";
      throw fromNative(error);
    }
    this.#begin(run);
    this.#running = running.catch(() => {});
    try {
      this.#finished(run, await running);
    } catch (error) {
      if (this.#isRunning()) this.#state = "poisoned";
      throw this.#streams.errorOf(run.what, fromNative(error));
    } finally {
      this.#running = undefined;
      this.#end(run);
    }
    const failure = this.#streams.errorOf(run.what);
    if (failure !== undefined) throw failure;
  }

  #performSync(run: EntryRun): void {
    this.#prepare(run);
    if (!run.touchesNoStream) this.requireSynchronous(run.what);
    this.#begin(run);
    this.#runsSync = true;
    try {
      this.#finished(run, this.#startSync(run));
    } catch (error) {
      if (this.#isRunning()) this.#state = "poisoned";
      throw fromNative(error);
    } finally {
      this.#runsSync = false;
      this.#end(run);
      // A host function disposed the VM that called it.
      if (this.#state === "disposed") this.native.dispose();
    }
  }

  #start({
    kind,
    entry,
    slots,
    argumentCount,
    resultCount,
    limits,
  }: EntryRun): Promise<true | NativeOutcome> {
    const { native } = this;
    if (kind === "call") return native.call(entry, slots, argumentCount, resultCount, limits.numbers);
    if (kind === "boot") return native.boot(limits.numbers);
    // To hand it over and to be told that it is done would take many times as long.
    return native.resetQuickly(limits.numbers) ? Promise.resolve(true) : native.reset(limits.numbers);
  }

  #startSync({ kind, entry, slots, argumentCount, resultCount, limits }: EntryRun): true | NativeOutcome {
    const { native } = this;
    if (kind === "call") return native.callSync(entry, slots, argumentCount, resultCount, limits.numbers);
    return kind === "boot" ? native.bootSync(limits.numbers) : native.resetSync(limits.numbers);
  }

  #prepare(run: EntryRun): void {
    if (run.kind === "reset") this.requireIdle();
    else this.requireReady();
    if (run.signal?.aborted) throw cancelled(run, run.signal);
    this.fuel.fill(run.limits.fuel);
    this.#broken = undefined;
    this.#aborted = undefined;
    this.#hostCalls.begin(run.limits.timeoutMs);
  }

  #begin({ kind, signal }: EntryRun): void {
    this.#state = "running";
    this.observer.began();
    this.#isResetting = kind === "reset";
    if (signal === undefined) return;
    this.#signal = signal;
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** What comes between `#begin` and the end of the run, native code tells from what comes later (W8 in native/kick.h). */
  readonly #onAbort = (): void => {
    this.#aborted = this.#signal;
    this.native.cancelRun();
    this.#streams.abandon();
  };

  #end({ signal }: EntryRun): void {
    signal?.removeEventListener("abort", this.#onAbort);
    this.#signal = undefined;
    if (this.tracer !== undefined) this.native.drainTrace();
    this.#isResetting = false;
    this.#hostCalls.end(this.#reasonOfEnd);
  }

  readonly #reasonOfEnd = (): unknown =>
    this.#aborted?.reason ?? new BarecellError("BARECELL_CONTEXT_STALE", "the guest's call is over");

  /** A call into the guest by a host function, on the thread that waits for it. */
  runInner(frame: Frame, run: EntryRun): Promise<void> {
    const subject = { kind: "call", name: run.name, isInner: true, within: frame.message } as const;
    return this.observer.run(subject, () => this.#runInner(frame, run));
  }

  async #runInner(frame: Frame, run: EntryRun): Promise<void> {
    this.#hostCalls.requireInnermost(frame);
    if (frame.token === 0) {
      throw new BarecellError(
        "BARECELL_HOST_FUNCTION_ASYNC",
        `the host function ${nameOf(frame)} was called synchronously, so it can use callSync only`,
      );
    }
    const timeoutMs = this.#innerTimeout(run);
    const { entry, slots, argumentCount, resultCount } = run;
    const inner = this.native.callInner(frame.token, entry, slots, argumentCount, resultCount, timeoutMs);
    frame.inner = inner;
    this.observer.began();
    try {
      this.#innerFinished(run, await inner);
    } catch (error) {
      throw fromNative(error);
    } finally {
      frame.inner = undefined;
    }
  }

  /** As `runInner`, on the calling thread. */
  runInnerSync(frame: Frame, run: EntryRun): void {
    const subject = { kind: "call", name: run.name, isInner: true, within: frame.message } as const;
    this.observer.runSync(subject, () => this.#runInnerSync(frame, run), undefined);
  }

  #runInnerSync(frame: Frame, run: EntryRun): void {
    this.#hostCalls.requireInnermost(frame);
    if (!run.touchesNoStream) this.requireSynchronous(run.what);
    const timeoutMs = this.#innerTimeout(run);
    const { entry, slots, argumentCount, resultCount } = run;
    frame.inner = "sync";
    this.observer.began();
    try {
      this.#innerFinished(
        run,
        this.native.callInnerSync(frame.token, entry, slots, argumentCount, resultCount, timeoutMs),
      );
    } catch (error) {
      throw fromNative(error);
    } finally {
      frame.inner = undefined;
    }
  }

  /** 0: the limits of the outer call only. */
  #innerTimeout({ limits, signal }: EntryRun): number {
    const own = this.options.limits;
    if (limits === own) return 0;
    const { timeoutMs } = limits;
    if (
      signal === undefined &&
      limits.equals(own.with({ timeoutMs: timeoutMs || Number.POSITIVE_INFINITY }))
    ) {
      return timeoutMs;
    }
    throw invalid(
      "a host function's call into the guest takes the option timeoutMs only; the outer call's limits hold",
    );
  }

  #innerFinished(run: EntryRun, outcome: true | NativeOutcome): void {
    if (outcome === true) return;
    const error = this.#errorOf(outcome, run);
    if (!this.#survives(outcome)) this.#broken = error;
    throw error;
  }

  /** @throws BARECELL_BUSY, BARECELL_POISONED, BARECELL_DISPOSED */
  requireReady(): void {
    if (this.#state === "ready") return;
    const reasons: Record<Exclude<VmState, "ready">, readonly [ErrorCode, string]> = {
      running: [
        "BARECELL_BUSY",
        "another call of this VM is running; await it first (host functions use their context's call)",
      ],
      poisoned: [
        "BARECELL_POISONED",
        "the last call did not return (a trap, a kill or an exit); reset() the VM, or dispose it and boot a new one",
      ],
      disposed: ["BARECELL_DISPOSED", "the VM is disposed; boot a new one"],
    };
    const [code, message] = reasons[this.#state];
    throw new BarecellError(code, message);
  }

  /** @throws BARECELL_STREAM_NEEDS_ASYNC */
  requireSynchronous(what: string): void {
    if (!this.#streams.needEventLoop) return;
    throw new BarecellError(
      "BARECELL_STREAM_NEEDS_ASYNC",
      `${what}: a standard stream of the VM is a stream or a callback of JavaScript, which cannot move while a synchronous call runs; use the asynchronous one`,
    );
  }

  /** For what can be asked of a poisoned VM too. @throws BARECELL_BUSY, BARECELL_DISPOSED */
  requireIdle(): void {
    if (this.#state === "disposed" || this.#state === "running") this.requireReady();
  }

  /** A method, so that the compiler does not take an earlier check of the field for granted. */
  #isRunning(): boolean {
    return this.#state === "running";
  }

  #finished(run: EntryRun, outcome: true | NativeOutcome): void {
    // While the VM still counts as running.
    if (this.tracer !== undefined) this.native.drainTrace();
    if (!this.#isRunning()) {
      const during = run.kind === "reset" ? "its reset" : `the call of ${run.what}`;
      throw new BarecellError("BARECELL_DISPOSED", `the VM was disposed during ${during}`);
    }
    if (run.kind === "reset") this.#beginLife();
    if (outcome !== true) {
      const error = this.#errorOf(outcome, run);
      // Half an instance is no instance, whatever `afterTrap` says.
      this.#state = this.#survives(outcome) && run.kind !== "reset" ? "ready" : "poisoned";
      throw error;
    }
    this.#state = "ready";
  }

  #beginLife(): void {
    this.#life++;
    for (const forget of this.#onReset) forget();
  }

  /** Whether the guest can be called again after such an end. */
  #survives(outcome: NativeOutcome): boolean {
    return (
      this.options.keepAfterTrap && (outcome.kind === OUTCOME.trap || outcome.kind === OUTCOME.exception)
    );
  }

  #errorOf(outcome: NativeOutcome, run: EntryRun): BarecellError {
    if (outcome.kind === OUTCOME.cancelled && this.#aborted !== undefined)
      return cancelled(run, this.#aborted);
    const failure = this.#hostCalls.failure;
    return outcomeError(
      { image: this.image, native: this.native, run, failure, broken: this.#broken },
      outcome,
    );
  }

  /** Idempotent, in every state. */
  dispose(): void {
    if (this.#state === "disposed") return;
    this.#state = "disposed";
    this.#streams.dispose();
    this.observer.dispose();
    if (this.#runsSync) {
      // In a host function: the run ends when that returns, and frees all then.
      this.native.cancel();
    } else if (this.#running === undefined) {
      this.native.dispose();
    } else {
      this.native.cancel();
      this.#released = this.#running.then(() => this.native.dispose());
    }
  }

  /** Resolves when all is freed. */
  async released(): Promise<void> {
    await this.#released;
  }
}

function cancelled(run: EntryRun, signal: AbortSignal): BarecellError {
  return new BarecellError("BARECELL_CANCELLED", `${run.what}: cancelled by its signal`, {
    cause: signal.reason,
  });
}
