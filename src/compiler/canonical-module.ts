/**
 * Rewrites a module so that no name in it is the tenant's: wasm2c writes names into C source text, and a name is hostile input.
 * Module k of an image is `m<k>`. Exports become `e0`, `e1`, …; imports `h<k>`.`i0`, `i1`, … if they are the host's and `h<k>q<j>`.`i0`, … if
 * they are module j's; functions get a name of harmless characters that ends in their index,
 * so that a symbol in the image leads back to its function without guessing. Data that the image has as initial pages is left out, so that nothing reads, writes
 * and compiles it once more. All other sections stay as they are; custom sections are dropped.
 */
import { BarecellError } from "../errors.ts";
import type { ExternalKind, ImportInfo, Limits, ModuleInfo, ValueType } from "./wasm-reader.ts";

export const moduleName = (module: number): string => `m${module}`;
/** The module that an import of module `importer` is named after; `exporter` is undefined for the host. */
export const importModule = (importer: number, exporter?: number): string =>
  `h${importer}${exporter === undefined ? "" : `q${exporter}`}`;
export const importName = (index: number): string => `i${index}`;
export const exportName = (index: number): string => `e${index}`;

const SECTION_CUSTOM = 0;
const SECTION_IMPORT = 2;
const SECTION_EXPORT = 7;
const SECTION_DATA = 11;
const KIND_BYTE: Record<ExternalKind, number> = { func: 0, table: 1, memory: 2, global: 3 };

const TYPE_BYTE: Record<ValueType, number> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
  funcref: 0x70,
  externref: 0x6f,
};

/** Characters of a function's name that are kept for readers of symbol tables; the index makes it unique. */
export function symbolName(name: string | undefined, index: number): string {
  // No underscore in front: wasm2c would escape it.
  const kept = (name ?? "")
    .replace(/[^A-Za-z0-9]+/g, "_")
    .replace(/^_/, "")
    .slice(0, 100);
  return `${kept === "" ? "" : `${kept}_`}f${index}`;
}

/** Unsigned LEB128 (WebAssembly 5.2.2). */
function leb(value: number): number[] {
  const out: number[] = [];
  let rest = value >>> 0;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    out.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return out;
}

/** Signed LEB128 of a 32-bit number (WebAssembly 5.2.2). */
function signedLeb(value: number): number[] {
  const out: number[] = [];
  let rest = value | 0;
  for (;;) {
    const low = rest & 0x7f;
    rest >>= 7;
    // The highest bit that is written is the sign.
    if (rest === (low & 0x40 ? -1 : 0)) return [...out, low];
    out.push(low | 0x80);
  }
}

const ascii = (text: string): number[] => [...leb(text.length), ...Buffer.from(text, "latin1")];

function section(id: number, body: number[]): Uint8Array {
  return Uint8Array.from([id, ...leb(body.length), ...body]);
}

function readLeb(bytes: Uint8Array, at: number): { value: number; next: number } {
  let value = 0;
  let shift = 0;
  let next = at;
  for (;;) {
    const byte = bytes[next++];
    if (byte === undefined) throw new RangeError("truncated section size in a module that was validated");
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return { value, next };
    shift += 7;
  }
}

/**
 * @param bytes the module, already validated and read into `info`
 * @param moduleOfImport what the module of each import is to be called
 * @param isDataPlaced whether the contents of all active data segments are in memory before the module is instantiated (linear-layout.ts)
 * @returns the same module under harmless names
 */
export function canonicalModule(
  bytes: Uint8Array,
  info: ModuleInfo,
  moduleOfImport: (importIndex: number) => string,
  isDataPlaced: boolean,
): Uint8Array {
  const parts: Uint8Array[] = [bytes.subarray(0, 8)];
  let at = 8;
  while (at < bytes.length) {
    const id = bytes[at] as number;
    const size = readLeb(bytes, at + 1);
    const end = size.next + size.value;
    if (id === SECTION_IMPORT) parts.push(importSection(info, moduleOfImport));
    else if (id === SECTION_EXPORT) parts.push(exportSection(info));
    else if (id === SECTION_DATA && isDataPlaced) parts.push(emptiedData(bytes, info));
    else if (id !== SECTION_CUSTOM) parts.push(bytes.subarray(at, end));
    at = end;
  }
  parts.push(nameSection(info));
  return Buffer.concat(parts);
}

function importSection(info: ModuleInfo, moduleOfImport: (importIndex: number) => string): Uint8Array {
  const body = leb(info.imports.length);
  info.imports.forEach((entry, index) => {
    body.push(...ascii(moduleOfImport(index)), ...ascii(importName(index)), KIND_BYTE[entry.kind]);
    body.push(...externalType(entry));
  });
  return section(SECTION_IMPORT, body);
}

/** WebAssembly 5.5.5; types by their bytes, 5.3.1 to 5.3.10. */
function externalType(entry: ImportInfo): number[] {
  switch (entry.kind) {
    case "func":
      return leb(entry.typeIndex);
    case "table":
      return [TYPE_BYTE[entry.type.element], ...limits(entry.type)];
    case "memory":
      return limits(entry.type);
    case "global":
      return [TYPE_BYTE[entry.type.type], entry.type.mutable ? 1 : 0];
  }
}

const limits = ({ min, max }: Limits): number[] =>
  max === undefined ? [0, ...leb(min)] : [1, ...leb(min), ...leb(max)];

function exportSection(info: ModuleInfo): Uint8Array {
  const body = leb(info.exports.length);
  info.exports.forEach((entry, index) => {
    body.push(...ascii(exportName(index)), KIND_BYTE[entry.kind], ...leb(entry.index));
  });
  return section(SECTION_EXPORT, body);
}

/**
 * The active segments without their contents: once a module is instantiated they are as if empty anyway (WebAssembly 4.5.4, they are dropped), so `memory.init` sees
 * no difference.
 */
function emptiedData(bytes: Uint8Array, info: ModuleInfo): Uint8Array {
  const segments = info.dataSegments.map(({ mode, offset, fileOffset, length }) => {
    if (mode === "passive") {
      return Buffer.concat([
        Uint8Array.from([DATA_PASSIVE, ...leb(length)]),
        bytes.subarray(fileOffset, fileOffset + length),
      ]);
    }
    if (offset === undefined) throw new BarecellError("BARECELL_INTERNAL", "placed data without a place");
    return Uint8Array.from([DATA_ACTIVE, I32_CONST, ...signedLeb(offset), END, ...leb(0)]);
  });
  const body = Buffer.concat([Uint8Array.from(leb(segments.length)), ...segments]);
  return Buffer.concat([Uint8Array.from([SECTION_DATA, ...leb(body.length)]), body]);
}

/** WebAssembly 5.5.14: the kinds of segments (memory 0 is the only one), and 5.4: the instructions of an offset. */
const DATA_ACTIVE = 0;
const DATA_PASSIVE = 1;
const I32_CONST = 0x41;
const END = 0x0b;

/** Custom section "name", subsection 1: function names (WebAssembly appendix 7.4.1). */
function nameSection(info: ModuleInfo): Uint8Array {
  const names: number[] = [...leb(info.functions.length)];
  for (let index = 0; index < info.functions.length; index++) {
    for (const byte of leb(index)) names.push(byte);
    for (const byte of ascii(symbolName(info.functionNames.get(index), index))) names.push(byte);
  }
  const sized = [1, ...leb(names.length)];
  return Buffer.concat([
    Uint8Array.from([SECTION_CUSTOM, ...leb(5 + sized.length + names.length), ...ascii("name"), ...sized]),
    Uint8Array.from(names),
  ]);
}
