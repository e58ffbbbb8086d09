/** Constants where machine code tends to be wrong: limits of types, their neighbours, exponents, NaNs of all kinds. */
import type { ValueType } from "../wasm/opcodes.ts";
import type { Choices } from "./choices.ts";

function integers(bits: number): bigint[] {
  const list = [0n, 1n, -1n, 2n, -2n, 3n, 7n, 10n, -7n, 100n, 255n, 256n, -128n, 127n, 128n, -129n];
  for (const power of [15, 16, 31, 32, 63].filter((power) => power < bits)) {
    const p = 1n << BigInt(power);
    list.push(p, p - 1n, p + 1n, -p, -p - 1n, -p + 1n);
  }
  // Shift counts at and past the width, and a pattern of changing bits.
  list.push(BigInt(bits), BigInt(bits) - 1n, BigInt(bits) + 1n, BigInt(bits) * 2n, 33n, 65n);
  list.push(
    0x5555555555555555n,
    0x8000000080000000n,
    0x8080808080808080n,
    0x0123456789abcdefn,
    0x8000000000000000n,
  );
  return list.map((value) => BigInt.asUintN(bits, value));
}

const view = new DataView(new ArrayBuffer(8));
const bitsOfF64 = (value: number): bigint => {
  view.setFloat64(0, value);
  return view.getBigUint64(0);
};
const bitsOfF32 = (value: number): bigint => {
  view.setFloat32(0, value);
  return BigInt(view.getUint32(0));
};

/** Where conversions to integers begin to trap or to saturate, where halves are rounded, and where a mantissa ends. */
const FLOAT_VALUES: readonly number[] = [
  0,
  1,
  -1,
  -0,
  0.5,
  -0.5,
  1.5,
  2.5,
  -1.5,
  -2.5,
  0.49999999999999994,
  -0.9999999999999999,
  3,
  100,
  1e10,
  -1e10,
  1e-10,
  Math.PI,
  127.5,
  128,
  255.5,
  256,
  -128.5,
  32767.5,
  32768,
  -32769,
  65535.5,
  2147483647,
  2147483647.5,
  2147483648,
  -2147483648,
  -2147483648.5,
  -2147483649,
  4294967295,
  4294967295.5,
  4294967296,
  -0.9999999,
  2 ** 23 - 0.5,
  2 ** 23,
  2 ** 23 + 1,
  2 ** 24 + 1,
  2 ** 52 - 0.5,
  2 ** 52,
  2 ** 53,
  2 ** 53 + 2,
  2 ** 63,
  2 ** 63 - 1024,
  -(2 ** 63),
  -(2 ** 63) - 2048,
  2 ** 64,
  2 ** 64 - 2048,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  2 ** -1022,
];

const F64_BITS: readonly bigint[] = [
  ...FLOAT_VALUES.map(bitsOfF64),
  // Quiet and signalling NaNs of both signs, the largest subnormal, the neighbours of one and of the limits of conversion.
  0x7ff8000000000000n,
  0xfff8000000000000n,
  0x7ff4000000000000n,
  0x7ff0000000000001n,
  0xfff0000000000001n,
  0x7fffffffffffffffn,
  0x7ff8dead0000beefn,
  0x000fffffffffffffn,
  0x8000000000000001n,
  0x3ff0000000000001n,
  0x3fefffffffffffffn,
  0x43e0000000000001n,
  0xc3e0000000000001n,
  0x41efffffffffffffn,
  0x41dfffffffffffffn,
  0x47efffffe0000000n,
  0x47efffffefffffffn,
  0x47effffff0000000n,
  0x36a0000000000000n,
  0x369fffffffffffffn,
];

const F32_BITS: readonly bigint[] = [
  ...FLOAT_VALUES.map(bitsOfF32),
  0x7fc00000n,
  0xffc00000n,
  0x7fa00000n,
  0x7f800001n,
  0xff800001n,
  0x7fffffffn,
  0x7fc0beefn,
  0x007fffffn,
  0x00800000n,
  0x00000001n,
  0x80000001n,
  0x7f7fffffn,
  0xff7fffffn,
  0x3f800001n,
  0x3f7fffffn,
  0x4effffffn,
  0x4f000001n,
  0xcf000001n,
  0x4f7fffffn,
  0x5effffffn,
  0x5f7fffffn,
  0xdf000001n,
  0x4b000001n,
  0x4affffffn,
];

const I32_BITS = integers(32);
const I64_BITS = integers(64);

const SIZE = { i32: 32, i64: 64, f32: 32, f64: 64 } as const;
export type NumberType = keyof typeof SIZE;
const INTERESTING: Readonly<Record<NumberType, readonly bigint[]>> = {
  i32: I32_BITS,
  i64: I64_BITS,
  f32: F32_BITS,
  f64: F64_BITS,
};

/** Quiet and signalling, of both signs: arithmetic must make the one of the other, and moving must not. */
const NANS = {
  f32: [0x7fc00000n, 0x7fa00000n, 0xff800001n, 0xffc00001n],
  f64: [0x7ff8000000000000n, 0x7ff4000000000000n, 0xfff0000000000001n, 0xfff8000000000001n],
} as const;

export function numberBits(choices: Choices, type: NumberType): bigint {
  const isFloat = type === "f32" || type === "f64";
  return choices.weighted<() => bigint>([
    [8, () => choices.pick(INTERESTING[type])],
    [2, () => choices.bits(SIZE[type])],
    [isFloat ? 2 : 0, () => choices.pick(NANS[type === "f32" ? "f32" : "f64"])],
    [isFloat ? 5 : 0, () => ordinaryFloat(choices, type === "f32" ? 32 : 64)],
  ])();
}

/** A float with a full mantissa and a size that others add to: only such are rounded when computed with. */
function ordinaryFloat(choices: Choices, size: 32 | 64): bigint {
  const mantissa = size === 32 ? 23n : 52n;
  const bias = size === 32 ? 127n : 1023n;
  const exponent = bias + BigInt(choices.below(12)) - 6n;
  const sign = BigInt(choices.below(2)) << BigInt(size - 1);
  return sign | (exponent << mantissa) | BigInt.asUintN(Number(mantissa), choices.bits(size));
}

/** A vector of lanes of one type, each interesting by itself; or one lane repeated; or noise. */
export function vectorBits(choices: Choices): bigint {
  const [lane, size] = choices.pick([
    ["i32", 32],
    ["i64", 64],
    ["i32", 16],
    ["i32", 8],
    ["f32", 32],
    ["f64", 64],
  ] as const);
  const same = choices.oneIn(3) ? numberBits(choices, lane) : undefined;
  let value = 0n;
  for (let i = 0; i < 128 / size; i++) {
    value = (value << BigInt(size)) | BigInt.asUintN(size, same ?? numberBits(choices, lane));
  }
  return value;
}

/** The bits of an argument of a type; references are 0 for null, or a number that names one. */
export function argumentBits(choices: Choices, type: ValueType): bigint {
  if (type === "v128") return vectorBits(choices);
  if (type === "funcref") return 0n;
  if (type === "externref") return BigInt(choices.below(4));
  return numberBits(choices, type);
}
