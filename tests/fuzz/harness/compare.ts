/**
 * Runs a unit in two engines in lockstep and compares all that WebAssembly lets one see: results, traps, memories, exported globals, after
 * every call. What may differ:
 *
 * - Floats that cross as numbers of JavaScript: any NaN equals any NaN, as JavaScript does not keep their bits. Inside the modules NaNs
 *   are determined (nan.ts), so where bits are looked at, every bit counts.
 * - Traps that V8 has one message for: either of the two.
 * - How deep calls may nest: where one engine's stack is exhausted, the unit ends without a verdict.
 */
import { type Engine, isStackExhausted, type Outcome } from "../engines/outcome.ts";
import { decodeModule } from "../wasm/decode.ts";
import { globalTypeOf, type Module } from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import { isNanBits } from "./prepare.ts";
import type { Call, Unit } from "./unit.ts";

export interface Difference {
  /** The call that showed it, by its index; undefined while a module was instantiated. */
  readonly call: number | undefined;
  /** "result of f3", "memory of main at 0x10004", … */
  readonly what: string;
  readonly expected: string;
  readonly actual: string;
}

export interface Verdict {
  /** "invalid": V8 does not take the modules, so there is nothing to compare with. */
  readonly kind: "same" | "incomparable" | "different" | "invalid";
  readonly difference?: Difference;
  /** Why there is no verdict. */
  readonly reason?: string;
  readonly calls: number;
  readonly traps: number;
}

interface Watched {
  readonly name: string;
  readonly hasMemory: boolean;
  readonly globals: readonly { readonly name: string; readonly type: ValueType }[];
}

/** What of a module can be seen from outside without calling it. Vector globals cannot: there are probes for them. */
function watch(name: string, module: Module): Watched {
  const globals = module.exports.flatMap((entry) => {
    if (entry.kind !== "global") return [];
    const { type } = globalTypeOf(module, entry.index);
    return type === "v128" ? [] : [{ name: entry.name, type }];
  });
  return { name, hasMemory: module.exports.some(({ kind }) => kind === "memory"), globals };
}

export function compareUnit(unit: Unit, reference: Engine, tested: Engine): Verdict {
  const run = new Run(reference, tested);
  for (const { name, bytes } of unit.modules) {
    const outcome = run.step(undefined, `instantiating ${name}`, (engine) => engine.instantiate(name), []);
    if (outcome?.kind === "values") run.watched.push(watch(name, decodeModule(bytes)));
    run.compareState(undefined);
    if (run.end || outcome?.kind !== "values") return run.finish();
  }
  for (const [index, call] of unit.calls.entries()) {
    run.step(index, textOfCall(call), (engine) => engine.call(call.module, call.export, call.args), [
      ...call.type.results,
    ]);
    run.compareState(index);
    if (run.end) break;
  }
  return run.finish();
}

class Run {
  readonly #reference: Engine;
  readonly #tested: Engine;
  readonly watched: Watched[] = [];
  /** Set when the run is to end. */
  end: Omit<Verdict, "calls" | "traps"> | undefined;
  #calls = 0;
  #traps = 0;

  constructor(reference: Engine, tested: Engine) {
    this.#reference = reference;
    this.#tested = tested;
  }

  step(
    call: number | undefined,
    what: string,
    act: (engine: Engine) => Outcome,
    types: readonly ValueType[],
  ): Outcome | undefined {
    const expected = act(this.#reference);
    if (expected.kind === "failure") {
      const reason = `${what}: ${this.#reference.name}: ${expected.message}`;
      this.end = { kind: expected.isHang ? "incomparable" : "invalid", reason };
      return expected;
    }
    const actual = act(this.#tested);
    this.#calls++;
    if (expected.kind === "trap") this.#traps++;
    if (isStackExhausted(expected) || isStackExhausted(actual)) {
      this.end = { kind: "incomparable", reason: "a stack was exhausted" };
    } else if (!sameOutcome(expected, actual, types)) {
      this.#differ(call, what, textOfOutcome(expected, types), textOfOutcome(actual, types));
    }
    return expected;
  }

  #differ(call: number | undefined, what: string, expected: string, actual: string): void {
    this.end = { kind: "different", difference: { call, what, expected, actual } };
  }

  compareState(call: number | undefined): void {
    for (const { name, hasMemory, globals } of this.watched) {
      if (this.end) return;
      if (hasMemory) this.#compareMemory(call, name);
      for (const global of globals) if (!this.end) this.#compareGlobal(call, name, global);
    }
  }

  #compareMemory(call: number | undefined, name: string): void {
    const expected = this.#reference.memory(name) ?? NO_BYTES;
    const actual = this.#tested.memory(name) ?? NO_BYTES;
    if (Buffer.compare(expected, actual) === 0) return;
    if (expected.length !== actual.length) {
      this.#differ(call, `size of the memory of ${name}`, `${expected.length}`, `${actual.length}`);
      return;
    }
    const at = expected.findIndex((byte, i) => byte !== actual[i]);
    const what = `memory of ${name} at 0x${at.toString(16)}`;
    this.#differ(call, what, hexBytes(expected, at), hexBytes(actual, at));
  }

  #compareGlobal(call: number | undefined, name: string, global: Watched["globals"][number]): void {
    const expected = this.#reference.global(name, global.name);
    const actual = this.#tested.global(name, global.name);
    if (sameValue(global.type, expected, actual)) return;
    const { type } = global;
    const what = `global ${global.name} of ${name}`;
    this.#differ(call, what, textOfValue(type, expected), textOfValue(type, actual));
  }

  finish(): Verdict {
    return { ...(this.end ?? { kind: "same" }), calls: this.#calls, traps: this.#traps };
  }
}

const NO_BYTES = new Uint8Array(0);

function sameValue(type: ValueType, a: bigint, b: bigint): boolean {
  if (a === b) return true;
  return (type === "f32" || type === "f64") && isNanBits(type, a) && isNanBits(type, b);
}

function sameOutcome(expected: Outcome, actual: Outcome, types: readonly ValueType[]): boolean {
  if (expected.kind === "trap" && actual.kind === "trap") {
    return expected.traps.some((trap) => actual.traps.includes(trap));
  }
  if (expected.kind !== "values" || actual.kind !== "values") return false;
  return types.every((type, i) => sameValue(type, expected.bits[i] ?? 0n, actual.bits[i] ?? 0n));
}

const textOfValue = (type: ValueType, bits: bigint): string => `${type} 0x${bits.toString(16)}`;

export function textOfOutcome(outcome: Outcome, types: readonly ValueType[]): string {
  if (outcome.kind === "failure") return outcome.message;
  if (outcome.kind === "trap") return `trap ${outcome.traps.join(" or ")} (${outcome.message})`;
  return types.map((type, i) => textOfValue(type, outcome.bits[i] ?? 0n)).join(", ") || "returned";
}

export function textOfCall(call: Call): string {
  const args = call.type.params.map((type, i) => textOfValue(type, call.args[i] ?? 0n));
  return `${call.module}: "${call.export}"(${args.join(", ")})`;
}

function hexBytes(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.subarray(at, at + 16)).toString("hex");
}
