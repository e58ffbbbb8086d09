/** Runs entries of an image in its VM, one at a time, and keeps the VM's state. What the values mean, the callers know. */
import { BarecellError, type ErrorCode } from "../errors.ts";
import type { Image } from "../image/image.ts";
import { fromNative, type NativeOutcome, type NativeVm, OUTCOME } from "./addon.ts";
import type { CheckedBootOptions } from "./options.ts";
import { outcomeError } from "./outcome-error.ts";

export type VmState = "ready" | "running" | "poisoned" | "disposed";

/** One run of an entry. */
export interface EntryRun {
  /** For messages: `'fib'`. */
  readonly what: string;
  /** Place in the image's list of entries. */
  readonly entry: number;
  /** Arguments before, results after; 16 bytes each. */
  readonly slots: Uint8Array;
  readonly argumentCount: number;
  readonly resultCount: number;
  /** Whether it instantiates a module. */
  readonly instantiates?: true;
}

export class Execution {
  readonly image: Image;
  readonly native: NativeVm;
  readonly options: CheckedBootOptions;
  #state: VmState = "ready";
  #running: Promise<unknown> | undefined;
  #released: Promise<void> | undefined;

  constructor(image: Image, native: NativeVm, options: CheckedBootOptions) {
    this.image = image;
    this.native = native;
    this.options = options;
  }

  get state(): VmState {
    return this.#state;
  }

  async boot(): Promise<void> {
    this.#started(await this.native.boot(this.options.timeoutMs));
  }

  bootSync(): void {
    this.#started(this.native.bootSync(this.options.timeoutMs));
  }

  #started(outcome: true | NativeOutcome): void {
    if (outcome !== true) throw this.#ended(outcome, "starting the module", true);
  }

  /** On a thread of its own. */
  async run(run: EntryRun): Promise<void> {
    this.requireReady();
    const running = this.#start(run);
    this.#state = "running";
    this.#running = running.catch(() => {});
    try {
      this.#finished(run, await running);
    } catch (error) {
      if (this.#isRunning()) this.#state = "poisoned";
      throw fromNative(error);
    } finally {
      this.#running = undefined;
    }
  }

  /** What fails here (no thread could be started) leaves the VM as it was. */
  #start({ entry, slots, argumentCount, resultCount }: EntryRun): Promise<true | NativeOutcome> {
    try {
      return this.native.call(entry, slots, argumentCount, resultCount, this.options.timeoutMs);
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** On the calling thread. */
  runSync(run: EntryRun): void {
    this.requireReady();
    this.#state = "running";
    try {
      const { entry, slots, argumentCount, resultCount } = run;
      const outcome = this.native.callSync(entry, slots, argumentCount, resultCount, this.options.timeoutMs);
      this.#finished(run, outcome);
    } catch (error) {
      if (this.#isRunning()) this.#state = "poisoned";
      throw fromNative(error);
    }
  }

  /** @throws BARECELL_BUSY, BARECELL_POISONED, BARECELL_DISPOSED */
  requireReady(): void {
    if (this.#state === "ready") return;
    const reasons: Record<Exclude<VmState, "ready">, readonly [ErrorCode, string]> = {
      running: ["BARECELL_BUSY", "another call of this VM is running; await it first"],
      poisoned: [
        "BARECELL_POISONED",
        "the last call did not return (a trap, a kill or an exit); dispose the VM and boot a new one",
      ],
      disposed: ["BARECELL_DISPOSED", "the VM is disposed; boot a new one"],
    };
    const [code, message] = reasons[this.#state];
    throw new BarecellError(code, message);
  }

  /** For what can be asked of a poisoned VM too. @throws BARECELL_BUSY, BARECELL_DISPOSED */
  requireIdle(): void {
    if (this.#state === "disposed" || this.#state === "running") this.requireReady();
  }

  /** A method, so that the compiler does not take an earlier check of the field for granted. */
  #isRunning(): boolean {
    return this.#state === "running";
  }

  #finished({ what, instantiates }: EntryRun, outcome: true | NativeOutcome): void {
    if (!this.#isRunning()) {
      throw new BarecellError("BARECELL_DISPOSED", `the VM was disposed during the call of ${what}`);
    }
    if (outcome !== true) throw this.#ended(outcome, what, instantiates === true);
    this.#state = "ready";
  }

  /** The error for a run that did not come to its end; sets the state it leaves. */
  #ended(outcome: NativeOutcome, what: string, instantiates: boolean): BarecellError {
    const keep =
      this.options.keepAfterTrap && (outcome.kind === OUTCOME.trap || outcome.kind === OUTCOME.exception);
    const error = outcomeError(this.image, this.native, this.options, outcome, what, instantiates);
    if (this.#state !== "disposed") this.#state = keep ? "ready" : "poisoned";
    return error;
  }

  /** Idempotent, in every state. */
  dispose(): void {
    if (this.#released !== undefined) return;
    this.#state = "disposed";
    if (this.#running === undefined) {
      this.native.dispose();
      this.#released = Promise.resolve();
      return;
    }
    this.native.cancel();
    this.#released = this.#running.then(() => this.native.dispose());
  }

  /** Resolves when all is freed. */
  async released(): Promise<void> {
    await this.#released;
  }
}
