import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import wabtInit from "wabt";
import {
  functionTypeOf,
  type ModuleInfo,
  readModule,
  WasmFormatError,
} from "../../src/compiler/wasm-reader.ts";

const { BARECELL_TEST_DATA } = process.env;
const DATA = BARECELL_TEST_DATA ?? fileURLToPath(new URL("../../../shared/data", import.meta.url));

/** As V8 has it; what of it TypeScript knows depends on the "lib" setting. */
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    validate(bytes: Uint8Array): boolean;
    Module: {
      new (bytes: Uint8Array): object;
      imports(module: object): { module: string; name: string; kind: string }[];
      exports(module: object): { name: string; kind: string }[];
    };
  };
};

const wabt = await wabtInit();

function assemble(text: string): Uint8Array {
  // As bytes: wabt takes only ASCII in strings.
  const bytes = new TextEncoder().encode(text);
  const module = wabt.parseWat("test.wat", bytes, {
    multi_value: true,
    bulk_memory: true,
    reference_types: true,
  });
  const { buffer } = module.toBinary({ write_debug_names: true });
  module.destroy();
  return buffer;
}

const SAMPLE = assemble(`(module
  (type $pair (func (param i64 f32) (result f64 i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "env" "table" (table 2 9 externref))
  (import "env" "glob.x" (global $g (mut i64)))
  (import "env" "naïve→" (global $base i32))
  (table $t 4 funcref)
  (memory (export "memory") 1 3)
  (global $counter (mut i32) (i32.const -5))
  (global $vector (export "v") v128 (v128.const i32x4 1 2 3 4))
  (global $e externref (ref.null extern))
  (global f32 (f32.const 1.5))
  (global f64 (f64.const 2.5))
  (global i64 (i64.const -9223372036854775808))
  (elem (table $t) (i32.const 1) func $pair $start)
  (elem func $start)
  (elem declare func $pair)
  (elem (table $t) (i32.const 0) funcref (ref.func $pair) (ref.null func))
  (data (i32.const 16) "hello")
  (data (i32.const -2147483648) "high")
  (data (global.get $base) "relative")
  (data $passive "xyz")
  (func $pair (export "pair") (type $pair) (f64.const 1) (i32.const 2))
  (func (export "") (param i32) (memory.init $passive (local.get 0) (i32.const 0) (i32.const 3)))
  (func $start)
  (start $start))`);

/** A module of raw sections: [id, ...bytes]. */
function raw(...sections: number[][]): Uint8Array {
  const body = sections.flatMap(([id = 0, ...bytes]) => [id, ...leb(bytes.length), ...bytes]);
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...body]);
}

