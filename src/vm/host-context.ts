/** What a host function gets besides the guest's arguments. */
import { BarecellError } from "../errors.ts";
import type { HostFunctionOf, HostImportsOf, TypedHostFunctionOf } from "../host/host-function.ts";
import type { ImageImport } from "../image/manifest.ts";
import type { HostCallMessage } from "../observe/channels.ts";
import type { LinearMemoryView } from "./linear-memory.ts";
import type { CallResult } from "./values.ts";

export type HostFunction = HostFunctionOf<HostContext>;
export type TypedHostFunction = TypedHostFunctionOf<HostContext>;
export type HostImports = HostImportsOf<HostContext>;

/** One call of a host function. */
export class Frame {
  /** 0: on the JavaScript thread. */
  readonly token: number;
  /** What was called. */
  readonly import: ImageImport;
  /** Of the VM's memories, the one that the importer's pointers mean. */
  readonly memory: number;
  /** False when the function has ended, or the guest's call has. */
  isLive = true;
  /** A call back into the guest goes on. */
  inner: Promise<unknown> | "sync" | undefined = undefined;
  abort: AbortController | undefined = undefined;
  /** What listeners hear of it, if there are any. */
  message: HostCallMessage | undefined = undefined;

  constructor(token: number, called: ImageImport, memory: number) {
    this.token = token;
    this.import = called;
    this.memory = memory;
  }
}

/** What all contexts of a VM share. */
export interface ContextSide {
  /** Of the guest's call, of `performance.now()`; Infinity: never. */
  readonly deadline: number;
  memory(frame: Frame): LinearMemoryView;
  call(frame: Frame, name: string, args: readonly unknown[]): Promise<CallResult>;
  callSync(frame: Frame, name: string, args: readonly unknown[]): CallResult;
}

/**
 * The way back from a host function to the guest that called it. To be used until the function returns, or its promise settles.
 */
export class HostContext {
  readonly #frame: Frame;
  readonly #side: ContextSide;
  readonly #deadline: number;
  #memory: LinearMemoryView | undefined;

  /** Made by a VM only. */
  constructor(frame: Frame, side: ContextSide) {
    this.#frame = frame;
    this.#side = side;
    this.#deadline = side.deadline;
  }

  /** The import that was called. */
  get module(): string {
    return this.#frame.import.module;
  }

  get name(): string {
    return this.#frame.import.name;
  }

  /**
   * Linear memory of the module that called, checked. Pointers and lengths may be given as they came, as i32, where those from 2^31 on are negative.
   * Every access throws BARECELL_CONTEXT_STALE when the function has ended.
   */
  get memory(): LinearMemoryView {
    this.#memory ??= this.#side.memory(this.#frame);
    return this.#memory;
  }

  /** When the guest's call must be over (`timeoutMs`), as `performance.now()` counts, milliseconds; Infinity if never. */
  get deadline(): number {
    return this.#deadline;
  }

  /** Aborted when the guest's call ends before this function does: by a time limit, an abort, or `dispose()`. */
  get signal(): AbortSignal {
    const frame = this.#frame;
    frame.abort ??= new AbortController();
    if (!frame.isLive && !frame.abort.signal.aborted) frame.abort.abort(staleContext(frame));
    return frame.abort.signal;
  }

  /**
   * Calls an exported function of the module that called this one, and waits for it. One call at a time, and only while this function is the innermost one.
   * The last argument may be `{ timeoutMs }`. The limits of the outer call hold for all within it.
   * @throws as `MicroVM.call`; BARECELL_CALL_DEPTH, BARECELL_CONTEXT_STALE, BARECELL_BUSY; in a synchronous call BARECELL_HOST_FUNCTION_ASYNC: use `callSync`
   */
  async call(name: string, ...args: unknown[]): Promise<CallResult> {
    return this.#side.call(this.#frame, name, args);
  }

  /** As `call`, on the calling thread. Works in functions that return promises too. */
  callSync(name: string, ...args: unknown[]): CallResult {
    return this.#side.callSync(this.#frame, name, args);
  }
}

/** `'env.log'`, for messages. */
export function nameOf(frame: Frame): string {
  return `'${frame.import.module}.${frame.import.name}'`;
}

export function staleContext(frame: Frame): BarecellError {
  return new BarecellError(
    "BARECELL_CONTEXT_STALE",
    `the context of the host function ${nameOf(frame)} was used after the function, or the guest's call, had ended`,
  );
}
