/**
 * Values and patterns of a script: arguments of actions, and what results are held against. Numbers stay text here, to be encoded by
 * the same tool as the modules (constants.ts); only whole numbers and references are read at once.
 */
import { type List, ScriptError, type SExpr } from "./sexpr.ts";

export type NumberType = "i32" | "i64" | "f32" | "f64" | "v128";
export type RefType = "funcref" | "externref";

/** A number as WebAssembly text, without parentheses: `f32.const 0x1p-3`. Equal texts are equal values. */
export interface Constant {
  readonly kind: "constant";
  readonly type: NumberType;
  readonly text: string;
}

export interface NullReference {
  readonly kind: "null";
  /** undefined: of any type. */
  readonly type: RefType | undefined;
}

/** `ref.extern N`: a reference of the host that is known by its number. */
export interface HostReference {
  readonly kind: "host";
  readonly number: number;
}

/** A value that no WebAssembly 2.0 function takes or returns. */
export interface ForeignValue {
  readonly kind: "foreign";
  readonly text: string;
}

export type Argument = Constant | NullReference | HostReference | ForeignValue;

export type NanKind = "canonical" | "arithmetic";

export type Pattern =
  | Argument
  /** Any reference of the type that is not null. */
  | { readonly kind: "reference"; readonly type: RefType }
  | { readonly kind: "nan"; readonly type: "f32" | "f64"; readonly nan: NanKind }
  /** Lanes that are undefined here have the bits of `bits`, whose other lanes mean nothing. */
  | {
      readonly kind: "lanes";
      readonly laneBytes: 4 | 8;
      readonly nans: readonly (NanKind | undefined)[];
      readonly bits: Constant;
    }
  | { readonly kind: "either"; readonly options: readonly Pattern[] };

const NUMBER_TYPES: readonly string[] = ["i32", "i64", "f32", "f64", "v128"];
const LANES: Readonly<Record<string, number>> = {
  i8x16: 16,
  i16x8: 8,
  i32x4: 4,
  i64x2: 2,
  f32x4: 4,
  f64x2: 2,
};
/** Spellings of the bottom types of later suites are of the same two kinds of null. */
const NULL_TYPES: Readonly<Record<string, RefType>> = {
  func: "funcref",
  funcref: "funcref",
  nofunc: "funcref",
  extern: "externref",
  externref: "externref",
  noextern: "externref",
};

function wordsOf(list: List): string[] {
  return list.items.map((item) => {
    if (item.kind === "word") return item.text;
    throw new ScriptError("a value is made of words only", item.start);
  });
}

/** Reads an argument. */
export function readArgument(form: SExpr): Argument {
  if (form.kind !== "list") throw new ScriptError("expected a value in parentheses", form.start);
  const [head = "", ...rest] = wordsOf(form);
  const number = /^(\w+)\.const$/.exec(head)?.[1];
  if (number !== undefined && NUMBER_TYPES.includes(number)) {
    return readConstant(form, number as NumberType, rest);
  }
  if (head === "ref.null") {
    const [heap] = rest;
    if (heap === undefined) return { kind: "null", type: undefined };
    const type = NULL_TYPES[heap];
    return type === undefined ? foreign(form) : { kind: "null", type };
  }
  if (head === "ref.extern" && rest.length === 1) {
    return { kind: "host", number: Number(wholeNumber(rest[0] as string, 32, form.start)) };
  }
  if (head.startsWith("ref.")) return foreign(form);
  throw new ScriptError(`unknown kind of value '${head}'`, form.start);
}

const foreign = (list: List): ForeignValue => ({ kind: "foreign", text: wordsOf(list).join(" ") });

