/** What a host function gets besides the guest's arguments. */
import { BarecellError } from "../errors.ts";
import type { HostFunctionOf, HostImportsOf, TypedHostFunctionOf } from "../host/host-function.ts";
import type { LinearMemoryView } from "./linear-memory.ts";
import type { CallResult } from "./values.ts";

export type HostFunction = HostFunctionOf<HostContext>;
export type TypedHostFunction = TypedHostFunctionOf<HostContext>;
export type HostImports = HostImportsOf<HostContext>;

/** What the context of one call of a host function stands on. Made by a VM only. */
export interface HostContextParts {
  readonly module: string;
  readonly name: string;
  /** Linear memory 0 of the module that calls. */
  readonly memory: LinearMemoryView;
  /** When the call must be over, of `performance.now()`; Infinity: never. */
  readonly deadline: number;
  readonly signal: () => AbortSignal;
  readonly call: (name: string, args: readonly unknown[]) => Promise<CallResult>;
  readonly callSync: (name: string, args: readonly unknown[]) => CallResult;
}

/**
 * The way back from a host function to the guest that called it. To be used until the function returns, or its promise settles.
 */
export class HostContext {
  readonly #parts: HostContextParts;

  constructor(parts: HostContextParts) {
    this.#parts = parts;
  }

  /** The import that was called. */
  get module(): string {
    return this.#parts.module;
  }

  get name(): string {
    return this.#parts.name;
  }

  /**
   * Linear memory of the module that called, checked. Pointers and lengths may be given as they came, as i32, where those from 2^31 on are negative.
   * Every access throws BARECELL_CONTEXT_STALE when the function has ended.
   */
  get memory(): LinearMemoryView {
    return this.#parts.memory;
  }

  /** When the guest's call must be over (`timeoutMs`), as `performance.now()` counts, milliseconds; Infinity if never. */
  get deadline(): number {
    return this.#parts.deadline;
  }

  /** Aborted when the guest's call ends before this function does: by a time limit, an abort, or `dispose()`. */
  get signal(): AbortSignal {
    return this.#parts.signal();
  }

  /**
   * Calls an exported function of the module that called this one, and waits for it. One call at a time, and only while this function is the innermost one.
   * The last argument may be `{ timeoutMs }`. The limits of the outer call hold for all within it.
   * @throws as `MicroVM.call`; BARECELL_CALL_DEPTH, BARECELL_CONTEXT_STALE, BARECELL_BUSY; in a synchronous call BARECELL_HOST_FUNCTION_ASYNC: use `callSync`
   */
  async call(name: string, ...args: unknown[]): Promise<CallResult> {
    return this.#parts.call(name, args);
  }

  /** As `call`, on the calling thread. Works in functions that return promises too. */
  callSync(name: string, ...args: unknown[]): CallResult {
    return this.#parts.callSync(name, args);
  }
}

export function staleContext(what: string): BarecellError {
  return new BarecellError(
    "BARECELL_CONTEXT_STALE",
    `the context of the host function ${what} was used after the function, or the guest's call, had ended`,
  );
}
