/**
 * Modules that stand behind the imports of another: functions that fold their arguments into a running sum and return zeros, and null or
 * zero globals. The sum is an exported global, so that what was passed out, and in which order, is compared like all other state.
 */
import { addFunction, emptyModule, type FuncType, type Module } from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import { Code } from "./code.ts";
import { NanHelpers } from "./nan.ts";

export const SUM = "sum";

/** One module for each name that is imported from. */
export function supportModules(module: Module): Map<string, Module> {
  const found = new Map<string, { support: Module; helpers: NanHelpers }>();
  for (const entry of module.imports) {
    const { support, helpers } = found.get(entry.module) ?? emptySupport();
    found.set(entry.module, { support, helpers });
    if (support.exports.some(({ name }) => name === entry.name)) continue;
    if (entry.kind === "func") {
      const type = module.types[entry.type];
      if (!type) throw new Error(`import ${entry.name} has no type`);
      const index = addFunction(support, type, [], logger(type, helpers));
      support.exports.push({ name: entry.name, kind: "func", index });
    } else if (entry.kind === "global") {
      const init = new Code().zero(entry.type.type).finish();
      const index = support.globals.push({ type: entry.type, init }) - 1;
      support.exports.push({ name: entry.name, kind: "global", index });
    } else if (entry.kind === "memory") {
      const index = support.memories.push(entry.type) - 1;
      support.exports.push({ name: entry.name, kind: "memory", index });
    } else {
      const index = support.tables.push(entry.type) - 1;
      support.exports.push({ name: entry.name, kind: "table", index });
    }
  }
  return new Map([...found].map(([name, { support }]) => [name, support]));
}

function emptySupport(): { support: Module; helpers: NanHelpers } {
  const support = emptyModule();
  support.globals.push({ type: { type: "i64", mutable: true }, init: new Code().i64(0n).finish() });
  support.exports.push({ name: SUM, kind: "global", index: 0 });
  return { support, helpers: new NanHelpers(support) };
}

function logger(type: FuncType, helpers: NanHelpers): Uint8Array {
  const code = new Code();
  // A call without arguments counts as well.
  fold(code, () => code.i64(1n));
  type.params.forEach((param, i) => {
    if (param === "v128") {
      for (const lane of [0, 1]) fold(code, () => code.op("local.get", i).op("i64x2.extract_lane", lane));
    } else {
      fold(code, () => asI64(code, param, i, helpers));
    }
  });
  for (const result of type.results) code.zero(result);
  return code.finish();
}

/** sum = rotl(sum, 7) + value */
function fold(code: Code, value: () => void): void {
  code.op("global.get", 0).i64(7n).op("i64.rotl");
  value();
  code.op("i64.add").op("global.set", 0);
}

function asI64(code: Code, type: ValueType, local: number, helpers: NanHelpers): void {
  code.op("local.get", local);
  if (type === "f32" || type === "f64") code.op("call", helpers.index(type));
  if (type === "f32") code.op("i32.reinterpret_f32");
  if (type === "f64") code.op("i64.reinterpret_f64");
  if (type === "funcref" || type === "externref") code.op("ref.is_null");
  if (type !== "i64" && type !== "f64") code.op("i64.extend_i32_u");
}
