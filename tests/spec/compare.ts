/** Arguments into slots, and results held against patterns. */
import { type ConstantPool, SLOT_BYTES } from "./constants.ts";
import { type Argument, describePattern, type NanKind, type Pattern } from "./values.ts";

export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128" | "funcref" | "externref";

/** What is wrong with an assertion, in words. */
export class Mismatch extends Error {
  override readonly name = "Mismatch";
}

/** 0 is null, so `ref.extern 0` must be another number. */
const hostReference = (number: number): bigint => BigInt(number) + 1n;

/** @throws Mismatch */
export function writeArguments(
  args: readonly Argument[],
  params: readonly ValueType[],
  pool: ConstantPool,
): Uint8Array {
  if (args.length !== params.length) {
    throw new Mismatch(`the function takes (${params.join(" ")}), and is given ${args.length} arguments`);
  }
  const slots = new Uint8Array(args.length * SLOT_BYTES);
  args.forEach((arg, i) => {
    const type = params[i] as ValueType;
    if (!fits(arg, type))
      throw new Mismatch(`argument ${i + 1} is ${describePattern(arg)}, and must be of type ${type}`);
    if (arg.kind === "constant") slots.set(bitsOf(pool.slot(arg)), i * SLOT_BYTES);
    if (arg.kind === "host")
      new DataView(slots.buffer).setBigUint64(i * SLOT_BYTES, hostReference(arg.number), true);
  });
  return slots;
}

function bitsOf(slot: Uint8Array | string): Uint8Array {
  if (typeof slot === "string") throw new Mismatch(slot);
  return slot;
}

/** Can a value of this type be what the pattern says? A result of another type with the same bits is wrong all the same. */
function fits(pattern: Pattern, type: ValueType): boolean {
  switch (pattern.kind) {
    case "constant":
    case "nan":
      return pattern.type === type;
    case "lanes":
      return type === "v128";
    case "null":
      return pattern.type === undefined ? type === "funcref" || type === "externref" : pattern.type === type;
    case "host":
      return type === "externref";
    case "reference":
      return pattern.type === type;
    case "foreign":
      return false;
    case "either":
      return pattern.options.some((option) => fits(option, type));
  }
}

/**
 * @param slots as the VM gives them
 * @throws Mismatch naming the first result that is wrong
 */
export function checkResults(
  expected: readonly Pattern[],
  types: readonly ValueType[],
  slots: Uint8Array,
  pool: ConstantPool,
): void {
  if (expected.length !== types.length) {
    throw new Mismatch(`it returns (${types.join(" ")}), and ${expected.length} results are expected`);
  }
  if (slots.length < types.length * SLOT_BYTES) {
    throw new Mismatch(`it returned ${slots.length} bytes for ${types.length} results`);
  }
  expected.forEach((pattern, i) => {
    const type = types[i] as ValueType;
    const slot = slots.subarray(i * SLOT_BYTES, (i + 1) * SLOT_BYTES);
    if (fits(pattern, type) && matches(pattern, type, slot, pool)) return;
    const which = expected.length === 1 ? "" : `result ${i + 1}: `;
    throw new Mismatch(
      `${which}got ${describeSlot(type, slot)}, expected ${describeExpected(pattern, type, pool)}`,
    );
  });
}

function matches(pattern: Pattern, type: ValueType, slot: Uint8Array, pool: ConstantPool): boolean {
  switch (pattern.kind) {
    case "constant":
      return sameBytes(slot, bitsOf(pool.slot(pattern)), 0, SIZES[type]);
    case "nan":
      return isNan(slot, 0, SIZES[type] as 4 | 8, pattern.nan);
    case "lanes": {
      const bits = bitsOf(pool.slot(pattern.bits));
      return pattern.nans.every((nan, lane) => {
        const at = lane * pattern.laneBytes;
        return nan === undefined
          ? sameBytes(slot, bits, at, pattern.laneBytes)
          : isNan(slot, at, pattern.laneBytes, nan);
      });
    }
    case "null":
      return wordOf(slot) === 0n;
    case "host":
      return wordOf(slot) === hostReference(pattern.number);
    case "reference":
      return wordOf(slot) !== 0n;
    case "foreign":
      return false;
    case "either":
      return pattern.options.some((option) => fits(option, type) && matches(option, type, slot, pool));
  }
}

const SIZES: Readonly<Record<ValueType, number>> = {
  i32: 4,
  i64: 8,
  f32: 4,
  f64: 8,
  v128: 16,
  funcref: 8,
  externref: 8,
};

function sameBytes(a: Uint8Array, b: Uint8Array, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function wordOf(slot: Uint8Array): bigint {
  return new DataView(slot.buffer, slot.byteOffset, slot.byteLength).getBigUint64(0, true);
}

/** Of a canonical NaN only the highest bit of the payload is set, of an arithmetic one at least that; the sign is free (WebAssembly 4.3.3). */
function isNan(slot: Uint8Array, at: number, bytes: 4 | 8, nan: NanKind): boolean {
  const view = new DataView(slot.buffer, slot.byteOffset + at, bytes);
  const bits = bytes === 4 ? BigInt(view.getUint32(0, true)) : view.getBigUint64(0, true);
  const payloadBits = bytes === 4 ? 23n : 52n;
  const magnitude = BigInt.asUintN(bytes * 8 - 1, bits);
  const canonical = BigInt.asUintN(bytes * 8 - 1, ~0n << (payloadBits - 1n));
  return nan === "canonical" ? magnitude === canonical : (magnitude & canonical) === canonical;
}

const hex = (slot: Uint8Array, size: number): string =>
  `0x${Buffer.from(slot.subarray(0, size)).reverse().toString("hex")}`;

function describeSlot(type: ValueType, slot: Uint8Array): string {
  const view = new DataView(slot.buffer, slot.byteOffset, slot.byteLength);
  switch (type) {
    case "i32":
      return `i32 ${view.getInt32(0, true)} (${hex(slot, 4)})`;
    case "i64":
      return `i64 ${view.getBigInt64(0, true)} (${hex(slot, 8)})`;
    case "f32":
      return `f32 ${view.getFloat32(0, true)} (${hex(slot, 4)})`;
    case "f64":
      return `f64 ${view.getFloat64(0, true)} (${hex(slot, 8)})`;
    case "v128":
      return `v128 ${hex(slot, 16)}`;
    case "funcref":
    case "externref":
      return wordOf(slot) === 0n ? `a null ${type}` : `${type} ${hex(slot, 8)}`;
  }
}

function describeExpected(pattern: Pattern, type: ValueType, pool: ConstantPool): string {
  const words = describePattern(pattern);
  if (pattern.kind === "lanes") return `${words} (${hex(bitsOf(pool.slot(pattern.bits)), 16)})`;
  if (pattern.kind !== "constant" || pattern.type !== type) return words;
  return `${words} (${hex(bitsOf(pool.slot(pattern)), SIZES[type])})`;
}
