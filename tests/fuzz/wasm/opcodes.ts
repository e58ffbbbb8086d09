/**
 * Every instruction of WebAssembly 2.0: opcode, operand and result types, immediates. The generator grows expressions from it, and the
 * code walker skips immediates by it. Source: the index of instructions of the specification (appendix 7.5 of release 2.0).
 */
import { SIMD_ROWS } from "./simd-opcodes.ts";

export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128" | "funcref" | "externref";

export type Immediates =
  | "none"
  | "block"
  | "label"
  | "labels"
  | "func"
  | "indirect"
  | "local"
  | "global"
  | "table"
  | "memarg"
  | "memory"
  | "i32"
  | "i64"
  | "f32"
  | "f64"
  | "v128"
  | "lane"
  | "memarg lane"
  | "type"
  | "types"
  | "two";

export interface Op {
  readonly name: string;
  /** A prefixed opcode is prefix << 8 | number. */
  readonly code: number;
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly immediates: Immediates;
  /** The specification leaves the bits of a NaN that it makes open. */
  readonly makesNan: "f32" | "f64" | "f32x4" | "f64x2" | undefined;
}

/** First opcode, prefix of the names, type (`i`, `I`, `f`, `F`, `v`: i32, i64, f32, f64, v128), names in order of opcode, immediates. */
export type Row = readonly [number, string, string, string, Immediates?];

const INTEGER_TESTS = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u";
const INTEGER_BINARY = "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr";
const FLOAT_UNARY = "abs neg ceil floor trunc nearest sqrt";
const FLOAT_BINARY = "add sub mul div min max copysign";

/** Typed instructions: they pop and push the same types wherever they stand. */
const NUMERIC_ROWS: readonly Row[] = [
  [0x45, "i32", "i>i", "eqz"],
  [0x46, "i32", "ii>i", INTEGER_TESTS],
  [0x50, "i64", "I>i", "eqz"],
  [0x51, "i64", "II>i", INTEGER_TESTS],
  [0x5b, "f32", "ff>i", "eq ne lt gt le ge"],
  [0x61, "f64", "FF>i", "eq ne lt gt le ge"],
  [0x67, "i32", "i>i", "clz ctz popcnt"],
  [0x6a, "i32", "ii>i", INTEGER_BINARY],
  [0x79, "i64", "I>I", "clz ctz popcnt"],
  [0x7c, "i64", "II>I", INTEGER_BINARY],
  [0x8b, "f32", "f>f", FLOAT_UNARY],
  [0x92, "f32", "ff>f", FLOAT_BINARY],
  [0x99, "f64", "F>F", FLOAT_UNARY],
  [0xa0, "f64", "FF>F", FLOAT_BINARY],
  [0xa7, "i32", "I>i", "wrap_i64"],
  [0xa8, "i32", "f>i", "trunc_f32_s trunc_f32_u"],
  [0xaa, "i32", "F>i", "trunc_f64_s trunc_f64_u"],
  [0xac, "i64", "i>I", "extend_i32_s extend_i32_u"],
  [0xae, "i64", "f>I", "trunc_f32_s trunc_f32_u"],
  [0xb0, "i64", "F>I", "trunc_f64_s trunc_f64_u"],
  [0xb2, "f32", "i>f", "convert_i32_s convert_i32_u"],
  [0xb4, "f32", "I>f", "convert_i64_s convert_i64_u"],
  [0xb6, "f32", "F>f", "demote_f64"],
  [0xb7, "f64", "i>F", "convert_i32_s convert_i32_u"],
  [0xb9, "f64", "I>F", "convert_i64_s convert_i64_u"],
  [0xbb, "f64", "f>F", "promote_f32"],
  [0xbc, "i32", "f>i", "reinterpret_f32"],
  [0xbd, "i64", "F>I", "reinterpret_f64"],
  [0xbe, "f32", "i>f", "reinterpret_i32"],
  [0xbf, "f64", "I>F", "reinterpret_i64"],
  [0xc0, "i32", "i>i", "extend8_s extend16_s"],
  [0xc2, "i64", "I>I", "extend8_s extend16_s extend32_s"],
  [0xfc00, "i32", "f>i", "trunc_sat_f32_s trunc_sat_f32_u"],
  [0xfc02, "i32", "F>i", "trunc_sat_f64_s trunc_sat_f64_u"],
  [0xfc04, "i64", "f>I", "trunc_sat_f32_s trunc_sat_f32_u"],
  [0xfc06, "i64", "F>I", "trunc_sat_f64_s trunc_sat_f64_u"],
];

const LOAD_STORE_ROWS: readonly Row[] = [
  [0x28, "i32", "i>i", "load", "memarg"],
  [0x29, "i64", "i>I", "load", "memarg"],
  [0x2a, "f32", "i>f", "load", "memarg"],
  [0x2b, "f64", "i>F", "load", "memarg"],
  [0x2c, "i32", "i>i", "load8_s load8_u load16_s load16_u", "memarg"],
  [0x30, "i64", "i>I", "load8_s load8_u load16_s load16_u load32_s load32_u", "memarg"],
  [0x36, "i32", "ii>", "store", "memarg"],
  [0x37, "i64", "iI>", "store", "memarg"],
  [0x38, "f32", "if>", "store", "memarg"],
  [0x39, "f64", "iF>", "store", "memarg"],
  [0x3a, "i32", "ii>", "store8 store16", "memarg"],
  [0x3c, "i64", "iI>", "store8 store16 store32", "memarg"],
];

