/**
 * A module that nobody wrote a script for (a fuzzer's find, a proof of concept): it has to be refused with a code, or to run and end in a way that
 * WebAssembly knows. What must not happen is a compiler that fails, a processor exception that no trap explains, or an error without a code.
 */
import { SLOT_BYTES } from "./constants.ts";
import { describeError, type Engine, isCodedError, type ModuleShape } from "./engine.ts";
import type { Entry } from "./run-script.ts";

/** Codes that a module may end with, whatever it does. */
const HARMLESS = new RegExp(
  `^BARECELL_(?:${[
    "MODULE_\\w+",
    "LINK_FAILED",
    "MEMORY_LIMIT",
    "COMPILE_LIMIT",
    "TIMEOUT",
    "POISONED",
    "GUEST_EXIT",
    "TRAP_(?:UNREACHABLE|INTEGER_\\w+|INVALID_CONVERSION|OUT_OF_BOUNDS_\\w+|UNINITIALIZED_ELEMENT|INDIRECT_CALL_TYPE_MISMATCH|STACK_EXHAUSTED|IMPORT_DENIED)",
  ].join("|")})$`,
);

/** Compiles and instantiates the module, and calls what it exports with zeros. */
export async function runModule(bytes: Uint8Array, engine: Engine): Promise<Entry[]> {
  const entries: Entry[] = [];
  const report = (kind: string, error: unknown): void => {
    const harmless = error === undefined || (isCodedError(error) && HARMLESS.test(error.code));
    const reason = harmless ? "" : describeError(error);
    entries.push({ line: 0, kind, outcome: harmless ? "passed" : "failed", reason });
  };
  try {
    const shape = engine.validate(bytes);
    const image = await engine.compile([{ name: "module", bytes, shape, link: {} }]);
    const vm = image.boot();
    try {
      attempt("instantiate", () => vm.instantiate("module"), report);
      for (const [name, slots] of calls(shape)) {
        attempt(`invoke ${JSON.stringify(name)}`, () => vm.call("module", name, slots), report);
      }
    } finally {
      vm.dispose();
    }
  } catch (error) {
    report("module", error);
  }
  return entries;
}

function attempt(kind: string, run: () => unknown, report: (kind: string, error: unknown) => void): void {
  try {
    run();
    report(kind, undefined);
  } catch (error) {
    report(kind, error);
  }
}

/** So many exports are enough to look at. */
const MOST_CALLS = 50;

function* calls(shape: ModuleShape): Generator<readonly [string, Uint8Array]> {
  let count = 0;
  for (const [name, exported] of shape.exports) {
    if (exported.kind !== "func" || count++ >= MOST_CALLS) continue;
    yield [name, new Uint8Array(exported.params.length * SLOT_BYTES)];
  }
}
