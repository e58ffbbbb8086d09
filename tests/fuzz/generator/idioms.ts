/**
 * Expressions that optimisers know and rewrite, in postfix notation: rounding and signs of floats, divisions by constants, pairs of conversions and
 * shifts, comparisons near overflow. Rewriting is right for C's numbers more often than for WebAssembly's.
 */
import type { ValueType } from "../wasm/opcodes.ts";
import type { Body } from "./body.ts";
import { type NumberType, numberBits } from "./constants.ts";
import { expression } from "./expressions.ts";

/** `x y z` are values of the type, `k` a constant of it, `i` an i32, `n` a number of bits; `.op` is an instruction of the type. */
const OF_FLOATS: readonly string[] = [
  "x y .mul z .add",
  "z x y .mul .sub",
  "x y .mul z .sub .neg",
  "x y .mul x y .mul .add",
  "x x .mul y y .mul .add .sqrt",
  "x y .add y .sub",
  "x x .sub",
  "x x .div",
  "x k .div",
  "x k .mul k .div",
  "x 1 .mul",
  "x -1 .mul",
  "x 1 .div",
  "x 2 .div",
  "x 0 .add",
  "x -0 .add",
  "x 0 .sub",
  "0 x .sub",
  "-0 x .sub",
  "x .neg .neg",
  "x .neg y .add",
  "x y .neg .mul",
  "x .abs .sqrt",
  "x x .mul .sqrt",
  "x .neg .abs",
  "x y x y .lt select",
  "x y x y .gt select",
  "y x x y .le select",
  "x x .neg x 0 .ge select",
  "x y .min x .max",
  "x y .max y .min",
  "x x .min",
  "x 0 .max",
  "x y .copysign .abs",
  "x x .neg .copysign",
  "x .nearest x .sub",
  "x 0.5 .add .floor",
  "x .trunc .ceil",
  "x .floor .neg",
];

const OF_INTEGERS: readonly string[] = [
  "x k .div_s",
  "x k .div_u",
  "x k .rem_s",
  "x k .rem_u",
  "x k .div_s k .mul x .sub",
  "x 2 .div_s",
  "x 2 .rem_s",
  "x -1 .rem_s",
  "x 8 .rem_u",
  "x k .mul",
  "x k .mul y k .mul .add",
  "x n .shl n .shr_s",
  "x n .shl n .shr_u",
  "x n .shr_u n .shl",
  "x n .rotl n .rotr",
  "x n .shl x bits n .sub .shr_u .or",
  "x y .shl",
  "x y .shr_s y .shl",
  "x k .and k .or k .xor",
  "x -1 .xor",
  "0 x .sub",
  "x x bits 1 .sub .shr_s .xor x bits 1 .sub .shr_s .sub",
  "x .extend8_s .extend16_s",
  "x 255 .and .extend8_s",
  "x .clz x .ctz .add",
  "x 1 .sub x .and .popcnt",
  "x x 0 .sub .and .ctz",
  "x y x y .lt_s select",
  "x y x y .gt_u select",
  "x k .add",
  "x y .add x .sub",
  "x y .mul y .div_u",
];

/** Of i32 out of other types. `X Y` are i64, `f g` f32, `F G` f64. */
const TO_I32: readonly string[] = [
  "x k i32.add k i32.lt_s",
  "x k i32.sub k i32.gt_u",
  "x y i32.sub 0 i32.lt_s",
  "x i32.eqz i32.eqz",
  "x k i32.and i32.eqz",
  "x i64.extend_i32_s y i64.extend_i32_s i64.mul 32 i64.shr_s i32.wrap_i64",
  "x i64.extend_i32_u y i64.extend_i32_u i64.mul 32 i64.shr_u i32.wrap_i64",
  "X i32.wrap_i64 i32.extend16_s",
  "X Y i64.sub i64.eqz",
  "f f f32.eq",
  "f g f32.lt f g f32.ge i32.or",
  "f f32.neg f f32.lt",
  "F F f64.ne",
  "F G f64.sub F G f64.eq f32.convert_i32_s drop i32.trunc_sat_f64_s",
  "F i32.trunc_sat_f64_u",
  "f i32.trunc_sat_f32_s",
  "f i32.reinterpret_f32",
  "f f32.neg i32.reinterpret_f32",
  "f f32.abs i32.reinterpret_f32",
];

