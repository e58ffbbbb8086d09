/** A module taken apart into its sections, so that the generator, the harness and the reducer can put one together and change one. */
import { Writer } from "./bytes.ts";
import { TYPE_CODE, type ValueType } from "./opcodes.ts";

export interface FuncType {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

export interface Limits {
  readonly min: number;
  readonly max: number | undefined;
}

export interface TableType {
  readonly element: "funcref" | "externref";
  readonly limits: Limits;
}

export interface GlobalType {
  readonly type: ValueType;
  readonly mutable: boolean;
}

export type ExternKind = "func" | "table" | "memory" | "global";

export type Import = { readonly module: string; readonly name: string } & (
  | { readonly kind: "func"; readonly type: number }
  | { readonly kind: "table"; readonly type: TableType }
  | { readonly kind: "memory"; readonly type: Limits }
  | { readonly kind: "global"; readonly type: GlobalType }
);

export interface Func {
  type: number;
  locals: readonly ValueType[];
  /** With the final `end`. */
  code: Uint8Array;
}

export interface Export {
  readonly name: string;
  readonly kind: ExternKind;
  readonly index: number;
}

/** Index spaces begin with the imports, as in the format; `functions` and the others hold what the module itself defines. */
export interface Module {
  types: FuncType[];
  imports: Import[];
  functions: Func[];
  tables: TableType[];
  memories: Limits[];
  globals: { readonly type: GlobalType; readonly init: Uint8Array }[];
  exports: Export[];
  start: number | undefined;
  /** Whole segments in their binary form. */
  elements: Uint8Array[];
  data: Uint8Array[];
}

export function emptyModule(): Module {
  return {
    types: [],
    imports: [],
    functions: [],
    tables: [],
    memories: [],
    globals: [],
    exports: [],
    start: undefined,
    elements: [],
    data: [],
  };
}

/** How many entries of an index space are imported. */
export function importedCount(module: Module, kind: ExternKind): number {
  return module.imports.filter((entry) => entry.kind === kind).length;
}

/** The type of a function by its place in the index space. */
export function typeOfFunction(module: Module, index: number): FuncType {
  const imported = module.imports.filter((entry) => entry.kind === "func");
  const typeIndex = imported[index]?.type ?? module.functions[index - imported.length]?.type;
  const type = typeIndex === undefined ? undefined : module.types[typeIndex];
  if (!type) throw new Error(`there is no function ${index}`);
  return type;
}

export function globalTypeOf(module: Module, index: number): GlobalType {
  const imported = module.imports.flatMap((entry) => (entry.kind === "global" ? [entry.type] : []));
  const type = imported[index] ?? module.globals[index - imported.length]?.type;
  if (!type) throw new Error(`there is no global ${index}`);
  return type;
}

/** The index of a type, which is added if it is new. */
export function typeIndex(module: Module, type: FuncType): number {
  const key = typeText(type);
  const found = module.types.findIndex((other) => typeText(other) === key);
  return found >= 0 ? found : module.types.push(type) - 1;
}

export const typeText = (type: FuncType): string => `${type.params.join(" ")} -> ${type.results.join(" ")}`;

/** Adds a function; its index is in the index space, imports included. */
export function addFunction(
  module: Module,
  type: FuncType,
  locals: readonly ValueType[],
  code: Uint8Array,
): number {
  const count = module.functions.push({ type: typeIndex(module, type), locals, code });
  return importedCount(module, "func") + count - 1;
}

const KIND_CODE: Readonly<Record<ExternKind, number>> = { func: 0, table: 1, memory: 2, global: 3 };

function writeLimits(writer: Writer, limits: Limits): void {
  writer.u8(limits.max === undefined ? 0 : 1).u32(limits.min);
  if (limits.max !== undefined) writer.u32(limits.max);
}

function writeTable(writer: Writer, table: TableType): void {
  writer.u8(TYPE_CODE[table.element]);
  writeLimits(writer, table.limits);
}

function writeGlobalType(writer: Writer, { type, mutable }: GlobalType): void {
  writer.u8(TYPE_CODE[type]).u8(mutable ? 1 : 0);
}

function writeImport(writer: Writer, entry: Import): void {
  writer.name(entry.module).name(entry.name).u8(KIND_CODE[entry.kind]);
  if (entry.kind === "func") writer.u32(entry.type);
  else if (entry.kind === "table") writeTable(writer, entry.type);
  else if (entry.kind === "memory") writeLimits(writer, entry.type);
  else writeGlobalType(writer, entry.type);
}

function writeBody(writer: Writer, func: Func): void {
  writer.sized((body) => {
    const runs: { type: ValueType; count: number }[] = [];
    for (const type of func.locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    body.vector(runs, (run) => body.u32(run.count).u8(TYPE_CODE[run.type])).raw(func.code);
  });
}

export function encodeModule(module: Module): Uint8Array {
  const writer = new Writer();
  const section = <T>(id: number, items: readonly T[], write: (inner: Writer, item: T) => void): void => {
    if (items.length === 0) return;
    writer.u8(id).sized((inner) => inner.vector(items, (item) => write(inner, item)));
  };
  writer.raw([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  section(1, module.types, (inner, type) => {
    inner.u8(0x60).vector(type.params, (param) => inner.u8(TYPE_CODE[param]));
    inner.vector(type.results, (result) => inner.u8(TYPE_CODE[result]));
  });
  section(2, module.imports, writeImport);
  section(3, module.functions, (inner, func) => inner.u32(func.type));
  section(4, module.tables, writeTable);
  section(5, module.memories, writeLimits);
  section(6, module.globals, (inner, global) => {
    writeGlobalType(inner, global.type);
    inner.raw(global.init);
  });
  section(7, module.exports, (inner, entry) =>
    inner.name(entry.name).u8(KIND_CODE[entry.kind]).u32(entry.index),
  );
  if (module.start !== undefined) {
    const start = module.start;
    writer.u8(8).sized((inner) => inner.u32(start));
  }
  section(9, module.elements, (inner, segment) => inner.raw(segment));
  // The data count is only needed by memory.init and data.drop, but is always allowed.
  if (module.data.length > 0) writer.u8(12).sized((inner) => inner.u32(module.data.length));
  section(10, module.functions, writeBody);
  section(11, module.data, (inner, segment) => inner.raw(segment));
  return writer.finish();
}
