// Reads from a WebAssembly binary what the compiler and the image note need. Function bodies and element segments are
// skipped: V8 validates them before, wasm2c reads them after. Numbers as 5.5.2 are sections of the WebAssembly 2.0
// specification.

export type ReferenceType = "funcref" | "externref";
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128" | ReferenceType;
export type ExternalKind = "func" | "table" | "memory" | "global";
export type FunctionType = { params: ValueType[]; results: ValueType[] };
/** In elements for a table, in pages of 64 KiB for a memory. */
export type Limits = { min: number; max: number | undefined };
export type MemoryType = Limits;
export type TableType = { element: ReferenceType } & Limits;
export type GlobalType = { type: ValueType; mutable: boolean };
export type ImportInfo = { module: string; name: string } & (
  | { kind: "func"; typeIndex: number; type: FunctionType }
  | { kind: "table"; type: TableType }
  | { kind: "memory"; type: MemoryType }
  | { kind: "global"; type: GlobalType }
);
/** `index` counts in the index space of `kind`: imports first. */
export type ExportInfo = { name: string; kind: ExternalKind; index: number };

/** `offset` is unsigned, and undefined unless it is one plain `i32.const`; `memoryIndex` is undefined if passive. */
export type DataSegment = {
  mode: "active" | "passive";
  memoryIndex: number | undefined;
  offset: number | undefined;
  /** Where the bytes start in the file; `length` is in bytes too. */
  fileOffset: number;
  length: number;
};

/** `functions`, `tables`, `memories` and `globals` are whole index spaces: the imported ones come first. */
export class ModuleInfo {
  types: FunctionType[] = [];
  imports: ImportInfo[] = [];
  /** The type index of each function. */
  functions: number[] = [];
  tables: TableType[] = [];
  memories: MemoryType[] = [];
  globals: GlobalType[] = [];
  /** How many of each index space are imported. */
  imported: Record<ExternalKind, number> = { func: 0, table: 0, memory: 0, global: 0 };
  exports: ExportInfo[] = [];
  /** Function index. */
  start: number | undefined = undefined;
  elementSegmentCount = 0;
  dataSegments: DataSegment[] = [];
  /** By index, from the "name" section; empty if there is none or it is broken. */
  functionNames = new Map<number, string>();
  /** Sum of all function bodies, bytes. */
  codeSize = 0;
}

/** The bytes are not a WebAssembly 2.0 core module. */
export class WasmFormatError extends Error {
  override readonly name = "WasmFormatError";
  /** Where in the file, bytes. */
  readonly offset: number;
  /** The proposal beyond 2.0 that the module needs, if that is what is wrong. */
  readonly proposal: string | undefined;
  constructor(message: string, offset: number, proposal?: string) {
    super(`${message}${proposal === undefined ? "" : `: ${proposal} proposal`} (at byte ${offset})`);
    this.offset = offset;
    this.proposal = proposal;
  }
}

/** Implementation limits of the WebAssembly JavaScript API: a byte of the file must not become an object at will. */
const MAX_ENTRIES = 1_000_000;
const MAX_PARAMS = 1000;
const MAX_NAME_BYTES = 100_000;
const MAX_PAGES = 65_536;
const MAX_U32 = 0xffff_ffff;

/** Downwards from type byte 0x7f, and from 0x70 (5.3.1 to 5.3.4). */
const NUMBER_TYPES: readonly ValueType[] = ["i32", "i64", "f32", "f64", "v128"];
const REFERENCE_TYPES: readonly ReferenceType[] = ["funcref", "externref"];
const KINDS: readonly ExternalKind[] = ["func", "table", "memory", "global"];
const SECTIONS =
  "custom,type,import,function,table,memory,global,export,start,element,code,data,data count".split(",");
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const hex = (byte: number): string => byte.toString(16).padStart(2, "0");

/** Which later proposal has this type byte. */
function proposalOfType(byte: number): string | undefined {
  // 0x40 is a table with an initializer.
  if (byte === 0x40 || byte === 0x63 || byte === 0x64) return "typed function references";
  if (byte === 0x69 || byte === 0x74) return "exception handling";
  return (byte >= 0x4e && byte <= 0x5f) || (byte >= 0x6a && byte <= 0x78) ? "garbage collection" : undefined;
}

