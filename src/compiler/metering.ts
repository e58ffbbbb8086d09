/**
 * Writes the counting of fuel into a module. On the level of WebAssembly, so that what is counted is the same whatever compiler, level and processor
 * come after.
 *
 * Each stretch of instructions (stretches.ts) is paid for where it begins. A payment is `i64.const N`, `global.set G`, where G is a global that the
 * module does not have: the two that are added here stand behind all others, so no instruction of the tenant's, which was validated before, can mean
 * them. adapt.ts makes machine code of each, and counts that it found all.
 *
 * Only payments in a cycle (loops, functions that call) look whether fuel is left; the others run into one that looks, or to the end of the call, where the
 * runtime looks. So a call comes to its end if and only if all it costs is not more than its fuel.
 */
import { InstructionReader, OP, UnknownInstruction } from "./instructions.ts";
import { type Bulk, costsOfBody, type Stretch } from "./stretches.ts";
import type { ModuleInfo } from "./wasm-reader.ts";

const SECTION_GLOBAL = 6;
const SECTION_CODE = 10;
const SECTION_DATA_COUNT = 12;
const TYPE_I32 = 0x7f;
const TYPE_I64 = 0x7e;

/** A module with payments in it. */
export interface MeteredModule {
  readonly bytes: Uint8Array;
  readonly payments: Payments;
}

/** What has to be found again in the C that wasm2c makes. */
export interface Payments {
  /** The global that stands for a payment; the one behind it stands for a payment that looks whether fuel is left. */
  readonly global: number;
  readonly unchecked: number;
  readonly checked: number;
}

/**
 * @param bytes a valid module
 * @param info what it holds
 * @returns undefined if it has instructions beyond WebAssembly 2.0, which wasm2c refuses
 */
export function meterModule(bytes: Uint8Array, info: ModuleInfo): MeteredModule | undefined {
  try {
    return new Metering(bytes, info).run();
  } catch (error) {
    if (error instanceof UnknownInstruction) return undefined;
    throw error;
  }
}

/** Bytes that go into a body at a place in the file. */
interface Insertion {
  readonly at: number;
  readonly bytes: readonly number[];
}

class Metering {
  readonly #bytes: Uint8Array;
  readonly #info: ModuleInfo;
  readonly #global: number;
  #unchecked = 0;
  #checked = 0;

  constructor(bytes: Uint8Array, info: ModuleInfo) {
    this.#bytes = bytes;
    this.#info = info;
    this.#global = info.globals.length;
  }

  run(): MeteredModule {
    const parts: Uint8Array[] = [this.#bytes.subarray(0, 8)];
    const reader = new InstructionReader(this.#bytes, 8);
    let hasGlobals = false;
    while (reader.at < this.#bytes.length) {
      const start = reader.at;
      const id = this.#bytes[reader.at++] as number;
      const size = reader.u32();
      const end = reader.at + size;
      // Sections stand in the order of their numbers, but for the data count, which stands before the code, and custom ones (0).
      if (!hasGlobals && id >= SECTION_GLOBAL && id <= SECTION_DATA_COUNT) {
        parts.push(this.#globalSection(id === SECTION_GLOBAL ? reader : undefined, end));
        hasGlobals = true;
      }
      if (id === SECTION_CODE) parts.push(this.#codeSection(reader));
      else if (id !== SECTION_GLOBAL) parts.push(this.#bytes.subarray(start, end));
      reader.at = end;
    }
    return {
      bytes: Buffer.concat(parts),
      payments: { global: this.#global, unchecked: this.#unchecked, checked: this.#checked },
    };
  }

  /** The module's own globals, and the two of the counting. @param reader at the contents of the section, if there is one */
  #globalSection(reader: InstructionReader | undefined, end: number): Uint8Array {
    const count = reader?.u32() ?? 0;
    const own = reader ? this.#bytes.subarray(reader.at, end) : new Uint8Array(0);
    // 5.5.9: type, mutable, `i64.const 0`, `end`.
    const added = [TYPE_I64, 1, OP.i64Const, 0, OP.end];
    return section(SECTION_GLOBAL, [unsigned(count + 2), own, [...added, ...added]]);
  }

  #codeSection(reader: InstructionReader): Uint8Array {
    const count = reader.u32();
    const parts: (Uint8Array | readonly number[])[] = [unsigned(count)];
    for (let i = 0; i < count; i++) {
      const size = reader.u32();
      const end = reader.at + size;
      const body = this.#body(i, reader, end);
      parts.push(unsigned(body.length), body);
      reader.at = end;
    }
    return section(SECTION_CODE, parts);
  }

  /** 5.5.13: groups of local variables, then instructions. @param index among the module's own functions */
  #body(index: number, reader: InstructionReader, end: number): Uint8Array {
    const { functions, imported, types } = this.#info;
    let locals = types[functions[imported.func + index] ?? -1]?.params.length ?? 0;
    const groups = reader.u32();
    const groupsAt = reader.at;
    for (let i = 0; i < groups; i++) {
      locals += reader.u32();
      reader.at++; // the type
    }
    let from = reader.at;
    const { stretches, bulks } = costsOfBody(reader);
    const insertions = [
      ...stretches.map((stretch) => this.#payment(stretch)),
      ...bulks.map((bulk) => this.#bulkPayment(bulk, locals)),
    ].sort((a, b) => a.at - b.at);
    // One variable more, behind all others, where an operand has to be kept for a moment.
    const parts: (Uint8Array | readonly number[])[] = [
      unsigned(groups + (bulks.length > 0 ? 1 : 0)),
      this.#bytes.subarray(groupsAt, from),
      bulks.length > 0 ? [1, TYPE_I32] : [],
    ];
    for (const { at, bytes } of insertions) {
      parts.push(this.#bytes.subarray(from, at), bytes);
      from = at;
    }
    parts.push(this.#bytes.subarray(from, end));
    return concat(parts);
  }

  #payment({ at, cost, isChecked }: Stretch): Insertion {
    return { at, bytes: [OP.i64Const, ...signed(cost), ...this.#pay(isChecked)] };
  }

  /** Its operand can be large, so fuel is looked at before the work is done. */
  #bulkPayment({ at, shift }: Bulk, local: number): Insertion {
    const keep = [OP.localTee, ...unsigned(local), OP.localGet, ...unsigned(local), OP.i64ExtendI32U];
    const scale = shift === 0 ? [] : [OP.i64Const, ...signed(shift), OP.i64ShrU];
    return { at, bytes: [...keep, ...scale, ...this.#pay(true)] };
  }

  #pay(isChecked: boolean): number[] {
    if (isChecked) this.#checked++;
    else this.#unchecked++;
    return [OP.globalSet, ...unsigned(this.#global + (isChecked ? 1 : 0))];
  }
}

function concat(parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function section(id: number, contents: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const body = concat(contents);
  return concat([[id, ...unsigned(body.length)], body]);
}

/** Unsigned LEB128 (5.2.2). */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80);
  return [...bytes, rest];
}

/** Signed LEB128 of a number that is not negative: its sign bit, 0x40 of the last byte, must be clear. */
function signed(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x40; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80);
  return [...bytes, rest];
}
