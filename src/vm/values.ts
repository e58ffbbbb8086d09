/** WebAssembly values between JavaScript and the mailbox's slots of 16 bytes. */
import { BC_SLOT_BYTES } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import type { Signature, ValueType } from "../image/manifest.ts";
import type { FunctionReference, References } from "./references.ts";

/**
 * i32, f32 and f64 are numbers, i64 is a bigint, v128 a Uint8Array of 16 bytes, a funcref a FunctionReference or null. An externref is whatever JavaScript
 * value was passed in, which no type can say: a result of that type needs a cast.
 */
export type WasmValue = number | bigint | Uint8Array | FunctionReference | null;

/** What a call returns: nothing, one value, or an array for a multi-value function. */
export type CallResult = WasmValue | WasmValue[] | undefined;

const INT32_MIN = -(2 ** 31);
const UINT32_MAX = 2 ** 32 - 1;
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

/** What a call needs of a function, worked out once. */
export interface Callee {
  readonly name: string;
  readonly type: Signature;
  /** What each argument is, for messages. */
  readonly argumentNames: readonly string[];
}

/**
 * Checks arguments against a function's type and writes them into slots, which hold zeros.
 * @throws BARECELL_ARGUMENT_INVALID naming the argument
 */
export function writeArguments(
  { name, type, argumentNames }: Callee,
  args: readonly unknown[],
  slots: DataView,
  references: References,
): void {
  const { params } = type;
  if (args.length !== params.length) {
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `'${name}' takes ${count(params.length)} (${params.join(", ") || "none"}), but ${args.length === 1 ? "1 was" : `${args.length} were`} given`,
    );
  }
  for (let i = 0; i < params.length; i++) {
    const what = argumentNames[i] as string;
    writeValue(slots, i * BC_SLOT_BYTES, params[i] as ValueType, args[i], references, what);
  }
}

const count = (n: number): string => (n === 1 ? "1 argument" : `${n} arguments`);

/** @param what the value is, for messages */
export function writeValue(
  view: DataView,
  at: number,
  type: ValueType,
  value: unknown,
  references: References,
  what: string,
): void {
  switch (type) {
    case "i32":
      if (typeof value !== "number" || !Number.isInteger(value) || value < INT32_MIN || value > UINT32_MAX) {
        throw wrong(what, "a whole number from -2^31 to 2^32 - 1 (i32)", value);
      }
      view.setUint32(at, value >>> 0, true);
      return;
    case "i64":
      if (typeof value !== "bigint" || value < INT64_MIN || value > UINT64_MAX) {
        throw wrong(what, "a bigint from -2^63 to 2^64 - 1 (i64)", value);
      }
      view.setBigUint64(at, BigInt.asUintN(64, value), true);
      return;
    case "f32":
      if (typeof value !== "number") throw wrong(what, "a number (f32)", value);
      view.setFloat32(at, value, true);
      return;
    case "f64":
      if (typeof value !== "number") throw wrong(what, "a number (f64)", value);
      view.setFloat64(at, value, true);
      return;
    case "v128":
      if (!(value instanceof Uint8Array) || value.length !== BC_SLOT_BYTES) {
        throw wrong(what, "a Uint8Array of 16 bytes (v128)", value);
      }
      new Uint8Array(view.buffer, at, BC_SLOT_BYTES).set(value);
      return;
    case "externref":
      view.setBigUint64(at, references.externToGuest(value), true);
      return;
    case "funcref": {
      const number = references.functionToGuest(value);
      if (number === undefined) throw wrong(what, "null or a FunctionReference of this VM (funcref)", value);
      view.setBigUint64(at, number, true);
      return;
    }
  }
}

function wrong(what: string, wanted: string, value: unknown): BarecellError {
  return new BarecellError("BARECELL_ARGUMENT_INVALID", `${what} must be ${wanted}, not ${spell(value)}`);
}

/** Never calls into the value: an object's own conversion to text may throw. */
function spell(value: unknown): string {
  if (typeof value === "object" || typeof value === "function") return value === null ? "null" : "an object";
  if (typeof value === "bigint") return `bigint ${value}n`;
  return `${typeof value} ${typeof value === "string" ? `'${value}'` : String(value)}`;
}

/**
 * What a function returned, out of slots; i32 is signed, as in JavaScript's own WebAssembly interface.
 * @throws BARECELL_GUEST_PROTOCOL for a reference that the guest made up
 */
export function readResult({ results }: Signature, slots: DataView, references: References): CallResult {
  if (results.length === 0) return undefined;
  if (results.length === 1) return readValue(slots, 0, results[0] as ValueType, references);
  return results.map((type, i) => readValue(slots, i * BC_SLOT_BYTES, type, references));
}

export function viewOf(slots: Uint8Array): DataView<ArrayBufferLike> {
  return new DataView(slots.buffer, slots.byteOffset, slots.byteLength);
}

export function readValue(slots: DataView, at: number, type: ValueType, references: References): WasmValue {
  switch (type) {
    case "i32":
      return slots.getInt32(at, true);
    case "i64":
      return slots.getBigInt64(at, true);
    case "f32":
      return slots.getFloat32(at, true);
    case "f64":
      return slots.getFloat64(at, true);
    case "v128":
      return new Uint8Array(slots.buffer, slots.byteOffset + at, BC_SLOT_BYTES).slice();
    case "funcref":
      return references.functionFromGuest(slots.getBigUint64(at, true));
    case "externref":
      // Any value at all; see WasmValue.
      return references.externFromGuest(slots.getBigUint64(at, true)) as WasmValue;
  }
}
