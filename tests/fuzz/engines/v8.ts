/** The engine to compare with: the process's own WebAssembly. */
import { Script } from "node:vm";
import type { Unit, UnitModule } from "../harness/unit.ts";
import { decodeModule } from "../wasm/decode.ts";
import { globalTypeOf, type Module, typeOfFunction } from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import type { Engine, Outcome, Trap } from "./outcome.ts";

/** V8's messages (its message templates, "kTrap…"), each with the traps that it stands for. */
const TRAPS: readonly (readonly [RegExp, readonly Trap[]])[] = [
  [/^unreachable$/, ["UNREACHABLE"]],
  [/^(divide|remainder) by zero$/, ["INTEGER_DIVIDE_BY_ZERO"]],
  [/^divide result unrepresentable$/, ["INTEGER_OVERFLOW"]],
  [/^float unrepresentable in integer range$/, ["INTEGER_OVERFLOW", "INVALID_CONVERSION"]],
  [/^memory access out of bounds$/, ["OUT_OF_BOUNDS_MEMORY"]],
  [/^table (index is|access) out of bounds$/, ["OUT_OF_BOUNDS_TABLE"]],
  [
    /^null function or function signature mismatch$/,
    ["UNINITIALIZED_ELEMENT", "INDIRECT_CALL_TYPE_MISMATCH"],
  ],
  [/data segment .*out of bounds/, ["OUT_OF_BOUNDS_MEMORY"]],
  [
    /table initializer \d+: table fallthru|element segment out of bounds|table initializer/,
    ["OUT_OF_BOUNDS_TABLE"],
  ],
  [/Maximum call stack size exceeded/, ["STACK_EXHAUSTED"]],
];

/** Generated code ends by itself, but what a reducer cut out of it may have been the end. */
const TIMEOUT_MS = 2_000;

/** V8 looks at interrupts in every loop and at every call, also of WebAssembly; the watchdog of node:vm makes one. */
const interruptible = new Script("globalThis[Symbol.for('barecell.fuzz')]()");
const RUN = Symbol.for("barecell.fuzz");

function withTimeout<T>(run: () => T): T {
  Object.defineProperty(globalThis, RUN, { value: run, configurable: true });
  return interruptible.runInThisContext({ timeout: TIMEOUT_MS }) as T;
}

export function outcomeOfError(error: unknown): Outcome {
  if (systemCode(error) === "ERR_SCRIPT_EXECUTION_TIMEOUT") {
    return { kind: "failure", message: "it hangs", isHang: true };
  }
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
    const words = error.message.replace(/^WebAssembly\.Instance\(\): /, "");
    const traps = TRAPS.find(([pattern]) => pattern.test(words))?.[1];
    if (traps) return { kind: "trap", traps, message: error.message };
  }
  return { kind: "failure", message: String(error) };
}

function systemCode(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** A reference from outside: an object that both sides know by a number. */
class Token {
  readonly number: bigint;
  constructor(number: bigint) {
    this.number = number;
  }
}

const view = new DataView(new ArrayBuffer(8));

function toJs(type: ValueType, bits: bigint, token: (bits: bigint) => Token | null): unknown {
  switch (type) {
    case "i32":
      return Number(BigInt.asIntN(32, bits));
    case "i64":
      return BigInt.asIntN(64, bits);
    case "f32":
      view.setUint32(0, Number(bits));
      return view.getFloat32(0);
    case "f64":
      view.setBigUint64(0, bits);
      return view.getFloat64(0);
    case "externref":
      return token(bits);
    default:
      return null;
  }
}

/** A NaN that left as a number of JavaScript may be any; it is reported as the canonical one. */
function fromJs(type: ValueType, value: unknown): bigint {
  switch (type) {
    case "i32":
      return BigInt.asUintN(32, BigInt(value as number));
    case "i64":
      return BigInt.asUintN(64, value as bigint);
    case "f32":
      view.setFloat32(0, value as number);
      return Number.isNaN(value) ? 0x7fc00000n : BigInt(view.getUint32(0));
    case "f64":
      view.setFloat64(0, value as number);
      return Number.isNaN(value) ? 0x7ff8000000000000n : view.getBigUint64(0);
    case "externref":
      return value instanceof Token ? value.number : value === null ? 0n : -1n;
    default:
      return value === null ? 0n : 1n;
  }
}

interface Loaded {
  readonly module: Module;
  readonly exports: Record<string, unknown>;
}

export class V8Engine implements Engine {
  readonly name = "V8";
  readonly #units: ReadonlyMap<string, UnitModule>;
  readonly #loaded = new Map<string, Loaded>();
  readonly #tokens = new Map<bigint, Token>();

  constructor(unit: Unit) {
    this.#units = new Map(unit.modules.map((module) => [module.name, module]));
  }

  instantiate(name: string): Outcome {
    const source = this.#units.get(name);
    if (!source) throw new Error(`the unit has no module ${name}`);
    const imports: Record<string, Record<string, unknown>> = {};
    for (const [from, to] of Object.entries(source.link)) imports[from] = this.#get(to).exports;
    try {
      const module = new WebAssembly.Module(source.bytes);
      const { exports } = withTimeout(() => new WebAssembly.Instance(module, imports));
      this.#loaded.set(name, { module: decodeModule(source.bytes), exports });
      return { kind: "values", bits: [] };
    } catch (error) {
      return outcomeOfError(error);
    }
  }

  call(name: string, exportName: string, args: readonly bigint[]): Outcome {
    const { module, exports } = this.#get(name);
    const index = module.exports.find((entry) => entry.name === exportName)?.index ?? -1;
    const type = typeOfFunction(module, index);
    const run = exports[exportName] as (...values: unknown[]) => unknown;
    const values = type.params.map((param, i) => toJs(param, args[i] ?? 0n, (bits) => this.#token(bits)));
    let result: unknown;
    try {
      result = withTimeout(() => run(...values));
    } catch (error) {
      return outcomeOfError(error);
    }
    const results = type.results.length > 1 ? (result as unknown[]) : [result];
    return { kind: "values", bits: type.results.map((t, i) => fromJs(t, results[i])) };
  }

  memory(name: string): Uint8Array | undefined {
    const memory = Object.values(this.#get(name).exports).find((item) => item instanceof WebAssembly.Memory);
    return memory ? new Uint8Array(memory.buffer) : undefined;
  }

  global(name: string, exportName: string): bigint {
    const { module, exports } = this.#get(name);
    const index = module.exports.find((entry) => entry.name === exportName)?.index ?? -1;
    const global = exports[exportName] as WebAssembly.Global;
    return fromJs(globalTypeOf(module, index).type, global.value);
  }

  dispose(): void {
    this.#loaded.clear();
  }

  #get(name: string): Loaded {
    const loaded = this.#loaded.get(name);
    if (!loaded) throw new Error(`module ${name} is not instantiated`);
    return loaded;
  }

  #token(bits: bigint): Token | null {
    if (bits === 0n) return null;
    const token = this.#tokens.get(bits) ?? new Token(bits);
    this.#tokens.set(bits, token);
    return token;
  }
}
