/** Operators on floating point that the guest has in its own words (guest-stubs/include/numeric.h), bit by bit as V8 has them, at the edges of what they take. */
import { describe, expect, it } from "vitest";
import { missingFlags, TARGET_CPUS } from "../../src/image/target-cpu.ts";
import { isBarecellError } from "../support/barecell.ts";
import { announceSkip } from "../support/environment.ts";
import { imageOf, wat, withVm } from "../support/modules.ts";

const LEVELS = TARGET_CPUS.filter((level) => missingFlags(level).length === 0);
if (LEVELS.length < TARGET_CPUS.length)
  announceSkip("floating point for x86-64-v3", "this processor has no AVX2");

type Bits = number | bigint;
/** As functions from bits to bits, since a NaN does not get through JavaScript as it is. */
interface Operator {
  readonly name: string;
  readonly from: "f32" | "f64";
  readonly to: "f32" | "f64" | "i32" | "i64";
  readonly operands: 1 | 2;
}

const FLOATS = ["f32", "f64"] as const;
const OPERATORS: readonly Operator[] = [
  ...FLOATS.flatMap((type) => [
    ...["sqrt", "floor", "ceil", "trunc", "nearest", "abs", "neg"].map(
      (name) => ({ name: `${type}.${name}`, from: type, to: type, operands: 1 }) as const,
    ),
    ...["min", "max"].map(
      (name) => ({ name: `${type}.${name}`, from: type, to: type, operands: 2 }) as const,
    ),
    ...(["i32", "i64"] as const).flatMap((to) =>
      ["trunc", "trunc_sat"].flatMap((name) =>
        ["s", "u"].map(
          (sign) => ({ name: `${to}.${name}_${type}_${sign}`, from: type, to, operands: 1 }) as const,
        ),
      ),
    ),
  ]),
  { name: "f64.promote_f32", from: "f32", to: "f64", operands: 1 },
  { name: "f32.demote_f64", from: "f64", to: "f32", operands: 1 },
];

const integerOf = (type: Operator["to"]): "i32" | "i64" => (/32/.test(type) ? "i32" : "i64");

function functionOf({ name, from, to, operands }: Operator): string {
  const given = Array.from(
    { length: operands },
    (_, i) => `(${from}.reinterpret_${integerOf(from)} (local.get ${i}))`,
  ).join(" ");
  const result = `(${name} ${given})`;
  const bits = to.startsWith("f") ? `(${integerOf(to)}.reinterpret_${to} ${result})` : result;
  const params = Array.from({ length: operands }, () => integerOf(from)).join(" ");
  return `(func (export "${name}") (param ${params}) (result ${integerOf(to)}) ${bits})`;
}

const TEXT = `(module ${OPERATORS.map(functionOf).join("\n")})`;

const view = new DataView(new ArrayBuffer(8));
function bitsOf(type: "f32" | "f64", value: number): Bits {
  if (type === "f32") {
    view.setFloat32(0, value);
    return view.getInt32(0);
  }
  view.setFloat64(0, value);
  return view.getBigInt64(0);
}

/** Both signs of numbers around every bound of a conversion, ties of the roundings, the smallest and the largest ones, and NaNs of all kinds. */
function edges(type: "f32" | "f64"): Bits[] {
  const step = type === "f32" ? 2 ** -23 : 2 ** -52;
  const around = (x: number): number[] => [x, x * (1 + step), x * (1 - step), x - 1, x + 1, x - 0.5, x + 0.5];
  const sizes = [
    ...[0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 1e-3, 1e10, 1e30],
    ...[2 ** 23, 2 ** 31, 2 ** 32, 2 ** 52, 2 ** 63, 2 ** 64].flatMap(around),
    ...(type === "f32" ? [2 ** -149, 2 ** -126, 3.4028234663852886e38] : [Number.MIN_VALUE, 2 ** -1022]),
    ...[Number.MAX_VALUE, Number.POSITIVE_INFINITY],
  ];
  const nans =
    type === "f32"
      ? [0x7fc00000, 0xffc00000 | 0, 0x7f800001, 0xff800001 | 0, 0x7fa00000, 0x7fffffff]
      : [
          ...[0x7ff8000000000000n, 0xfff8000000000000n, 0x7ff0000000000001n, 0xfff0000000000001n],
          ...[0x7ff4000000000000n, 0x7fffffffffffffffn],
        ].map((bits) => BigInt.asIntN(64, bits));
  return [...new Set([...sizes.flatMap((x) => [x, -x]).map((x) => bitsOf(type, x)), ...nans])];
}

const MASKS = {
  f32: { exponent: 0x7f800000n, quiet: 0x400000n, bits: 32 },
  f64: { exponent: 0x7ff0000000000000n, quiet: 0x8000000000000n, bits: 64 },
} as const;
const raw = (type: "f32" | "f64", bits: Bits): bigint => BigInt.asUintN(MASKS[type].bits, BigInt(bits));

function isNan(type: "f32" | "f64", bits: Bits): boolean {
  const { exponent, quiet } = MASKS[type];
  return (raw(type, bits) & exponent) === exponent && (raw(type, bits) & (quiet * 2n - 1n)) !== 0n;
}

/** V8 may make another NaN; WebAssembly only asks for a quiet one, unless the sign is all that is changed. */
function comparable({ name, to }: Operator, bits: Bits): string {
  if (to === "i32" || to === "i64" || /abs|neg/.test(name) || !isNan(to, bits)) return String(bits);
  return (raw(to, bits) & MASKS[to].quiet) === 0n ? "a signaling NaN" : "a quiet NaN";
}

/** V8 has one trap for both reasons why a conversion cannot be done; which it has to be, the operand says. */
function trapOf(isNan: boolean, error: unknown): string {
  if (!(error instanceof WebAssembly.RuntimeError) || !/unrepresentable/.test(error.message)) throw error;
  return isNan ? "BARECELL_TRAP_INVALID_CONVERSION" : "BARECELL_TRAP_INTEGER_OVERFLOW";
}

function outcome(call: () => Bits, show: (bits: Bits) => string, trap: (error: unknown) => string): string {
  try {
    return show(call());
  } catch (error) {
    return trap(error);
  }
}

describe.each(
  LEVELS.flatMap((targetCpu) => [2, 0].map((optimize) => ({ targetCpu, optimize: optimize as 0 | 2 }))),
)("for $targetCpu, level $optimize", (options) => {
  const image = imageOf("numeric", TEXT, options);
  const v8 = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(wat("numeric", TEXT))));

  it.each(OPERATORS)("$name", async (operator) => {
    const values = edges(operator.from);
    const all: Bits[][] =
      operator.operands === 1 ? values.map((x) => [x]) : values.flatMap((x) => values.map((y) => [x, y]));
    const expected = v8.exports[operator.name] as (...bits: Bits[]) => Bits;
    await withVm(await image, {}, (vm) => {
      for (const bits of all) {
        const show = (result: Bits): string => comparable(operator, result);
        const ours = outcome(
          () => vm.callSync(operator.name, ...bits) as Bits,
          show,
          (error) => {
            vm.resetSync();
            return isBarecellError(error) ? error.code : String(error);
          },
        );
        const theirs = outcome(
          () => expected(...bits),
          show,
          (error) => trapOf(isNan(operator.from, bits[0] ?? 0), error),
        );
        if (ours !== theirs) expect.fail(`of ${bits.join(", ")}: ${ours} instead of ${theirs}`);
      }
    });
  });
});