function leb(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

const string = (text: string): number[] => {
  const bytes = [...new TextEncoder().encode(text)];
  return [...leb(bytes.length), ...bytes];
};

function refusal(bytes: Uint8Array): WasmFormatError {
  try {
    readModule(bytes);
  } catch (error) {
    if (error instanceof WasmFormatError) return error;
    throw error;
  }
  throw new Error("was not refused");
}

/** Parses or throws a WasmFormatError; anything else fails the test. Undefined if refused. */
function attempt(bytes: Uint8Array): ModuleInfo | WasmFormatError {
  try {
    return readModule(bytes);
  } catch (error) {
    if (!(error instanceof WasmFormatError)) throw error;
    expect(error.offset).toBeGreaterThanOrEqual(0);
    expect(error.offset).toBeLessThanOrEqual(bytes.length);
    return error;
  }
}

/** mulberry32: the same numbers on every run. */
function random(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe("readModule", () => {
  const info = readModule(SAMPLE);

  it("reads types, imports and functions", () => {
    expect(info.types[0]).toEqual({ params: ["i64", "f32"], results: ["f64", "i32"] });
    const i32 = "i32" as const;
    expect(info.imports).toEqual([
      {
        ...{ module: "wasi_snapshot_preview1", name: "fd_write", kind: "func", typeIndex: 1 },
        type: { params: [i32, i32, i32, i32], results: [i32] },
      },
      { module: "env", name: "table", kind: "table", type: { element: "externref", min: 2, max: 9 } },
      { module: "env", name: "glob.x", kind: "global", type: { type: "i64", mutable: true } },
      { module: "env", name: "naïve→", kind: "global", type: { type: "i32", mutable: false } },
    ]);
    expect(info.imported).toEqual({ func: 1, table: 1, memory: 0, global: 2 });
    expect(info.functions).toEqual([1, 0, 2, 3]);
    expect(functionTypeOf(info, 0).params).toHaveLength(4);
    expect(functionTypeOf(info, 1)).toBe(info.types[0]);
    expect(functionTypeOf(info, 3)).toEqual({ params: [], results: [] });
    for (const index of [4, -1, 0.5, Number.NaN])
      expect(() => functionTypeOf(info, index)).toThrow(RangeError);
    expect(info.codeSize).toBeGreaterThan(20);
    expect(info.codeSize).toBeLessThan(60);
  });

  it("reads tables, memories, globals, exports and the start function", () => {
    expect(info.tables).toEqual([
      { element: "externref", min: 2, max: 9 },
      { element: "funcref", min: 4, max: undefined },
    ]);
    expect(info.memories).toEqual([{ min: 1, max: 3 }]);
    expect(info.globals.map((g) => `${g.mutable ? "mut " : ""}${g.type}`)).toEqual(
      ["mut i64", "i32", "mut i32", "v128", "externref", "f32", "f64", "i64"], //
    );
    expect(info.exports).toEqual([
      { name: "memory", kind: "memory", index: 0 },
      { name: "v", kind: "global", index: 3 },
      { name: "pair", kind: "func", index: 1 },
      { name: "", kind: "func", index: 2 },
    ]);
    expect(info.start).toBe(3);
    expect(readModule(raw()).start).toBeUndefined();
  });

  it("reads segments", () => {
    expect(info.elementSegmentCount).toBe(4);
    const text = (i: number) => {
      const { fileOffset = 0, length = 0 } = info.dataSegments[i] ?? {};
      return new TextDecoder().decode(SAMPLE.subarray(fileOffset, fileOffset + length));
    };
    expect(info.dataSegments.map((s, i) => [s.mode, s.memoryIndex, s.offset, text(i)])).toEqual([
      ["active", 0, 16, "hello"],
      ["active", 0, 0x8000_0000, "high"],
      ["active", 0, undefined, "relative"],
      ["passive", undefined, undefined, "xyz"],
    ]);
  });

  it("reads every i32.const offset as V8 does", () => {
    const edges = [0, 1, 63, 64, 127, 128, 8191, 8192, -1, -64, -65, -8192, -8193, 2 ** 31 - 1, -(2 ** 31)];
    for (const value of [...edges, 0x7654321, -0x7654321, 0x0fff_ffff, -0x1000_0000]) {
      const module = readModule(assemble(`(module (memory 0) (data (i32.const ${value}) ""))`));
      expect(module.dataSegments[0]?.offset).toBe(value >>> 0);
    }
  });

  it("reads function names", () => {
    expect([...info.functionNames]).toEqual([
      [0, "fd_write"],
      [1, "pair"],
      [3, "start"],
    ]);
  });

  it("ignores a broken name section, and takes the first of two", () => {
    const functions = [
      [1, 1, 0x60, 0, 0],
      [3, 1, 0],
      [10, 1, 2, 0, 0x0b],
    ];
    const named = (...bytes: number[]) =>
      readModule(raw(...functions, [0, ...string("name"), ...bytes])).functionNames;
    expect([...named(1, 4, 1, 0, 1, 0x61)]).toEqual([[0, "a"]]);
    // Module name, then an unknown subsection.
    expect([...named(0, 2, 1, 0x61, 1, 4, 1, 0, 1, 0x61, 99, 1, 7)]).toEqual([[0, "a"]]);
    expect(named(1, 4, 1, 1, 1, 0x61).size).toBe(0); // no such function
    expect(named(1, 4, 1, 0, 9, 0x61).size).toBe(0); // name too long
    expect(named(1, 4, 1, 0, 1, 0xff).size).toBe(0); // no UTF-8
    expect(named(1, 99, 1).size).toBe(0); // subsection too long
    expect(named(1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f).size).toBe(0); // count too large
    const two = raw(
      ...functions,
      [0, ...string("name"), 1, 4, 1, 0, 1, 0x61],
      [0, ...string("name"), 1, 0xff],
    );
    expect([...readModule(two).functionNames]).toEqual([[0, "a"]]);
  });
});

describe("refusals name what is wrong", () => {
  const text = (source: string) => refusal(new TextEncoder().encode(source)).message;
  const preamble = (...bytes: number[]) => refusal(Uint8Array.from([0, 0x61, 0x73, 0x6d, ...bytes])).message;

  it("what is no module", () => {
    expect(refusal(new Uint8Array(0)).message).toMatch(/empty/);
    expect(text("#!/bin/sh\n")).toMatch(/not WebAssembly: it starts with 23 21 2f 62/);
    expect(text("a")).toMatch(/it starts with 61, not/);
    expect(refusal(new Uint8Array(1 << 24)).message).toMatch(/starts with 00 00 00 00 00 00 00 00/);
    const wat = [
      "(module)",
      "\ufeff ;; c\n(; a ; b ;)\n(module $x)",
      "(component)",
      "(;;)( module",
      "(func)",
    ];
    for (const source of wat) expect(text(source)).toMatch(/text/);
    for (const source of ["(", "(modules)", ";; (module)", "(; (module)"])
      expect(text(source)).toMatch(/not Web/);
    expect(text(`${"(;".repeat(2000)}`)).toMatch(/not Web/);
    expect(preamble(13, 0, 1, 0)).toMatch(/component model, binary layer 1/);
    expect(preamble(1, 0, 2, 0)).toMatch(/layer 2/);
    expect(preamble(2, 0, 0, 0)).toMatch(/version 2/);
    expect(preamble(1, 0)).toMatch(/truncated/);
    expect(refusal(Uint8Array.from([0, 0x61])).message).toMatch(/truncated/);
  });

  it.each<[string, Uint8Array, RegExp, string?]>([
    ["unknown section", raw([14]), /unknown section id 14 \(at byte 8\)/],
    ["tag section", raw([13, 1, 0, 0]), /section id 13/, "exception handling"],
    ["section twice", raw([1, 0], [1, 0]), /type section is out of order/],
    ["order", raw([3, 0], [1, 0]), /type section is out of order/],
    ["data count after code", raw([10, 0], [12, 0]), /data count section is out of order/],
    ["truncated section", raw([1, 0]).subarray(0, 10), /truncated: the type section/],
    ["left over", raw([1, 0, 0]), /size mismatch: 1 bytes are left over in the type section/],
    ["start left over", raw([1, 1, 0x60, 0, 0], [3, 1, 0], [8, 0, 0]), /left over in the start/],
    ["too many", raw([1, ...leb(2 ** 32 - 1)]), /4294967295 types do not fit/],
    [
      "65536 names of 64 KiB",
      raw([2, 2, ...leb(65_536), 0, 0, 0, 0, 0, 0]),
      /truncated: 65536 bytes of a name/,
    ],
    ["33 bits", raw([3, 0xff, 0xff, 0xff, 0xff, 0x1f]), /32 bits/],
    ["long number", raw([3, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), /32 bits/],
    ["section size", Uint8Array.from([...raw(), 1, 0xff, 0xff, 0xff, 0xff, 0x7f]), /32 bits/],
    ["name", raw([0, 1, 0xff]), /UTF-8/],
    ["struct type", raw([1, 1, 0x5f, 0]), /type form 0x5f/, "garbage collection"],
    ["ref type", raw([1, 1, 0x60, 1, 0x64, 0x70, 0]), /0x64/, "typed function references"],
    ["exnref", raw([1, 1, 0x60, 1, 0x69, 0]), /0x69/, "exception handling"],
    ["value type", raw([1, 1, 0x60, 1, 0x01, 0]), /unsupported type 0x01 in the type section/],
    ["parameters", raw([1, 1, 0x60, ...leb(1001), ...Array(1001).fill(0x7f), 0]), /too many parameters/],
    ["type index", raw([3, 1, 0]), /type 0 does not exist, there are 0/],
    ["tag import", raw([2, 1, 0, 0, 4, 0, 0]), /import kind 0x04/, "exception handling"],
    ["import kind", raw([2, 1, 0, 0, 5, 0]), /import kind 0x05/],
    ["shared memory", raw([5, 1, 3, 1, 1]), /memory limits 0x03/, "threads"],
    ["memory64", raw([5, 1, 4, 1]), /memory limits 0x04/, "memory64"],
    ["page size", raw([5, 1, 8, 1, 0]), /memory limits 0x08/, "custom page sizes"],
    ["memory", raw([5, 1, 0, ...leb(65_537)]), /above 65536/],
    ["memory maximum", raw([5, 1, 1, 0, ...leb(65_537)]), /above 65536/],
    ["limits", raw([5, 1, 1, 2, 1]), /maximum of a memory, 1, is below/],
    ["table initializer", raw([4, 1, 0x40, 0, 0x70, 0, 0]), /0x40/, "typed function references"],
    ["table of i32", raw([4, 1, 0x7f, 0, 0]), /unsupported type 0x7f in the table/],
    ["mutability", raw([6, 1, 0x7f, 2, 0x0b]), /mutability 0x02/],
    ["extended const", raw([6, 1, 0x7f, 0, 0x41, 0, 0x41, 0, 0x6a, 0x0b]), /0x6a/, "extended constant"],
    ["gc const", raw([6, 1, 0x7f, 0, 0xfb, 0, 0x0b]), /0xfb/, "garbage collection"],
    ["no const", raw([6, 1, 0x7f, 0, 0x20, 0, 0x0b]), /opcode 0x20 in a constant/],
    ["no end", raw([6, 1, 0x7f, 0, 0x41, 0]), /truncated/],
    ["long const", raw([6, 1, 0x7f, 0, 0x41, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0x0b]), /too long/],
    ["export kind", raw([7, 1, 0, 9, 0]), /export kind 0x09/],
    ["export index", raw([7, 1, 0, 2, 0]), /exported memory 0 does not exist/],
    ["export twice", raw([5, 1, 0, 0], [7, 2, 0, 2, 0, 0, 2, 0]), /two exports/],
    ["start", raw([8, 0]), /start function 0/],
    ["data memory", raw([11, 1, 0, 0x41, 0, 0x0b, 0]), /no memory/],
    ["data memory 1", raw([5, 1, 0, 0], [11, 1, 2, 1, 0x41, 0, 0x0b, 0]), /memory 1 does not exist/],
    ["data kind", raw([11, 1, 3, 0]), /segment kind 3/],
    ["data length", raw([11, 1, 1, 99]), /99 bytes of data/],
    ["data count", raw([12, 1]), /1 data segments are announced, 0 follow/],
    ["bodies", raw([1, 1, 0x60, 0, 0], [3, 1, 0]), /1 functions are declared, 0 have a body/],
    ["body size", raw([1, 1, 0x60, 0, 0], [3, 1, 0], [10, 1, 9, 0, 0x0b]), /truncated: the code section/],
  ])("%s", (_, bytes, message, proposal) => {
    const error = refusal(bytes);
    expect(error.message).toMatch(message);
    expect(error.proposal).toBe(proposal);
    if (proposal !== undefined) expect(error.message).toContain(`${proposal} proposal`);
  });

  it("a count cannot cost more than the file's own size", () => {
    // 1,000,001 types in a file that is long enough for them.
    const bytes = new Uint8Array(3_000_020);
    bytes.set(raw([1, ...leb(1_000_001)]).subarray(0, 8));
    bytes.set([1, ...leb(bytes.length - 8 - 5), ...leb(1_000_001)], 8);
    expect(refusal(bytes).message).toMatch(/too many types/);
  });
});

describe("hostile bytes", () => {
  it("cut anywhere: refused, or cut between sections", () => {
    for (let length = 0; length < SAMPLE.length; length++) {
      const result = attempt(SAMPLE.slice(0, length));
      if (WebAssembly.validate(SAMPLE.slice(0, length))) expect(result).not.toBeInstanceOf(Error);
    }
  });

  it("random flips: refused, or read; and read if V8 finds them valid", () => {
    const next = random(20261121);
    for (let round = 0; round < 20_000; round++) {
      const bytes = SAMPLE.slice();
      for (let flips = 1 + next(3); flips > 0; flips--) bytes[next(bytes.length)] = next(256);
      const result = attempt(bytes);
      if (!(result instanceof WasmFormatError) || result.proposal !== undefined) continue;
      expect(WebAssembly.validate(bytes), `${result.message}: ${Buffer.from(bytes).toString("hex")}`).toBe(
        false,
      );
    }
  });

  it("random bytes after the preamble", () => {
    const next = random(7);
    for (let round = 0; round < 5000; round++) {
      attempt(
        raw([next(14), ...Array.from({ length: next(40) }, () => next(256) & (next(2) ? 0x07 : 0xff))]),
      );
    }
  });
});

describe("real modules", () => {
  const files = existsSync(DATA)
    ? readdirSync(DATA, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".wasm"))
    : [];

  it("are there", () => {
    expect(files.length, `NO TEST DATA in ${DATA}: set BARECELL_TEST_DATA`).toBeGreaterThan(200);
  });

  const kinds = { func: "function", table: "table", memory: "memory", global: "global" } as const;

  it("have the imports and exports that V8 sees", { timeout: 120_000 }, () => {
    let compared = 0;
    for (const file of files) {
      const bytes = new Uint8Array(readFileSync(`${DATA}/${file}`));
      const result = attempt(bytes);
      if (!WebAssembly.validate(bytes)) continue;
      if (result instanceof WasmFormatError) {
        // V8 knows proposals that 2.0 has not: then they must be named.
        expect(result.proposal, `${file}: ${result.message}`).toBeDefined();
        continue;
      }
      const module = new WebAssembly.Module(bytes);
      const imports = result.imports.map(({ module, name, kind }) => ({ module, name, kind: kinds[kind] }));
      expect(imports, file).toEqual(WebAssembly.Module.imports(module));
      const exports = result.exports.map(({ name, kind }) => ({ name, kind: kinds[kind] }));
      expect(exports, file).toEqual(WebAssembly.Module.exports(module));
      expect(result.codeSize, file).toBeLessThan(bytes.length);
      for (const { fileOffset, length } of result.dataSegments) {
        expect(fileOffset + length, file).toBeLessThanOrEqual(bytes.length);
      }
      compared++;
    }
    if (files.length > 0) expect(compared).toBeGreaterThan(180);
  });

  it("cut and flipped stay harmless", { timeout: 120_000 }, () => {
    const next = random(99);
    for (const file of files) {
      const original = new Uint8Array(readFileSync(`${DATA}/${file}`));
      if (original.length > 200_000) continue;
      for (let round = 0; round < 8; round++) {
        attempt(original.subarray(0, next(original.length + 1)));
        const bytes = original.slice();
        // Near the front: that is where the headers are.
        bytes[next(Math.min(bytes.length, 2000)) % bytes.length] = next(256);
        attempt(bytes);
      }
    }
  });
});
