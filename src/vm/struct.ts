/** Structures in a guest's memory, as C lays them out for wasm32: each field aligned to its own size, little-endian. */
import { BarecellError } from "../errors.ts";

/** A number's type, or `{ bytes: n }` for an array of bytes. `bool` is a byte of 0 or 1. */
export type StructField = keyof typeof NUMBERS | { readonly bytes: number };

type FieldValue<Field> = Field extends "i64" | "u64"
  ? bigint
  : Field extends "bool"
    ? boolean
    : Field extends { readonly bytes: number }
      ? Uint8Array
      : number;

type Fields = Readonly<Record<string, StructField>>;

/** What the fields of a layout are in JavaScript. */
export type StructValues<Layout> =
  Layout extends StructLayout<infer F> ? { [Name in keyof F]: FieldValue<F[Name]> } : never;

interface NumberField {
  readonly size: number;
  readonly get: (view: DataView, at: number) => number | bigint | boolean;
  readonly set: (view: DataView, at: number, value: never) => void;
  readonly takes: (value: unknown) => boolean;
}

const whole = (min: number, max: number) => (value: unknown) =>
  typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;
const big = (min: bigint, max: bigint) => (value: unknown) =>
  typeof value === "bigint" && value >= min && value <= max;
const isNumber = (value: unknown): boolean => typeof value === "number";

const NUMBERS = {
  i8: {
    size: 1,
    get: (v, at) => v.getInt8(at),
    set: (v, at, x) => v.setInt8(at, x),
    takes: whole(-128, 127),
  },
  u8: { size: 1, get: (v, at) => v.getUint8(at), set: (v, at, x) => v.setUint8(at, x), takes: whole(0, 255) },
  bool: {
    size: 1,
    get: (v, at) => v.getUint8(at) !== 0,
    set: (v, at, x) => v.setUint8(at, x ? 1 : 0),
    takes: (value) => typeof value === "boolean",
  },
  i16: {
    size: 2,
    get: (v, at) => v.getInt16(at, true),
    set: (v, at, x) => v.setInt16(at, x, true),
    takes: whole(-(2 ** 15), 2 ** 15 - 1),
  },
  u16: {
    size: 2,
    get: (v, at) => v.getUint16(at, true),
    set: (v, at, x) => v.setUint16(at, x, true),
    takes: whole(0, 2 ** 16 - 1),
  },
  i32: {
    size: 4,
    get: (v, at) => v.getInt32(at, true),
    set: (v, at, x) => v.setInt32(at, x, true),
    takes: whole(-(2 ** 31), 2 ** 31 - 1),
  },
  u32: {
    size: 4,
    get: (v, at) => v.getUint32(at, true),
    set: (v, at, x) => v.setUint32(at, x, true),
    takes: whole(0, 2 ** 32 - 1),
  },
  i64: {
    size: 8,
    get: (v, at) => v.getBigInt64(at, true),
    set: (v, at, x) => v.setBigInt64(at, x, true),
    takes: big(-(2n ** 63n), 2n ** 63n - 1n),
  },
  u64: {
    size: 8,
    get: (v, at) => v.getBigUint64(at, true),
    set: (v, at, x) => v.setBigUint64(at, x, true),
    takes: big(0n, 2n ** 64n - 1n),
  },
  f32: {
    size: 4,
    get: (v, at) => v.getFloat32(at, true),
    set: (v, at, x) => v.setFloat32(at, x, true),
    takes: isNumber,
  },
  f64: {
    size: 8,
    get: (v, at) => v.getFloat64(at, true),
    set: (v, at, x) => v.setFloat64(at, x, true),
    takes: isNumber,
  },
} as const satisfies Record<string, NumberField>;

/** Made by `defineStruct`. */
export interface StructLayout<F extends Fields = Fields> {
  readonly fields: F;
  readonly sizeBytes: number;
  readonly offsets: Readonly<Record<keyof F & string, number>>;
  decode(bytes: Uint8Array): Record<string, unknown>;
  encode(bytes: Uint8Array, values: Readonly<Record<string, unknown>>): void;
}

const sizeOf = (field: StructField): number =>
  typeof field === "string" ? NUMBERS[field].size : field.bytes;
const alignmentOf = (field: StructField): number => (typeof field === "string" ? NUMBERS[field].size : 1);
const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/**
 * A structure's layout: `defineStruct({ x: "i32", weight: "f64", name: { bytes: 16 } })`.
 * @throws BARECELL_ARGUMENT_INVALID
 */
export function defineStruct<const F extends Fields>(fields: F): StructLayout<F> {
  const offsets: Record<string, number> = {};
  let end = 0;
  let alignment = 1;
  for (const [name, field] of Object.entries(fields)) {
    checkField(name, field);
    const at = roundUp(end, alignmentOf(field));
    offsets[name] = at;
    end = at + sizeOf(field);
    alignment = Math.max(alignment, alignmentOf(field));
  }
  const sizeBytes = roundUp(end, alignment);
  return {
    fields,
    sizeBytes,
    offsets: offsets as Record<keyof F & string, number>,
    decode: (bytes) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, sizeBytes);
      return Object.fromEntries(
        Object.entries(fields).map(([name, field]) => {
          const at = offsets[name] as number;
          return [
            name,
            typeof field === "string" ? NUMBERS[field].get(view, at) : bytes.slice(at, at + field.bytes),
          ];
        }),
      );
    },
    encode: (bytes, values) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, sizeBytes);
      for (const [name, value] of Object.entries(values)) {
        const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
        if (field === undefined) throw invalid(`the structure has no field '${name}'`);
        const at = offsets[name] as number;
        if (typeof field === "string") {
          const type: NumberField = NUMBERS[field];
          if (!type.takes(value)) throw invalid(`the field '${name}' must be a value of type ${field}`);
          type.set(view, at, value as never);
        } else {
          if (!(value instanceof Uint8Array) || value.length !== field.bytes) {
            throw invalid(`the field '${name}' must be a Uint8Array of ${field.bytes} bytes`);
          }
          bytes.set(value, at);
        }
      }
    },
  };
}

function checkField(name: string, field: StructField): void {
  if (typeof field === "string" && Object.hasOwn(NUMBERS, field)) return;
  if (
    typeof field === "object" &&
    field !== null &&
    Number.isInteger(field.bytes) &&
    field.bytes >= 0 &&
    field.bytes < 2 ** 31
  )
    return;
  throw invalid(
    `the field '${name}' must have a type of ${Object.keys(NUMBERS).join(", ")}, or { bytes: n }`,
  );
}

function invalid(message: string): BarecellError {
  return new BarecellError("BARECELL_ARGUMENT_INVALID", message);
}