const TO_I64: readonly string[] = [
  "i i64.extend_i32_s X i64.mul",
  "i i64.extend_i32_u 32 i64.shl i i64.extend_i32_u i64.or",
  "X i32.wrap_i64 i64.extend_i32_s",
  "X i32.wrap_i64 i64.extend_i32_u",
  "X i64.extend32_s",
  "F i64.trunc_sat_f64_u",
  "F i64.trunc_sat_f64_s",
  "f i64.trunc_sat_f32_u",
  "F f64.neg i64.reinterpret_f64",
  "F f64.abs i64.reinterpret_f64",
];

const TO_F32: readonly string[] = [
  "f f64.promote_f32 f32.demote_f64",
  "f f64.promote_f32 g f64.promote_f32 f64.mul f32.demote_f64",
  "f f64.promote_f32 g f64.promote_f32 f64.add f32.demote_f64",
  "f f64.promote_f32 f64.sqrt f32.demote_f64",
  "i f32.convert_i32_u i f32.convert_i32_s f32.sub",
  "X f32.convert_i64_s",
  "X f32.convert_i64_u",
  "f i32.trunc_sat_f32_s f32.convert_i32_s",
  "f i32.reinterpret_f32 f32.reinterpret_i32",
  "F f32.demote_f64 f32.neg",
];

const TO_F64: readonly string[] = [
  "F f32.demote_f64 f64.promote_f32",
  "f f64.promote_f32 f64.neg",
  "i f64.convert_i32_u i f64.convert_i32_s f64.sub",
  "X f64.convert_i64_s",
  "X f64.convert_i64_u",
  "F i64.trunc_sat_f64_s f64.convert_i64_s",
  "F i64.trunc_sat_f64_u f64.convert_i64_u",
  "F i64.reinterpret_f64 f64.reinterpret_i64",
];

const IDIOMS: Readonly<Record<NumberType, readonly string[]>> = {
  i32: [...OF_INTEGERS, ...TO_I32],
  i64: [...OF_INTEGERS, ...TO_I64],
  f32: [...OF_FLOATS, ...TO_F32],
  f64: [...OF_FLOATS, ...TO_F64],
};

const VARIABLES: Readonly<Record<string, NumberType>> = {
  X: "i64",
  Y: "i64",
  f: "f32",
  g: "f32",
  F: "f64",
  G: "f64",
  i: "i32",
};

/** @returns false if there is none for the type */
export function idiom(body: Body, type: ValueType, depth: number): boolean {
  if (type !== "i32" && type !== "i64" && type !== "f32" && type !== "f64") return false;
  const { choices } = body;
  const words = choices.pick(IDIOMS[type]).split(" ");
  const locals = new Map<string, number>();
  // Values that are used twice have to be the same ones, so they are put into locals first; not always, as that hides them from folding.
  for (const word of new Set(words)) {
    const variable = "xyz".includes(word) ? type : VARIABLES[word];
    if (variable === undefined) continue;
    expression(body, variable, depth - 1);
    const local = body.addLocal(variable);
    body.op("local.set", local);
    locals.set(word, local);
  }
  const constant = numberBits(choices, type);
  const count = BigInt(choices.below(type === "i32" ? 40 : 72));
  words.forEach((word, i) => {
    const local = locals.get(word);
    if (local !== undefined) body.op("local.get", local);
    else if (word === "k") body.constant(type, nonZero(body, type, constant));
    else if (word === "n") body.constant(type, count);
    else if (word === "bits") body.constant(type, type === "i32" ? 32n : 64n);
    else if (/^-?[\d.]+$/.test(word)) number(body, typeOfNumber(words, i, type), Number(word));
    else body.op(word.startsWith(".") ? `${type}${word}` : word);
  });
  return true;
}

/** Division by a constant zero traps, which calm code avoids. */
function nonZero(body: Body, type: NumberType, bits: bigint): bigint {
  return body.calm && bits === 0n && (type === "i32" || type === "i64") ? 3n : bits;
}

/** A number stands before the instruction that takes it, which names its type. */
function typeOfNumber(words: readonly string[], at: number, type: NumberType): NumberType {
  const user = words.slice(at + 1).find((word) => word.includes("."));
  const named = /^(i32|i64|f32|f64)\./.exec(user ?? "")?.[1];
  return (named as NumberType | undefined) ?? type;
}

const view = new DataView(new ArrayBuffer(8));

function number(body: Body, type: NumberType, value: number): void {
  if (type === "i32" || type === "i64") body.constant(type, BigInt(value));
  else if (type === "f32") {
    view.setFloat32(0, value);
    body.constant(type, BigInt(view.getUint32(0)));
  } else {
    view.setFloat64(0, value);
    body.constant(type, view.getBigUint64(0));
  }
}
