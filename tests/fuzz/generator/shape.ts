/** What a module has besides code: types, memory, tables, globals, segments. Chosen first, so that code can refer to all of it. */
import { Writer } from "../wasm/bytes.ts";
import {
  emptyModule,
  type FuncType,
  type GlobalType,
  globalTypeOf,
  importedCount,
  type Limits,
  type Module,
  type TableType,
  typeIndex,
  typeOfFunction,
} from "../wasm/module.ts";
import { TYPE_CODE, type ValueType } from "../wasm/opcodes.ts";
import type { Choices } from "./choices.ts";
import { numberBits, vectorBits } from "./constants.ts";

export const PAGE = 65_536;

/** What a module that was made earlier offers to be imported. */
export interface Offer {
  readonly module: string;
  readonly source: Module;
}

export interface ElementSegment {
  readonly type: "funcref" | "externref";
  readonly length: number;
}

export class Shape {
  readonly module: Module = emptyModule();
  readonly choices: Choices;
  readonly hasSimd: boolean;
  /** Signatures that functions and indirect calls use. */
  readonly signatures: FuncType[] = [];
  /** Types of all functions, imports first; known before the bodies are. */
  readonly functionTypes: FuncType[] = [];
  /** How many bytes the memory has at first, or undefined if there is none. */
  memory: Limits | undefined;
  readonly tables: TableType[] = [];
  readonly globals: GlobalType[] = [];
  fuelGlobal = 0;
  /** Bytes of each data segment. */
  readonly dataLengths: number[] = [];
  readonly elementSegments: ElementSegment[] = [];
  /** What active segments put into funcref tables: table, slot, function. */
  readonly slots: { readonly table: number; readonly slot: number; readonly func: number }[] = [];

  constructor(choices: Choices, offer: Offer | undefined) {
    this.choices = choices;
    this.hasSimd = choices.oneIn(4);
    if (offer) this.#takeFrom(offer);
    this.#chooseSignatures();
    this.#chooseFunctions();
    this.#chooseMemory();
    this.#chooseTables();
    this.#chooseGlobals();
    this.#chooseElements();
    this.#chooseData();
  }

  typeIndex(type: FuncType): number {
    return typeIndex(this.module, type);
  }

  get importedFunctions(): number {
    return importedCount(this.module, "func");
  }

  /** A type of value that this module uses; numbers come more often than references. */
  valueType(): ValueType {
    const { choices } = this;
    return choices.weighted<ValueType>([
      [6, "i32"],
      [5, "i64"],
      [4, "f64"],
      [4, "f32"],
      ...(this.hasSimd ? ([[6, "v128"]] as const) : []),
      [1, "funcref"],
      [1, "externref"],
    ]);
  }

