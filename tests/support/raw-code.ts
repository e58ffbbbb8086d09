/**
 * Machine code that WebAssembly cannot express, run in ring 3: an image whose function `victim` is replaced after compiling. Everything else of the
 * image, its digest included, is as the compiler made it.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readElf } from "../../dist/image/elf-reader.js";
import { fileDigest, readNotes } from "../../dist/image/image.js";
import { type CompileOptions, Image, type Manifest } from "./barecell.ts";
import { imageOf } from "./modules.ts";

const STUBS = fileURLToPath(new URL("../../guest-stubs", import.meta.url));

/** Rounds of arithmetic that no compiler can shorten, to make a function of some kilobytes. */
export const ROUNDS = 400;

/**
 * Exports: `victim`, an i64 function without parameters that can be replaced; `good`, which computes with all kinds of registers and has
 * a known result; `peek` and `poke`; `grow`; `granted` calls port BC_PORT_IMPORT_BASE, which a boot with `wasi: {}` opens; `closed` calls the next
 * port, which `unknownImports: "trap"` leaves closed.
 */
const hostModule = (imports: string, rounds: number): string => `(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $granted (result i32)))
  (import "env" "closed" (func $closed (param i32) (result i32)))
  ${imports}
  (memory (export "memory") 1 16)
  (global $seed (export "seed") (mut i64) (i64.const 42))
  (func $victim (export "victim") (result i64) (local i64)
    (local.set 0 (global.get $seed))
    ${"(local.set 0 (i64.rotl (i64.xor (i64.mul (local.get 0) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)) (i64.const 17)))\n".repeat(rounds)}
    (local.get 0))
  (func (export "victim_plus_one") (result i64) (i64.add (call $victim) (i64.const 1)))
  (func (export "victim_twice") (result i64) (i64.add (call $victim) (call $victim)))
  (func (export "good") (param i32) (result f64) (local f64 i32)
    (local.set 1 (f64.const 1))
    (loop $again
      (local.set 1 (f64.add (f64.div (local.get 1) (f64.const 3)) (f64.sqrt (f64.convert_i32_s (local.get 2)))))
      (local.set 2 (i32.add (local.get 2) (i32.const 1)))
      (br_if $again (i32.lt_s (local.get 2) (local.get 0))))
    (f64.add (local.get 1) (f64.promote_f32 (f32.div (f32.const 1) (f32.const 3)))))
  (func (export "nearest") (param f64) (result f64) (f64.nearest (local.get 0)))
  (func (export "subnormal") (param f64 f64) (result f64) (f64.mul (local.get 0) (local.get 1)))
  (func (export "to_int") (param f64) (result i64) (i64.trunc_sat_f64_s (local.get 0)))
  (func (export "peek") (param i32) (result i64) (i64.load (local.get 0)))
  (func (export "poke") (param i32 i64) (i64.store (local.get 0) (local.get 1)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "granted") (result i32) (call $granted))
  (func (export "closed") (result i32) (call $closed (i32.const 3))))`;

/** A copy of an image's bytes with a change made to it, and its digest right again, so that only what the change itself breaks is found. */
export function resealed(original: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
  const bytes = Uint8Array.from(original);
  // Found before the change, which may break what it is found by.
  const { digest } = readNotes(readElf(bytes));
  change(bytes);
  digest.set(fileDigest(bytes, digest));
  return bytes;
}

/** A copy of an image's bytes whose manifest says something else. */
export function withManifest(original: Uint8Array, change: (manifest: Manifest) => unknown): Uint8Array {
  return resealed(original, (bytes) => {
    const note = readNotes(readElf(bytes)).manifest;
    const manifest = JSON.parse(new TextDecoder().decode(note)) as Manifest;
    // The note keeps its size: this makes room for what the change adds, and blanks fill the rest.
    const roomy = { ...manifest, producer: { ...manifest.producer, flags: [] } };
    const json = new TextEncoder().encode(JSON.stringify(change(roomy) ?? roomy));
    if (json.length > note.length) throw new Error("there is no room for this manifest");
    note.fill(0x20).set(json);
  });
}

/** @returns a number that an image's header or symbol table states, as a hexadecimal literal for the assembler */
export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

export class RawHost {
  readonly image: Image;
  /** Guest-virtual address and size of the function that is replaced. */
  readonly address: number;
  readonly capacity: number;
  readonly #offset: number;

  private constructor(image: Image) {
    this.image = image;
    const symbol = image.elf
      .symbols()
      .find((entry) => /^w2c_m0_victim_f\d+/.test(entry.name) && entry.size > 1024);
    const home =
      symbol &&
      image.layout.segments.find(
        (s) => s.execute && symbol.value >= s.virtual && symbol.value < s.virtual + s.fileBytes,
      );
    if (!symbol || !home) throw new Error("the function to be replaced was not found in the image");
    this.address = symbol.value;
    this.capacity = symbol.size;
    this.#offset = home.fileOffset + (symbol.value - home.virtual);
  }

  /**
   * @param imports more of them, as WebAssembly text; their ports follow the two that are always there. Other fields may follow
   * @param rounds how much there is to be replaced: some dozen bytes each, and more where nothing is optimised
   */
  static async create(imports = "", rounds = ROUNDS, options: CompileOptions = {}): Promise<RawHost> {
    return new RawHost(await imageOf("raw", hostModule(imports, rounds), options));
  }

  /** The image with `code` in place of the function; what follows it there is one-byte traps. */
  withCode(code: Uint8Array): Image {
    if (code.length > this.capacity)
      throw new Error(`${code.length} bytes of code, and there is room for ${this.capacity}`);
    return Image.fromBytes(
      resealed(this.image.bytes, (bytes) => {
        bytes.fill(0xcc, this.#offset, this.#offset + this.capacity);
        bytes.set(code, this.#offset);
      }),
    );
  }

  /** Address of a symbol of the image. */
  symbol(name: string): number {
    const found = this.image.elf.symbols().find((entry) => entry.name === name);
    if (!found) throw new Error(`the image has no symbol ${name}`);
    return found.value;
  }
}

/**
 * Assembles pieces of code (AT&T syntax, the names of guest-stubs/abi.h known), each to be placed wherever: absolute addresses are for the text to
 * load into registers.
 */
export function assemble(pieces: ReadonlyMap<string, string>): Map<string, Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), "barecell-raw-"));
  try {
    const sections = [...pieces.values()].map(
      (text, i) => `.section .piece.${i}, "ax", @progbits\n${text}\n`,
    );
    const object = join(folder, "pieces.o");
    execFileSync("cc", ["-c", "-x", "assembler-with-cpp", "-I", STUBS, "-o", object, "-"], {
      input: `#include "abi.h"\n${sections.join("")}`,
      stdio: ["pipe", "pipe", "pipe"],
    });
    const elf = readElf(new Uint8Array(readFileSync(object)));
    return new Map(
      [...pieces.keys()].map((name, i) => {
        if (elf.section(`.rela.piece.${i}`)) throw new Error(`${name} needs a relocation`);
        const section = elf.section(`.piece.${i}`);
        if (!section) throw new Error(`${name} was not assembled`);
        return [name, Uint8Array.from(section.bytes)];
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
