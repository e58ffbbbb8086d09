/**
 * Calls of host functions by the guest of one VM. They nest, as a host function may call back into the guest; each has a frame here while it lasts. Native code
 * asks `dispatch`, on the JavaScript thread: see native/host_functions.h for what happens on the other side.
 */
// The global of that name is a getter.
import { performance } from "node:perf_hooks";
import { BC_SLOT_BYTES } from "../abi.ts";
import { BarecellError, errorText } from "../errors.ts";
import type { CheckedHostFunction } from "../host/host-function.ts";
import type { BoundImport } from "../host/imports.ts";
import type { ImageImport, ValueType } from "../image/manifest.ts";
import { hostCallChannel } from "../observe/channels.ts";
import type { VmObserver } from "../observe/vm-observer.ts";
import type { NativeDispatch, NativeVm } from "./addon.ts";
import { type ContextSide, Frame, HostContext, nameOf, staleContext } from "./host-context.ts";
import { LinearMemoryView } from "./linear-memory.ts";
import type { References } from "./references.ts";
import { NO_SLOTS, newSlots } from "./slots.ts";
import { type CallResult, readValue, viewOf, writeValue } from "./values.ts";

/** The guest's side of a call of a host function, as the VM offers it. */
export interface GuestSide {
  /** Calls an export of the module that called the host function of that frame. */
  call(frame: Frame, name: string, args: readonly unknown[]): Promise<CallResult>;
  callSync(frame: Frame, name: string, args: readonly unknown[]): CallResult;
  /** What went wrong in a call back into the guest, so that the guest cannot go on. */
  broken(): BarecellError | undefined;
}

interface Target {
  readonly function: CheckedHostFunction;
  readonly entry: ImageImport;
  /** Of the VM's memories, the one that its pointers mean. */
  readonly memory: number;
}

/** For messages, which name the function besides. */
const RESULT = "its result";

/** A memory that no VM has. */
const NO_MEMORY = 0xffff_ffff;

export interface HostCallsParts {
  readonly imports: readonly ImageImport[];
  readonly bound: readonly BoundImport[];
  /** Of each module, its linear memory 0. */
  readonly memories: readonly (number | null)[];
  readonly references: References;
  readonly maxDepth: number;
  readonly guest: GuestSide;
  readonly observer: VmObserver;
}

export class HostCalls implements ContextSide {
  /** Whether any import is a host function. */
  readonly isNeeded: boolean;
  readonly #targets: readonly (Target | undefined)[];
  readonly #references: References;
  readonly #maxDepth: number;
  readonly #frames: Frame[] = [];
  readonly #guest: GuestSide;
  readonly #observer: VmObserver;
  #native: NativeVm | undefined;
  /** Where native code puts arguments, and takes results from that are there at once. */
  readonly slots: Uint8Array;
  readonly #view: DataView;
  deadline = Number.POSITIVE_INFINITY;
  #failure: BarecellError | undefined;