  #takeFrom({ module, source }: Offer): void {
    for (const entry of source.exports) {
      if (!this.choices.oneIn(2)) continue;
      const names = { module, name: entry.name };
      const { imports } = this.module;
      if (entry.kind === "func") {
        const type = typeOfFunction(source, entry.index);
        imports.push({ ...names, kind: "func", type: this.typeIndex(type) });
        this.functionTypes.push(type);
      } else if (entry.kind === "memory") {
        const memory = source.memories[entry.index];
        if (!memory || this.memory) continue;
        imports.push({ ...names, kind: "memory", type: memory });
        this.memory = memory;
      } else if (entry.kind === "table") {
        const table = source.tables[entry.index];
        if (!table) continue;
        imports.push({ ...names, kind: "table", type: table });
        this.tables.push(table);
      } else {
        const global = globalTypeOf(source, entry.index);
        imports.push({ ...names, kind: "global", type: global });
        this.globals.push(global);
      }
    }
  }

  #chooseSignatures(): void {
    const { choices } = this;
    this.signatures.push({ params: [], results: [] });
    for (let i = 2 + choices.below(5); i > 0; i--) {
      const params = Array.from({ length: choices.below(5) }, () => this.valueType());
      const results = Array.from(
        {
          length: choices.weighted([
            [4, 1],
            [1, 0],
            [2, 2],
            [1, 4],
          ]),
        },
        () => this.valueType(),
      );
      this.signatures.push({ params, results });
    }
    for (const type of this.signatures) this.typeIndex(type);
  }

  #chooseFunctions(): void {
    for (let i = 2 + this.choices.below(5); i > 0; i--) {
      this.functionTypes.push(this.choices.pick(this.signatures));
    }
  }

  #chooseMemory(): void {
    const { choices } = this;
    if (this.memory || choices.oneIn(20)) return;
    const min = choices.weighted([
      [6, 1],
      [2, 2],
      [1, 0],
      [1, 3],
    ]);
    this.memory = { min, max: min + choices.below(4) };
    this.module.memories.push(this.memory);
  }

  #chooseTables(): void {
    const { choices } = this;
    const own = choices.weighted([
      [4, 1],
      [2, 2],
      [1, 0],
    ]);
    for (let i = 0; i < own; i++) {
      const element = choices.oneIn(4) ? "externref" : "funcref";
      const min = choices.below(10);
      const table = { element, limits: { min, max: min + choices.below(8) } } as const;
      this.tables.push(table);
      this.module.tables.push(table);
    }
  }

  /** Exported globals show what code did, so there are some of every type, and most can change. */
  #chooseGlobals(): void {
    const { choices, module } = this;
    this.fuelGlobal = this.globals.length;
    this.#global({ type: "i32", mutable: true }, new Writer().u8(0x41).s32(1000));
    for (let i = 2 + choices.below(6); i > 0; i--) {
      const type = { type: this.valueType(), mutable: !choices.oneIn(5) };
      this.#global(type, this.#initializer(type.type));
      const index = this.globals.length - 1;
      if (!choices.oneIn(4)) module.exports.push({ name: `g${index}`, kind: "global", index });
    }
  }

  #global(type: GlobalType, init: Writer): void {
    this.globals.push(type);
    this.module.globals.push({ type, init: init.u8(0x0b).finish() });
  }

  /** Globals that a constant expression may read. */
  #importedConstants(type: ValueType): number[] {
    return this.globals.flatMap((global, index) =>
      global.type === type && !global.mutable && index < importedCount(this.module, "global") ? [index] : [],
    );
  }

  /** A constant expression without its `end`. */
  #initializer(type: ValueType): Writer {
    const { choices } = this;
    const writer = new Writer();
    const imported = this.#importedConstants(type);
    if (imported.length > 0 && choices.oneIn(2)) return writer.u8(0x23).u32(choices.pick(imported));
    switch (type) {
      case "i32":
        return writer.u8(0x41).s32(Number(BigInt.asIntN(32, numberBits(choices, type))));
      case "i64":
        return writer.u8(0x42).s64(numberBits(choices, type));
      case "f32":
        return writer.u8(0x43).bits(numberBits(choices, type), 4);
      case "f64":
        return writer.u8(0x44).bits(numberBits(choices, type), 8);
      case "v128":
        return writer.u8(0xfd).u32(12).bits(vectorBits(choices), 16);
      case "funcref":
        if (choices.oneIn(2)) return writer.u8(0xd2).u32(choices.below(this.functionTypes.length));
        return writer.u8(0xd0).u8(TYPE_CODE[type]);
      default:
        return writer.u8(0xd0).u8(TYPE_CODE[type]);
    }
  }

  /** A place for an active segment; at the very end as often as at the start, and now and then past the end: then instantiating traps. */
  #offset(size: number, length: number): number {
    const { choices } = this;
    const room = Math.max(size - length, 0);
    return choices.weighted([
      [8, () => choices.below(room + 1)],
      [4, () => room],
      [4, () => 0],
      ...(size < length || choices.oneIn(80) ? ([[1, () => room + 1]] as const) : []),
    ])();
  }

  /** The constant expression of a segment's place, with its `end`; and the place if it is known. */
  #placeAt(writer: Writer, size: number, length: number): number | undefined {
    const imported = this.#importedConstants("i32");
    if (imported.length > 0 && this.choices.oneIn(8)) {
      writer.u8(0x23).u32(this.choices.pick(imported)).u8(0x0b);
      return undefined;
    }
    const offset = this.#offset(size, length);
    writer.u8(0x41).s32(offset).u8(0x0b);
    return offset;
  }

  #chooseElements(): void {
    const { choices, module } = this;
    // Every function may be named by ref.func only if a segment or an export names it.
    const all = this.functionTypes.map((_, index) => index);
    const declared = new Writer().u32(3).u8(0);
    module.elements.push(declared.vector(all, (index) => declared.u32(index)).finish());
    this.elementSegments.push({ type: "funcref", length: 0 });
    this.tables.forEach((table, index) => {
      for (let i = choices.below(3); i > 0; i--) this.#elementSegment(table, index);
    });
  }

  #elementSegment(table: TableType, index: number): void {
    const { choices } = this;
    const mode = choices.weighted<"active" | "passive" | "declarative">([
      [4, "active"],
      [2, "passive"],
      [1, "declarative"],
    ]);
    const length = choices.below(Math.min(table.limits.min, 6) + 1);
    const functions = Array.from({ length }, () =>
      table.element === "externref" || choices.oneIn(6)
        ? undefined
        : choices.below(this.functionTypes.length),
    );
    const asExpressions =
      table.element === "externref" || functions.includes(undefined) || choices.oneIn(3) ? 4 : 0;
    const writer = new Writer();
    if (mode === "active") {
      // Table 0 of funcrefs has a short form that names neither table nor type.
      const short = index === 0 && table.element === "funcref" && choices.oneIn(2);
      writer.u32(asExpressions | (short ? 0 : 2));
      if (!short) writer.u32(index);
      const offset = this.#placeAt(writer, table.limits.min, length);
      if (!short) writer.u8(asExpressions ? TYPE_CODE[table.element] : 0);
      functions.forEach((func, i) => {
        if (func !== undefined && offset !== undefined)
          this.slots.push({ table: index, slot: offset + i, func });
      });
    } else {
      writer
        .u32(asExpressions | (mode === "passive" ? 1 : 3))
        .u8(asExpressions ? TYPE_CODE[table.element] : 0);
    }
    const constants = this.#importedConstants(table.element);
    writer.vector(functions, (func) => {
      if (asExpressions && constants.length > 0 && choices.oneIn(4)) {
        writer.u8(0x23).u32(choices.pick(constants)).u8(0x0b);
      } else if (!asExpressions) writer.u32(func ?? 0);
      else if (func === undefined) writer.u8(0xd0).u8(TYPE_CODE[table.element]).u8(0x0b);
      else writer.u8(0xd2).u32(func).u8(0x0b);
    });
    this.module.elements.push(writer.finish());
    this.elementSegments.push({ type: table.element, length: mode === "passive" ? length : 0 });
  }

  #chooseData(): void {
    const { choices, memory } = this;
    if (!memory) return;
    for (let i = choices.below(5); i > 0; i--) {
      const length = choices.below(choices.oneIn(4) ? 300 : 20);
      const bytes = Array.from({ length }, () => choices.below(256));
      const writer = new Writer();
      const mode = choices.below(3);
      writer.u32(mode === 1 ? 1 : mode);
      if (mode === 2) writer.u32(0);
      if (mode !== 1) this.#placeAt(writer, memory.min * PAGE, length);
      this.module.data.push(writer.u32(length).raw(bytes).finish());
      this.dataLengths.push(mode === 1 ? length : 0);
    }
  }
}
