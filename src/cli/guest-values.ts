/** Numbers of the command line to WebAssembly values, and results to text and JSON. */
import type { Signature, ValueType } from "../image/manifest.ts";
import type { WasmValue } from "../vm/values.ts";
import { usageError } from "./report.ts";

const INTEGER = /^[+-]?(0x[0-9a-f]+|\d+)$/i;
const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/**
 * Reads the arguments of an export.
 * @throws BARECELL_ARGUMENT_INVALID naming the argument
 */
export function parseArguments(name: string, type: Signature, args: readonly string[]): WasmValue[] {
  const wanted = type.params.length;
  if (args.length !== wanted) {
    throw usageError(
      `'${name}' takes ${wanted === 1 ? "1 argument" : `${wanted} arguments`} (${type.params.join(", ") || "none"}), but ${args.length} ${args.length === 1 ? "was" : "were"} given`,
    );
  }
  return type.params.map((param, i) => parseValue(param, args[i] ?? "", `argument ${i + 1} of '${name}'`));
}

function parseValue(type: ValueType, text: string, what: string): WasmValue {
  switch (type) {
    case "i32":
    case "i64":
      return parseInteger(type, text, what);
    case "f32":
    case "f64":
      return parseFloating(type, text, what);
    default:
      throw usageError(`${what} has the type ${type}, which the command line cannot give`);
  }
}

function parseInteger(type: "i32" | "i64", text: string, what: string): number | bigint {
  const bits = type === "i32" ? 32n : 64n;
  if (!INTEGER.test(text)) throw usageError(`${what} must be a whole number (${type}), not '${text}'`);
  // BigInt() takes no sign before 0x.
  const magnitude = BigInt(text.replace(/^[+-]/, ""));
  const value = text.startsWith("-") ? -magnitude : magnitude;
  if (value < -(2n ** (bits - 1n)) || value >= 2n ** bits) {
    throw usageError(`${what} must be from -2^${bits - 1n} to 2^${bits} - 1 (${type}), not '${text}'`);
  }
  return type === "i32" ? Number(value) : value;
}

function parseFloating(type: "f32" | "f64", text: string, what: string): number {
  const special = /^([+-]?)(?:(nan)|inf(?:inity)?)$/i.exec(text);
  if (special?.[2]) return Number.NaN;
  if (special) return special[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (DECIMAL.test(text)) return Number(text);
  if (INTEGER.test(text)) {
    // Hexadecimal; Number() takes no sign before 0x.
    const magnitude = Number(text.replace(/^[+-]/, ""));
    return text.startsWith("-") ? -magnitude : magnitude;
  }
  throw usageError(`${what} must be a number, nan, inf or -inf (${type}), not '${text}'`);
}

/** A result for people. */
export function spellValue(type: ValueType | undefined, value: WasmValue): string {
  if (value instanceof Uint8Array) return spellVector(value);
  if (type === "funcref" && value !== null) return "function";
  if (Object.is(value, -0)) return "-0";
  if (type === "f32" && typeof value === "number" && Number.isFinite(value)) return shortestSingle(value);
  return String(value);
}

/** The shortest decimal number that is this f32: 0.1 rather than 0.10000000149011612. */
function shortestSingle(value: number): string {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

/** A result for JSON, which has neither 64-bit integers nor NaN nor infinities. */
export function jsonValue(value: WasmValue): number | string | null {
  if (value instanceof Uint8Array) return spellVector(value);
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (typeof value === "object" && value !== null) return "function";
  return value === null ? null : String(value);
}

/** As one number of 128 bits; WebAssembly is little-endian. */
function spellVector(value: Uint8Array): string {
  return `0x${Buffer.from(value).reverse().toString("hex")}`;
}