/** A position in the file that never passes `end`. `what` is being read, for messages. */
class Cursor {
  constructor(bytes: Uint8Array, at: number, end: number, what: string) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
    this.what = what;
  }
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  what: string;

  fail(message: string, at = this.at, proposal?: string): never {
    throw new WasmFormatError(message, at, proposal);
  }
  skip(length: number): void {
    if (length > this.end - this.at) this.fail(`truncated: the ${this.what} ends too early`);
    this.at += length;
  }
  byte(): number {
    this.skip(1);
    return this.bytes[this.at - 1] as number;
  }

  /** LEB128 of at most 32 bits (5.2.2). */
  u32(): number {
    const start = this.at;
    for (let shift = 0, value = 0; shift <= 28; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80 && value <= MAX_U32) return value;
    }
    return this.fail(`a number in the ${this.what} does not fit in 32 bits`, start);
  }

  /** Signed LEB128; its low 32 bits as an unsigned number. */
  signed(maxBytes: 5 | 10): number {
    const start = this.at;
    for (let shift = 0, value = 0; shift < 7 * maxBytes; shift += 7) {
      const byte = this.byte();
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80 && byte & 0x40 && shift < 25) value |= -1 << (shift + 7);
      if (byte < 0x80) return value >>> 0;
    }
    return this.fail(`a number in the ${this.what} is too long`, start);
  }

  /** The length of a vector of elements of `elementBytes` or more: one that cannot fit is refused at once. */
  count(what: string, limit: number, elementBytes = 1): number {
    const start = this.at;
    const count = this.u32();
    if (count * elementBytes > this.end - this.at) {
      this.fail(`truncated: ${count} ${what} do not fit in the ${this.what}`, start);
    }
    if (count > limit) this.fail(`too many ${what}: ${count}, the limit is ${limit}`, start);
    return count;
  }

  *each(what: string, limit: number, elementBytes = 1): Generator<number> {
    const count = this.count(what, limit, elementBytes);
    for (let i = 0; i < count; i++) yield i;
  }

  /** An index below `size`. */
  index(what: string, size: number): number {
    const start = this.at;
    const index = this.u32();
    return index < size ? index : this.fail(`${what} ${index} does not exist, there are ${size}`, start);
  }

  name(): string {
    const start = this.at;
    const length = this.count("bytes of a name", MAX_NAME_BYTES);
    this.skip(length);
    try {
      return UTF8.decode(this.bytes.subarray(this.at - length, this.at));
    } catch {
      return this.fail("a name is not valid UTF-8", start);
    }
  }

  valueType(): ValueType {
    const number = NUMBER_TYPES[0x7f - this.byte()];
    if (number === undefined) this.at--;
    return number ?? this.referenceType();
  }

  referenceType(): ReferenceType {
    const byte = this.byte();
    const message = `unsupported type 0x${hex(byte)} in the ${this.what}`;
    return REFERENCE_TYPES[0x70 - byte] ?? this.fail(message, this.at - 1, proposalOfType(byte));
  }

  /** 5.3.7. */
  limits(what: string, ceiling: number): Limits {
    const flags = this.byte();
    const proposal = flags & 8 ? "custom page sizes" : flags & 4 ? "memory64" : "threads";
    if (flags > 1) this.fail(`unsupported ${what} limits 0x${hex(flags)}`, this.at - 1, proposal);
    const min = this.u32();
    const max = flags === 1 ? this.u32() : undefined;
    if (Math.max(min, max ?? 0) > ceiling) this.fail(`a limit of a ${what} is above ${ceiling}`);
    if (max !== undefined && max < min) this.fail(`the maximum of a ${what}, ${max}, is below its minimum`);
    return { min, max };
  }
  memoryType(): MemoryType {
    return this.limits("memory", MAX_PAGES);
  }
  tableType(): TableType {
    return { element: this.referenceType(), ...this.limits("table", MAX_U32) };
  }
  globalType(): GlobalType {
    const type = this.valueType();
    const mutability = this.byte();
    if (mutability > 1) this.fail(`unknown mutability 0x${hex(mutability)} of a global`, this.at - 1);
    return { type, mutable: mutability === 1 };
  }
  kind(what: string): ExternalKind {
    const code = this.byte();
    const proposal = code === 4 ? "exception handling" : undefined;
    return KINDS[code] ?? this.fail(`unknown ${what} kind 0x${hex(code)}`, this.at - 1, proposal);
  }

  /** Skips a constant expression (3.3.10); its value if it is one plain `i32.const`. */
  constantExpression(): number | undefined {
    for (let count = 0, value: number | undefined; ; count++) {
      const start = this.at;
      const opcode = this.byte();
      if (opcode === 0x0b) return count === 1 ? value : undefined;
      if (opcode === 0x41) value = this.signed(5);
      else if (opcode === 0x42) this.signed(10);
      else if (opcode === 0x43) this.skip(4);
      else if (opcode === 0x44) this.skip(8);
      else if (opcode === 0x23 || opcode === 0xd2) this.u32();
      else if (opcode === 0xd0) this.referenceType();
      else if (opcode === 0xfd && this.u32() === 12) this.skip(16);
      else {
        const extended = (opcode >= 0x6a && opcode <= 0x6c) || (opcode >= 0x7c && opcode <= 0x7e);
        const proposal = opcode === 0xfb ? "garbage collection" : extended ? "extended constant" : undefined;
        this.fail(`unsupported opcode 0x${hex(opcode)} in a constant expression`, start, proposal);
      }
    }
  }
}