/** The types of these depend on the module or the place; callers know them. */
const OTHER_ROWS: readonly Row[] = [
  [0x00, "", ">", "unreachable nop"],
  [0x02, "", ">", "block loop", "block"],
  [0x04, "", "i>", "if", "block"],
  [0x05, "", ">", "else"],
  [0x0b, "", ">", "end"],
  [0x0c, "", ">", "br br_if", "label"],
  [0x0e, "", ">", "br_table", "labels"],
  [0x0f, "", ">", "return"],
  [0x10, "", ">", "call", "func"],
  [0x11, "", ">", "call_indirect", "indirect"],
  [0x1a, "", ">", "drop select"],
  [0x1c, "", ">", "select_t", "types"],
  [0x20, "local", ">", "get set tee", "local"],
  [0x23, "global", ">", "get set", "global"],
  [0x25, "table", ">", "get set", "table"],
  [0x3f, "memory", ">i", "size", "memory"],
  [0x40, "memory", "i>i", "grow", "memory"],
  [0x41, "i32", ">i", "const", "i32"],
  [0x42, "i64", ">I", "const", "i64"],
  [0x43, "f32", ">f", "const", "f32"],
  [0x44, "f64", ">F", "const", "f64"],
  [0xd0, "ref", ">", "null", "type"],
  [0xd1, "ref", ">i", "is_null"],
  [0xd2, "ref", ">", "func", "func"],
  [0xfc08, "memory", "iii>", "init", "two"],
  [0xfc09, "data", ">", "drop", "func"],
  [0xfc0a, "memory", "iii>", "copy", "two"],
  [0xfc0b, "memory", "iii>", "fill", "memory"],
  [0xfc0c, "table", "iii>", "init", "two"],
  [0xfc0d, "elem", ">", "drop", "func"],
  [0xfc0e, "table", "iii>", "copy", "two"],
  [0xfc0f, "table", ">i", "grow", "table"],
  [0xfc10, "table", ">i", "size", "table"],
  [0xfc11, "table", ">", "fill", "table"],
];

const LETTER: Readonly<Record<string, ValueType>> = { i: "i32", I: "i64", f: "f32", F: "f64", v: "v128" };
const typesOf = (letters: string): ValueType[] =>
  [...letters].map((letter) => {
    const type = LETTER[letter];
    if (!type) throw new Error(`no such type letter: ${letter}`);
    return type;
  });

/** Arithmetic makes NaNs; what only moves or flips bits (abs, neg, copysign, reinterpret, pmin, pmax) does not. */
const ARITHMETIC =
  /^(f32|f64|f32x4|f64x2)\.(ceil|floor|trunc|nearest|sqrt|add|sub|mul|div|min|max|demote|promote)/;

function expand(rows: readonly Row[]): Op[] {
  return rows.flatMap(([first, prefix, type, names, immediates = "none"]) => {
    const [params = "", results = ""] = type.split(">");
    return names.split(" ").flatMap((short, i) => {
      if (short === "-") return [];
      const name = prefix === "" ? short : `${prefix}.${short}`;
      const makesNan = ARITHMETIC.exec(name)?.[1] as Op["makesNan"];
      return [
        {
          name,
          code: first + i,
          params: typesOf(params),
          results: typesOf(results),
          immediates,
          makesNan,
        },
      ];
    });
  });
}

export const NUMERIC: readonly Op[] = expand(NUMERIC_ROWS);
export const LOADS_AND_STORES: readonly Op[] = expand(LOAD_STORE_ROWS);
export const SIMD: readonly Op[] = expand(SIMD_ROWS);
export const ALL_OPS: readonly Op[] = [...expand(OTHER_ROWS), ...NUMERIC, ...LOADS_AND_STORES, ...SIMD];

const byName = new Map(ALL_OPS.map((op) => [op.name, op]));
const byCode = new Map(ALL_OPS.map((op) => [op.code, op]));

export function opNamed(name: string): Op {
  const op = byName.get(name);
  if (!op) throw new Error(`no such instruction: ${name}`);
  return op;
}

export function opOfCode(code: number): Op {
  const op = byCode.get(code);
  if (!op) throw new Error(`no instruction of WebAssembly 2.0 has the opcode 0x${code.toString(16)}`);
  return op;
}

export const TYPE_CODE: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
  funcref: 0x70,
  externref: 0x6f,
};

const TYPE_OF_CODE = new Map(Object.entries(TYPE_CODE).map(([type, code]) => [code, type as ValueType]));

export function typeOfCode(code: number): ValueType {
  const type = TYPE_OF_CODE.get(code);
  if (!type) throw new Error(`no value type of WebAssembly 2.0 has the code 0x${code.toString(16)}`);
  return type;
}
