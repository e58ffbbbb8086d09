/** What an engine says about a call, in words that both engines have. */

/** The names of barecell's codes without their beginning, so that a report needs no translation. */
export type Trap =
  | "UNREACHABLE"
  | "INTEGER_DIVIDE_BY_ZERO"
  | "INTEGER_OVERFLOW"
  | "INVALID_CONVERSION"
  | "OUT_OF_BOUNDS_MEMORY"
  | "OUT_OF_BOUNDS_TABLE"
  | "UNINITIALIZED_ELEMENT"
  | "INDIRECT_CALL_TYPE_MISMATCH"
  | "STACK_EXHAUSTED";

export type Outcome =
  | { readonly kind: "values"; readonly bits: readonly bigint[] }
  /** V8 has one message for some pairs of traps, so there may be several kinds. */
  | { readonly kind: "trap"; readonly traps: readonly Trap[]; readonly message: string }
  /** The engine did not come to an end that WebAssembly knows. */
  | { readonly kind: "failure"; readonly message: string; readonly isHang?: boolean };

export interface Engine {
  readonly name: string;
  /** Modules in the order of the unit. */
  instantiate(module: string): Outcome;
  call(module: string, name: string, args: readonly bigint[]): Outcome;
  /** A copy or a view, valid until the next call; undefined if the module has none. */
  memory(module: string): Uint8Array | undefined;
  /** An exported global; a reference is 0 for null and something else otherwise. */
  global(module: string, name: string): bigint;
  dispose(): void;
}

export function isStackExhausted(outcome: Outcome): boolean {
  return outcome.kind === "trap" && outcome.traps.includes("STACK_EXHAUSTED");
}