/** What is needed while reading, and not after. */
type State = { bodies: number; dataCount: number | undefined; names: Cursor | undefined };

const added = <T>(list: T[], item: T): T => list[list.push(item) - 1] as T;

function readType(c: Cursor, m: ModuleInfo): void {
  const form = c.byte();
  if (form !== 0x60) c.fail(`unsupported type form 0x${hex(form)}`, c.at - 1, proposalOfType(form));
  const params = Array.from(c.each("parameters", MAX_PARAMS), () => c.valueType());
  m.types.push({ params, results: Array.from(c.each("results", MAX_PARAMS), () => c.valueType()) });
}

function readImport(c: Cursor, m: ModuleInfo): void {
  const names = { module: c.name(), name: c.name() };
  const kind = c.kind("import");
  m.imported[kind]++;
  if (kind === "func") {
    const typeIndex = c.index("type", m.types.length);
    m.functions.push(typeIndex);
    m.imports.push({ ...names, kind, typeIndex, type: m.types[typeIndex] as FunctionType });
  } else if (kind === "table") m.imports.push({ ...names, kind, type: added(m.tables, c.tableType()) });
  else if (kind === "memory") m.imports.push({ ...names, kind, type: added(m.memories, c.memoryType()) });
  else m.imports.push({ ...names, kind, type: added(m.globals, c.globalType()) });
}

function readExport(c: Cursor, m: ModuleInfo): void {
  const name = c.name();
  const kind = c.kind("export");
  const sizes = { func: m.functions, table: m.tables, memory: m.memories, global: m.globals };
  m.exports.push({ name, kind, index: c.index(`exported ${kind}`, sizes[kind].length) });
}

function readBody(c: Cursor, m: ModuleInfo, state: State): void {
  const size = c.u32();
  c.skip(size);
  m.codeSize += size;
  state.bodies++;
}

/** 5.5.14. */
function readDataSegment(c: Cursor, m: ModuleInfo): void {
  const start = c.at;
  const flags = c.u32();
  if (flags > 2) c.fail(`unknown data segment kind ${flags}`, start);
  const mode = flags === 1 ? "passive" : "active";
  const memoryIndex = flags === 1 ? undefined : flags === 2 ? c.index("memory", m.memories.length) : 0;
  if (memoryIndex === 0 && m.memories.length === 0) c.fail("a data segment, but no memory", start);
  const offset = flags === 1 ? undefined : c.constantExpression();
  const length = c.count("bytes of data", MAX_U32);
  m.dataSegments.push({ mode, memoryIndex, offset, fileOffset: c.at, length });
  c.skip(length);
}

type ElementReader = (c: Cursor, m: ModuleInfo, state: State) => void;
/** By section id: what the section holds, the fewest bytes that one takes, and how one is read. */
const VECTORS: Readonly<Record<number, readonly [string, number, ElementReader]>> = {
  1: ["types", 2, readType],
  2: ["imports", 4, readImport],
  3: ["functions", 1, (c, m) => m.functions.push(c.index("type", m.types.length))],
  4: ["tables", 3, (c, m) => m.tables.push(c.tableType())],
  5: ["memories", 2, (c, m) => m.memories.push(c.memoryType())],
  6: ["globals", 3, (c, m) => [m.globals.push(c.globalType()), c.constantExpression()]],
  7: ["exports", 3, readExport],
  10: ["function bodies", 3, readBody],
  11: ["data segments", 2, readDataSegment],
};

function readSection(id: number, c: Cursor, m: ModuleInfo, state: State): void {
  const [what, bytes, read] = VECTORS[id] ?? ["", 0, undefined];
  if (read) for (const _ of c.each(what, MAX_ENTRIES, bytes)) read(c, m, state);
  else if (id === 8) m.start = c.index("start function", m.functions.length);
  else if (id === 12) state.dataCount = c.u32();
  else if (id === 9) m.elementSegmentCount = c.count("element segments", MAX_ENTRIES, 3);
  else if (c.name() === "name") state.names ??= new Cursor(c.bytes, c.at, c.end, "name section");
  // Of element segments and custom sections no more is read.
  if (id === 9 || id === 0) c.at = c.end;
}