  constructor({ imports, bound, memories, references, maxDepth, guest, observer }: HostCallsParts) {
    this.#references = references;
    this.#maxDepth = maxDepth;
    this.#guest = guest;
    this.#observer = observer;
    this.isNeeded = bound.some(({ hostFunction }) => hostFunction !== undefined);
    this.#targets = bound.map(({ hostFunction }, i) => {
      const entry = imports[i];
      if (hostFunction === undefined || entry === undefined) return undefined;
      return { function: hostFunction, entry, memory: memories[entry.importer] ?? NO_MEMORY };
    });
    const { bytes, view } = this.isNeeded ? newSlots(mostSlots(bound)) : NO_SLOTS;
    this.slots = bytes;
    this.#view = view;
  }

  /** Before the first run. */
  attach(native: NativeVm): void {
    this.#native = native;
  }

  /** A run begins. @param timeoutMs 0: none */
  begin(timeoutMs: number): void {
    this.#failure = undefined;
    if (!this.isNeeded) return;
    this.deadline = timeoutMs > 0 ? performance.now() + timeoutMs : Number.POSITIVE_INFINITY;
  }

  /** The run is over: what functions still do is of no use to the guest. */
  end(reasonOf: () => unknown): void {
    // Most runs call nothing, and an error takes longer to make than they do.
    if (this.#frames.length === 0) return;
    const reason = reasonOf();
    for (const frame of this.#frames.splice(0)) {
      frame.isLive = false;
      frame.abort?.abort(reason);
    }
  }

  /** Why the last run was ended by a host function. */
  get failure(): BarecellError | undefined {
    return this.#failure;
  }

  /** @throws BARECELL_CONTEXT_STALE, BARECELL_BUSY, BARECELL_CALL_DEPTH */
  requireInnermost(frame: Frame): void {
    if (!frame.isLive) throw staleContext(frame);
    if (this.#frames.at(-1) !== frame || frame.inner !== undefined) {
      throw new BarecellError(
        "BARECELL_BUSY",
        `the host function ${nameOf(frame)} has a call of the guest that is not over; await it first`,
      );
    }
    if (this.#frames.length <= this.#maxDepth) return;
    throw new BarecellError(
      "BARECELL_CALL_DEPTH",
      `host functions may call back into the guest ${this.#maxDepth} levels deep; raise maxCallDepth`,
    );
  }

  memory(frame: Frame): LinearMemoryView {
    const check = (): void => {
      if (!frame.isLive) throw staleContext(frame);
    };
    return new LinearMemoryView(this.#native as NativeVm, { index: frame.memory, check, takesI32: true });
  }

  call(frame: Frame, name: string, args: readonly unknown[]): Promise<CallResult> {
    return this.#guest.call(frame, name, args);
  }

  callSync(frame: Frame, name: string, args: readonly unknown[]): CallResult {
    return this.#guest.callSync(frame, name, args);
  }

  /** Never throws. The arguments are in `slots`, which calls within this one will use too: they are read first, and results are written last. */
  readonly dispatch: NativeDispatch = (importIndex, token) => {
    const target = this.#targets[importIndex];
    if (target === undefined) return false;
    const { entry, memory } = target;
    const { params } = entry.type;
    const frame = new Frame(token, entry, memory);
    this.#frames.push(frame);
    try {
      const args: unknown[] = [];
      for (let i = 0; i < params.length; i++) {
        args.push(readValue(this.#view, i * BC_SLOT_BYTES, params[i] as ValueType, this.#references));
      }
      const call = target.function.call;
      const context = new HostContext(frame, this);
      const result = hostCallChannel.hasSubscribers
        ? this.#observer.hostCall(frame, () => call(context, ...args))
        : call(context, ...args);
      if (!isThenable(result)) {
        this.#writeResults(frame, this.#view, result);
        return this.#finish(frame);
      }
      if (token === 0) return this.#refusePromise(frame, result);
      void this.#finishLater(frame, result);
      return undefined;
    } catch (error) {
      return this.#fail(frame, error);
    }
  };

  async #finishLater(frame: Frame, promise: PromiseLike<unknown>): Promise<void> {
    const slots = new Uint8Array(frame.import.type.results.length * BC_SLOT_BYTES);
    let succeeded: boolean;
    try {
      const result = await promise;
      // A call of the guest that nobody awaited comes first: the guest has one stack.
      if (frame.inner instanceof Promise) await frame.inner.catch(() => {});
      // The run ended meanwhile, and what was to come of it is of no use.
      if (!frame.isLive) return;
      this.#writeResults(frame, viewOf(slots), result);
      succeeded = this.#finish(frame);
    } catch (error) {
      if (frame.inner instanceof Promise) await frame.inner.catch(() => {});
      if (!frame.isLive) return;
      succeeded = this.#fail(frame, error);
    }
    this.#native?.answerHostCall(frame.token, succeeded, slots);
  }

  #finish(frame: Frame): boolean {
    const broken = this.#guest.broken();
    if (broken !== undefined) return this.#fail(frame, broken);
    this.#leave(frame);
    return true;
  }

  #fail(frame: Frame, error: unknown): false {
    this.#leave(frame);
    // An inner function's failure ended an inner call, and comes here again as the outer function's, if that did not catch it.
    this.#failure =
      error instanceof BarecellError && error.code === "BARECELL_HOST_FUNCTION_ASYNC"
        ? error
        : new BarecellError(
            "BARECELL_HOST_FUNCTION_FAILED",
            `the host function ${nameOf(frame)} failed: ${errorText(error)}`,
            { cause: error },
          );
    return false;
  }

  #leave(frame: Frame): void {
    frame.isLive = false;
    const place = this.#frames.indexOf(frame);
    if (place >= 0) this.#frames.splice(place, 1);
  }

  #refusePromise(frame: Frame, promise: PromiseLike<unknown>): false {
    // Its failure would be nobody's.
    promise.then(undefined, () => {});
    return this.#fail(
      frame,
      new BarecellError(
        "BARECELL_HOST_FUNCTION_ASYNC",
        `the host function ${nameOf(frame)} gave a promise, and the guest was called synchronously; use call instead of callSync`,
      ),
    );
  }

  #writeResults(frame: Frame, slots: DataView, result: unknown): void {
    const { results } = frame.import.type;
    if (results.length === 0) return;
    if (results.length === 1) {
      this.#writeResult(frame, slots, 0, result);
      return;
    }
    if (!Array.isArray(result) || result.length !== results.length) {
      throw new BarecellError(
        "BARECELL_ARGUMENT_INVALID",
        `the result of ${nameOf(frame)} must be an array of ${results.length} values (${results.join(", ")})`,
      );
    }
    for (let i = 0; i < results.length; i++) this.#writeResult(frame, slots, i, result[i]);
  }

  #writeResult(frame: Frame, slots: DataView, place: number, value: unknown): void {
    const { results } = frame.import.type;
    const at = place * BC_SLOT_BYTES;
    // Whole slots: nothing of an argument shows through.
    slots.setBigUint64(at, 0n, true);
    slots.setBigUint64(at + 8, 0n, true);
    const what = results.length === 1 ? RESULT : `result ${place + 1}`;
    writeValue(slots, at, results[place] as ValueType, value, this.#references, what);
  }
}

function mostSlots(bound: readonly BoundImport[]): number {
  return Math.max(1, ...bound.flatMap(({ argumentCount, resultCount }) => [argumentCount, resultCount]));
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
