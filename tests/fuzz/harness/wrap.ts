/**
 * Exports through which the outside calls: vectors as pairs of i64, floats as their bits if wanted, since a number of JavaScript carries
 * neither a vector nor every NaN. And probes, for what has no other way out: tables and vector globals.
 */
import {
  addFunction,
  type FuncType,
  globalTypeOf,
  importedCount,
  type Module,
  typeOfFunction,
} from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import { Code } from "./code.ts";
import type { NanHelpers, NanRule } from "./nan.ts";

export interface WrapOptions {
  /** Floats cross as bits too; otherwise as what they are. */
  readonly bits: boolean;
  readonly nan: NanRule;
  /** A global that every call from outside fills up first. */
  readonly fuel: { readonly global: number; readonly amount: number } | undefined;
}

/** An exported function that the outside may call. */
export interface Callable {
  readonly name: string;
  readonly type: FuncType;
  /** Asks for state, changes none. */
  readonly isProbe: boolean;
}

/** Adds a wrapper for each exported function that needs one, and probes. */
export function wrapExports(module: Module, options: WrapOptions, helpers: NanHelpers): Callable[] {
  const callables: Callable[] = [];
  for (const entry of [...module.exports]) {
    if (entry.kind !== "func") continue;
    const type = typeOfFunction(module, entry.index);
    const needed =
      options.fuel !== undefined || [...type.params, ...type.results].some((t) => isCarried(t, options));
    if (!needed) {
      callables.push({ name: entry.name, type, isProbe: false });
      continue;
    }
    const outer = {
      params: type.params.flatMap((t) => carrier(t, options)),
      results: type.results.flatMap((t) => carrier(t, options)),
    };
    const { locals, code } = wrapper(entry.index, type, outer, options, helpers);
    const name = `call ${entry.name}`;
    module.exports.push({ name, kind: "func", index: addFunction(module, outer, locals, code) });
    callables.push({ name, type: outer, isProbe: false });
  }
  return [...callables, ...addProbes(module)];
}

const isCarried = (type: ValueType, options: WrapOptions): boolean => carrier(type, options)[0] !== type;

/** As which types a value crosses. */
function carrier(type: ValueType, { bits }: WrapOptions): readonly ValueType[] {
  if (type === "v128") return ["i64", "i64"];
  if (!bits || type === "externref") return [type];
  // A function reference comes in as a choice among a few functions, and goes out as whether it is null.
  return [type === "f64" || type === "i64" ? "i64" : "i32"];
}

function wrapper(
  target: number,
  inner: FuncType,
  outer: FuncType,
  options: WrapOptions,
  helpers: NanHelpers,
): { locals: readonly ValueType[]; code: Uint8Array } {
  const code = new Code();
  if (options.fuel) code.i32(options.fuel.amount).op("global.set", options.fuel.global);
  let param = 0;
  for (const type of inner.params) param = enter(code, type, param, target, options);
  code.op("call", target);
  const first = outer.params.length;
  for (let i = inner.results.length - 1; i >= 0; i--) code.op("local.set", first + i);
  inner.results.forEach((type, i) => {
    leave(code, type, first + i, options, helpers);
  });
  return { locals: inner.results, code: code.finish() };
}

/** @returns the parameter that comes next */
function enter(code: Code, type: ValueType, param: number, target: number, { bits }: WrapOptions): number {
  code.op("local.get", param);
  if (type === "v128") {
    code.op("i64x2.splat").op("local.get", param + 1);
    code.op("i64x2.replace_lane", 1);
    return param + 2;
  }
  if (!bits) return param + 1;
  if (type === "f32") code.op("f32.reinterpret_i32");
  if (type === "f64") code.op("f64.reinterpret_i64");
  if (type === "funcref") {
    // The called function itself is exported, so that ref.func may name it.
    code.block("if", "funcref").op("ref.func", target).op("else").zero("funcref").op("end");
  }
  return param + 1;
}

function leave(code: Code, type: ValueType, local: number, options: WrapOptions, helpers: NanHelpers): void {
  code.op("local.get", local);
  if (type === "v128") {
    code.op("i64x2.extract_lane", 0).op("local.get", local).op("i64x2.extract_lane", 1);
    return;
  }
  if (!options.bits) return;
  if ((type === "f32" || type === "f64") && options.nan === "observed") code.op("call", helpers.index(type));
  if (type === "f32") code.op("i32.reinterpret_f32");
  if (type === "f64") code.op("i64.reinterpret_f64");
  if (type === "funcref") code.op("ref.is_null");
}

function addProbes(module: Module): Callable[] {
  const probes: Callable[] = [];
  const add = (name: string, type: FuncType, locals: readonly ValueType[], code: Uint8Array): void => {
    module.exports.push({ name, kind: "func", index: addFunction(module, type, locals, code) });
    probes.push({ name, type, isProbe: true });
  };
  for (const entry of [...module.exports]) {
    if (entry.kind !== "global" || globalTypeOf(module, entry.index).type !== "v128") continue;
    const code = new Code().op("global.get", entry.index).op("i64x2.extract_lane", 0);
    code.op("global.get", entry.index).op("i64x2.extract_lane", 1);
    add(`probe ${entry.name}`, { params: [], results: ["i64", "i64"] }, [], code.finish());
  }
  const imported = importedCount(module, "table");
  module.tables.forEach((_, i) => {
    add(
      `probe table ${imported + i}`,
      { params: [], results: ["i64"] },
      ["i32", "i64"],
      tableDigest(imported + i),
    );
  });
  return probes;
}

/** Folds the size of a table and which of its elements are null into one number. */
function tableDigest(table: number): Uint8Array {
  const [at, sum] = [0, 1];
  return new Code()
    .op("table.size", table)
    .op("i64.extend_i32_u")
    .op("local.set", sum)
    .block("block")
    .block("loop")
    .op("local.get", at)
    .op("table.size", table)
    .op("i32.ge_u")
    .op("br_if", 1)
    .op("local.get", sum)
    .i64(5n)
    .op("i64.rotl")
    .op("local.get", at)
    .op("table.get", table)
    .op("ref.is_null")
    .op("i64.extend_i32_u")
    .op("i64.xor")
    .op("local.set", sum)
    .op("local.get", at)
    .i32(1)
    .op("i32.add")
    .op("local.set", at)
    .op("br", 0)
    .op("end")
    .op("end")
    .op("local.get", sum)
    .finish();
}