function readConstant(form: List, type: NumberType, words: readonly string[]): Constant {
  if (type === "v128") {
    const lanes = LANES[words[0] ?? ""];
    if (lanes === undefined || words.length !== lanes + 1) {
      throw new ScriptError(
        `a v128.const has a shape and as many lanes, not '${words.join(" ")}'`,
        form.start,
      );
    }
  } else if (words.length !== 1) {
    throw new ScriptError(`${type}.const takes one number, not ${words.length}`, form.start);
  }
  if (type === "i32" || type === "i64") {
    const bits = type === "i32" ? 32 : 64;
    const value = wholeNumber(words[0] as string, bits, form.start);
    return { kind: "constant", type, text: `${type}.const ${value}` };
  }
  return { kind: "constant", type, text: `${type}.const ${words.join(" ")}` };
}

/** @returns the number as the bits of an unsigned one */
function wholeNumber(text: string, bits: 32 | 64, offset: number): bigint {
  const parts = /^([+-]?)(0x[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|[0-9]+(?:_[0-9]+)*)$/.exec(text);
  if (parts === null) throw new ScriptError(`'${text}' is not a whole number`, offset);
  const magnitude = BigInt((parts[2] as string).replaceAll("_", ""));
  const value = parts[1] === "-" ? -magnitude : magnitude;
  if (value < -(2n ** BigInt(bits - 1)) || value >= 2n ** BigInt(bits)) {
    throw new ScriptError(`${text} does not fit in ${bits} bits`, offset);
  }
  return BigInt.asUintN(bits, value);
}

const NAN = /^nan:(canonical|arithmetic)$/;
const nanKind = (word: string): NanKind | undefined => NAN.exec(word)?.[1] as NanKind | undefined;

/** Reads what a result is held against. */
export function readPattern(form: SExpr): Pattern {
  if (form.kind !== "list") throw new ScriptError("expected a result in parentheses", form.start);
  const first = form.items[0];
  const head = first?.kind === "word" ? first.text : "";
  if (head === "either") {
    const options = form.items.slice(1).map(readPattern);
    if (options.some((option) => option.kind === "either")) {
      throw new ScriptError("'either' within 'either'", form.start);
    }
    if (options.length === 0) throw new ScriptError("'either' without a choice", form.start);
    return { kind: "either", options };
  }
  const words = wordsOf(form);
  if (head === "ref.func") return { kind: "reference", type: "funcref" };
  if (head === "ref.extern" && words.length === 1) return { kind: "reference", type: "externref" };
  const nan = words.length === 2 ? nanKind(words[1] as string) : undefined;
  if (nan !== undefined && (head === "f32.const" || head === "f64.const")) {
    return { kind: "nan", type: head === "f32.const" ? "f32" : "f64", nan };
  }
  if (head === "v128.const" && words.some((word) => nanKind(word) !== undefined))
    return readLanes(form, words);
  return readArgument(form);
}

function readLanes(form: List, words: readonly string[]): Pattern {
  const [, shape, ...lanes] = words;
  if (shape !== "f32x4" && shape !== "f64x2") throw new ScriptError("a NaN among whole numbers", form.start);
  const nans = lanes.map(nanKind);
  const plain = lanes.map((lane, i) => (nans[i] === undefined ? lane : "0"));
  const bits = readConstant(form, "v128", [shape, ...plain]);
  return { kind: "lanes", laneBytes: shape === "f32x4" ? 4 : 8, nans, bits };
}

/** For messages. */
export function describePattern(pattern: Pattern): string {
  switch (pattern.kind) {
    case "constant":
    case "foreign":
      return pattern.text;
    case "null":
      return pattern.type === undefined ? "a null reference" : `a null ${pattern.type}`;
    case "host":
      return `ref.extern ${pattern.number}`;
    case "reference":
      return `a ${pattern.type} that is not null`;
    case "nan":
      return `${pattern.type}.const nan:${pattern.nan}`;
    case "lanes":
      return `${pattern.bits.text} with NaN lanes ${pattern.nans.map((nan) => nan ?? "-").join(" ")}`;
    case "either":
      return pattern.options.map(describePattern).join(" or ");
  }
}
