/** What scripts call a trap, and the codes that barecell has for it. */

/** The reference interpreter's words, and the code that stands for them. */
const TRAPS: readonly (readonly [string, string])[] = [
  ["integer divide by zero", "BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO"],
  ["integer overflow", "BARECELL_TRAP_INTEGER_OVERFLOW"],
  ["invalid conversion to integer", "BARECELL_TRAP_INVALID_CONVERSION"],
  ["out of bounds memory access", "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY"],
  ["out of bounds table access", "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE"],
  // An indirect call past the table's end; reading an element there is the case above.
  ["undefined element", "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE"],
  ["uninitialized element", "BARECELL_TRAP_UNINITIALIZED_ELEMENT"],
  ["indirect call type mismatch", "BARECELL_TRAP_INDIRECT_CALL_TYPE_MISMATCH"],
  ["unreachable", "BARECELL_TRAP_UNREACHABLE"],
  ["call stack exhausted", "BARECELL_TRAP_STACK_EXHAUSTED"],
  // Suites before bulk memory operations.
  ["data segment does not fit", "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY"],
  ["elements segment does not fit", "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE"],
];

/**
 * The codes that an expected text allows. As in the reference interpreter the text may be only the beginning of the message; and the message may
 * go on in details (`uninitialized element 2`). Empty for a text that stands for no trap of WebAssembly 2.0.
 */
export function codesOfTrap(text: string): string[] {
  if (text === "") return [];
  const codes = TRAPS.filter(([words]) => words.startsWith(text) || text.startsWith(words)).map(
    ([, code]) => code,
  );
  return [...new Set(codes)];
}
