/** Takes a valid module apart. Custom sections (names) are left out. */
import { Reader } from "./bytes.ts";
import { skipExpression } from "./instructions.ts";
import {
  type ExternKind,
  emptyModule,
  type Func,
  type GlobalType,
  type Import,
  type Limits,
  type Module,
  type TableType,
} from "./module.ts";
import { typeOfCode, type ValueType } from "./opcodes.ts";

const KINDS: readonly ExternKind[] = ["func", "table", "memory", "global"];

export function decodeModule(bytes: Uint8Array): Module {
  const module = emptyModule();
  const reader = new Reader(bytes, 8);
  let types: number[] = [];
  while (!reader.done) {
    const id = reader.u8();
    const length = reader.u32();
    const section = new Reader(bytes, reader.at, reader.at + length);
    reader.take(length);
    if (id === 3) types = section.vector(() => section.u32());
    else readSection(id, section, module, types);
  }
  return module;
}

function readSection(id: number, section: Reader, module: Module, types: readonly number[]): void {
  switch (id) {
    case 1:
      module.types = section.vector(() => {
        section.u8();
        const params = section.vector(() => valueType(section));
        return { params, results: section.vector(() => valueType(section)) };
      });
      return;
    case 2:
      module.imports = section.vector(() => readImport(section));
      return;
    case 4:
      module.tables = section.vector(() => tableType(section));
      return;
    case 5:
      module.memories = section.vector(() => limits(section));
      return;
    case 6:
      module.globals = section.vector(() => ({ type: globalType(section), init: skipExpression(section) }));
      return;
    case 7:
      module.exports = section.vector(() => ({
        name: section.name(),
        kind: kind(section),
        index: section.u32(),
      }));
      return;
    case 8:
      module.start = section.u32();
      return;
    case 9:
      module.elements = section.vector(() => segment(section, skipElements));
      return;
    case 10: {
      let i = 0;
      module.functions = section.vector(() => readBody(section, types[i++] ?? 0));
      return;
    }
    case 11:
      module.data = section.vector(() => segment(section, skipData));
      return;
    default: // custom sections, and the data count, which the writer counts by itself
  }
}

const valueType = (reader: Reader): ValueType => typeOfCode(reader.u8());

function kind(reader: Reader): ExternKind {
  const code = reader.u8();
  const found = KINDS[code];
  if (!found) throw new Error(`unknown kind ${code} of an import or export`);
  return found;
}

function limits(reader: Reader): Limits {
  const flags = reader.u8();
  if (flags > 1) throw new Error(`limits of a later proposal: ${flags}`);
  return { min: reader.u32(), max: flags === 1 ? reader.u32() : undefined };
}

function tableType(reader: Reader): TableType {
  const element = valueType(reader);
  if (element !== "funcref" && element !== "externref") throw new Error(`a table of ${element}`);
  return { element, limits: limits(reader) };
}

const globalType = (reader: Reader): GlobalType => ({
  type: valueType(reader),
  mutable: reader.u8() === 1,
});

function readImport(reader: Reader): Import {
  const names = { module: reader.name(), name: reader.name() };
  switch (kind(reader)) {
    case "func":
      return { ...names, kind: "func", type: reader.u32() };
    case "table":
      return { ...names, kind: "table", type: tableType(reader) };
    case "memory":
      return { ...names, kind: "memory", type: limits(reader) };
    default:
      return { ...names, kind: "global", type: globalType(reader) };
  }
}

function readBody(section: Reader, type: number): Func {
  const size = section.u32();
  const body = new Reader(section.bytes, section.at, section.at + size);
  section.take(size);
  const locals = body.vector(() => {
    const count = body.u32();
    return new Array<ValueType>(count).fill(valueType(body));
  });
  return { type, locals: locals.flat(), code: body.take(body.end - body.at).slice() };
}

function segment(reader: Reader, skip: (reader: Reader) => void): Uint8Array {
  const from = reader.at;
  skip(reader);
  return reader.bytes.slice(from, reader.at);
}

/** 5.5.12: bit 0 passive or declarative, bit 1 explicit table index (or declarative), bit 2 expressions in place of indices. */
function skipElements(reader: Reader): void {
  const flags = reader.u32();
  const active = (flags & 1) === 0;
  if (active && (flags & 2) !== 0) reader.u32();
  if (active) skipExpression(reader);
  if ((flags & 3) !== 0) reader.u8();
  if ((flags & 4) === 0) reader.vector(() => reader.u32());
  else reader.vector(() => skipExpression(reader));
}

/** 5.5.14. */
function skipData(reader: Reader): void {
  const flags = reader.u32();
  if (flags === 2) reader.u32();
  if (flags !== 1) skipExpression(reader);
  reader.take(reader.u32());
}