/** The function names, subsection 1 of the "name" section (7.4.1). */
function readFunctionNames(c: Cursor, functions: number): Map<number, string> {
  const names = new Map<number, string>();
  while (c.at < c.end) {
    const id = c.byte();
    const size = c.count("bytes of a subsection", MAX_U32);
    const part = new Cursor(c.bytes, c.at, c.at + size, "function names");
    for (const _ of id === 1 ? part.each("names", MAX_ENTRIES, 2) : []) {
      names.set(part.index("function", functions), part.name());
    }
    c.skip(size);
  }
  return names;
}

/** Refuses what does not start as a core module of version 1 (5.5.16), and says what it looks like instead. */
function checkPreamble(bytes: Uint8Array): void {
  const fail = (message: string, at: number): never => new Cursor(bytes, 0, 0, "").fail(message, at);
  if (bytes.length === 0) fail("the file is empty", 0);
  if ([0x00, 0x61, 0x73, 0x6d].some((byte, i) => i < bytes.length && bytes[i] !== byte)) {
    // Text starts with blanks and comments. Each step of the pattern has its own first character: no backtracking.
    const head = new TextDecoder().decode(bytes.subarray(0, 4096));
    const text = /^(?:\s|;;.*\n|\(;(?:[^;]|;(?!\)))*;\))*\(\s*(?:module|component|type|import|func|memory)\b/;
    if (text.test(head)) fail("this is WebAssembly text (.wat), not binary; convert it with wat2wasm", 0);
    const shown = Array.from(bytes.subarray(0, 8), hex).join(" ");
    fail(`not WebAssembly: it starts with ${shown}, not with 00 61 73 6d`, 0);
  }
  if (bytes.length < 8) fail("truncated: the preamble has 8 bytes", bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const [version, layer] = [view.getUint16(4, true), view.getUint16(6, true)];
  if (layer === 1) fail("this is a component (component model, binary layer 1), not a core module", 6);
  if (layer !== 0) fail(`unknown binary layer ${layer}`, 6);
  if (version !== 1) fail(`unsupported WebAssembly version ${version}; only version 1 is`, 4);
}

/**
 * Decodes `bytes`, a whole file: a WebAssembly 2.0 core module. Nothing in it is trusted; time and memory are linear.
 *
 * @throws {WasmFormatError} naming what is wrong, where, and the proposal if the module needs a later one
 */
export function readModule(bytes: Uint8Array): ModuleInfo {
  checkPreamble(bytes);
  const m = new ModuleInfo();
  const state: State = { bodies: 0, dataCount: undefined, names: undefined };
  const file = new Cursor(bytes, 8, bytes.length, "file");
  for (let before = 0; file.at < file.end; ) {
    const start = file.at;
    const id = file.byte();
    const proposal = id === 13 ? "exception handling" : undefined;
    file.what = `${SECTIONS[id] ?? file.fail(`unknown section id ${id}`, start, proposal)} section`;
    // The data count section (12) stands before the code section (10).
    const order = id === 12 ? 9.5 : id;
    if (id !== 0 && order <= before) file.fail(`the ${file.what} is out of order, or there are two`, start);
    before = Math.max(before, order);
    const size = file.u32();
    if (size > file.end - file.at) file.fail(`truncated: the ${file.what} has not all ${size} bytes`, start);
    const c = new Cursor(bytes, file.at, file.at + size, file.what);
    readSection(id, c, m, state);
    if (c.at !== c.end) c.fail(`size mismatch: ${c.end - c.at} bytes are left over in the ${file.what}`);
    file.skip(size);
  }
  const { bodies, dataCount, names } = state;
  const defined = m.functions.length - m.imported.func;
  if (defined !== bodies)
    file.fail(`size mismatch: ${defined} functions are declared, ${bodies} have a body`);
  const segments = m.dataSegments.length;
  if (dataCount !== undefined && dataCount !== segments) {
    file.fail(`size mismatch: ${dataCount} data segments are announced, ${segments} follow`);
  }
  if (new Set(m.exports.map((e) => e.name)).size < m.exports.length) file.fail("two exports have one name");
  try {
    if (names) m.functionNames = readFunctionNames(names, m.functions.length);
  } catch (error) {
    // Names are decoration: a module with a broken "name" section is valid (7.4).
    if (!(error instanceof WasmFormatError)) throw error;
  }
  return m;
}

/** The type of a function, imports counted first. Throws a RangeError if there is no such function. */
export function functionTypeOf(info: ModuleInfo, functionIndex: number): FunctionType {
  const type = info.types[info.functions[functionIndex] ?? -1];
  if (type === undefined) throw new RangeError(`the module has no function ${functionIndex}`);
  return type;
}
