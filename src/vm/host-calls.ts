/**
 * Calls of host functions by the guest of one VM. They nest, as a host function may call back into the guest; each has a frame here while it lasts. Native code
 * asks `dispatch`, on the JavaScript thread: see native/host_functions.h for what happens on the other side.
 */
import { BC_SLOT_BYTES } from "../abi.ts";
import { BarecellError, errorText } from "../errors.ts";
import type { CheckedHostFunction } from "../host/host-function.ts";
import type { BoundImport } from "../host/imports.ts";
import type { ImageImport } from "../image/manifest.ts";
import type { NativeDispatch, NativeVm } from "./addon.ts";
import { HostContext, staleContext } from "./host-context.ts";
import { LinearMemoryView } from "./linear-memory.ts";
import type { References } from "./references.ts";
import { type CallResult, readValue, writeValue } from "./values.ts";

/** The guest's side of a call of a host function, as the VM offers it. */
export interface GuestSide {
  /** Calls an export of a module from within the host function of that token. */
  call(frame: Frame, name: string, args: readonly unknown[]): Promise<CallResult>;
  callSync(frame: Frame, name: string, args: readonly unknown[]): CallResult;
  /** What went wrong in a call back into the guest, so that the guest cannot go on. */
  broken(): BarecellError | undefined;
}

/** One call of a host function. */
export interface Frame {
  /** 0: on the JavaScript thread. */
  readonly token: number;
  /** `'env.log'` */
  readonly what: string;
  /** Place of the module that calls. */
  readonly importer: number;
  /** False when the function has ended, or the guest's call has. */
  isLive: boolean;
  /** A call back into the guest goes on. */
  inner: Promise<unknown> | "sync" | undefined;
  abort: AbortController | undefined;
}

interface Target {
  readonly function: CheckedHostFunction;
  readonly entry: ImageImport;
  /** Of the VM's memories, the one that its pointers mean. */
  readonly memory: number;
}

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
}

export class HostCalls {
  readonly #targets: readonly (Target | undefined)[];
  readonly #references: References;
  readonly #maxDepth: number;
  readonly #frames: Frame[] = [];
  readonly #guest: GuestSide;
  #native: NativeVm | undefined;
  #deadline = Number.POSITIVE_INFINITY;
  #failure: BarecellError | undefined;

  constructor({ imports, bound, memories, references, maxDepth, guest }: HostCallsParts) {
    this.#references = references;
    this.#maxDepth = maxDepth;
    this.#guest = guest;
    this.#targets = bound.map(({ hostFunction }, i) => {
      const entry = imports[i];
      if (hostFunction === undefined || entry === undefined) return undefined;
      return { function: hostFunction, entry, memory: memories[entry.importer] ?? NO_MEMORY };
    });
  }

  /** Whether any import is a host function. */
  get isNeeded(): boolean {
    return this.#targets.some((target) => target !== undefined);
  }

  /** Before the first run. */
  attach(native: NativeVm): void {
    this.#native = native;
  }

  /** A run begins. @param timeoutMs 0: none */
  begin(timeoutMs: number): void {
    this.#failure = undefined;
    this.#deadline = timeoutMs > 0 ? performance.now() + timeoutMs : Number.POSITIVE_INFINITY;
  }

  /** The run is over: what functions still do is of no use to the guest. */
  end(reason: unknown): void {
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
    if (!frame.isLive) throw staleContext(frame.what);
    if (this.#frames.at(-1) !== frame || frame.inner !== undefined) {
      throw new BarecellError(
        "BARECELL_BUSY",
        `the host function ${frame.what} has a call of the guest that is not over; await it first`,
      );
    }
    if (this.#frames.length <= this.#maxDepth) return;
    throw new BarecellError(
      "BARECELL_CALL_DEPTH",
      `host functions may call back into the guest ${this.#maxDepth} levels deep; raise maxCallDepth`,
    );
  }

  /** Never throws. */
  readonly dispatch: NativeDispatch = (importIndex, token, slots) => {
    const target = this.#targets[importIndex];
    if (target === undefined) return false;
    const { module, name, importer } = target.entry;
    const frame: Frame = {
      token,
      what: `'${module}.${name}'`,
      importer,
      isLive: true,
      inner: undefined,
      abort: undefined,
    };
    this.#frames.push(frame);
    try {
      const args = target.entry.type.params.map((type, i) =>
        readValue(slots, i * BC_SLOT_BYTES, type, this.#references),
      );
      const result = target.function.call(this.#contextOf(target, frame), ...args);
      if (!isThenable(result)) {
        this.#writeResults(target, frame, slots, result);
        return this.#finish(frame);
      }
      if (token === 0) return this.#refusePromise(frame, result);
      void this.#finishLater(target, frame, result, slots);
      return undefined;
    } catch (error) {
      return this.#fail(frame, error);
    }
  };

  async #finishLater(
    target: Target,
    frame: Frame,
    promise: PromiseLike<unknown>,
    slots: Uint8Array,
  ): Promise<void> {
    let succeeded: boolean;
    try {
      const result = await promise;
      // A call of the guest that nobody awaited comes first: the guest has one stack.
      if (frame.inner instanceof Promise) await frame.inner.catch(() => {});
      // The run ended meanwhile, and what was to come of it is of no use.
      if (!frame.isLive) return;
      this.#writeResults(target, frame, slots, result);
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
            `the host function ${frame.what} failed: ${errorText(error)}`,
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
        `the host function ${frame.what} gave a promise, and the guest was called synchronously; use call instead of callSync`,
      ),
    );
  }

  #writeResults({ entry }: Target, frame: Frame, slots: Uint8Array, result: unknown): void {
    const { results } = entry.type;
    if (results.length === 0) return;
    const values = results.length === 1 ? [result] : result;
    if (!Array.isArray(values) || values.length !== results.length) {
      throw new BarecellError(
        "BARECELL_ARGUMENT_INVALID",
        `the result of ${frame.what} must be an array of ${results.length} values (${results.join(", ")})`,
      );
    }
    const view = new DataView(slots.buffer, slots.byteOffset, slots.byteLength);
    results.forEach((type, i) => {
      const what = results.length === 1 ? `the result of ${frame.what}` : `result ${i + 1} of ${frame.what}`;
      // Whole slots: nothing of an argument shows through.
      slots.fill(0, i * BC_SLOT_BYTES, (i + 1) * BC_SLOT_BYTES);
      writeValue(view, i * BC_SLOT_BYTES, type, values[i], this.#references, what);
    });
  }

  #contextOf({ entry, memory }: Target, frame: Frame): HostContext {
    const native = this.#native as NativeVm;
    const guest = this.#guest;
    const check = (): void => {
      if (!frame.isLive) throw staleContext(frame.what);
    };
    const parts = {
      module: entry.module,
      name: entry.name,
      deadline: this.#deadline,
      memory: new LinearMemoryView(native, { index: memory, check, takesI32: true }),
      signal: () => {
        frame.abort ??= new AbortController();
        if (!frame.isLive && !frame.abort.signal.aborted) frame.abort.abort(staleContext(frame.what));
        return frame.abort.signal;
      },
      call: (name: string, args: readonly unknown[]) => guest.call(frame, name, args),
      callSync: (name: string, args: readonly unknown[]) => guest.callSync(frame, name, args),
    };
    return new HostContext(parts);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
