/**
 * From an address in the guest to a function's name, and from the C name that wasm2c gave it to its WebAssembly name.
 */

import type { ElfFile } from "./elf-reader.ts";

interface Entry {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** The largest `end` of this entry and all before it: how far back a search must go. */
  furthest: number;
}

const BIND_RANK = { other: 0, local: 1, weak: 2, global: 3 } as const;

/** The functions of an image, by address. */
export class SymbolTable {
  private readonly entries: readonly Entry[];

  /** @throws {ElfFormatError} if the symbol table is damaged */
  constructor(elf: ElfFile) {
    const functions = elf
      .symbols()
      .filter((symbol) => symbol.type === "func" && symbol.sectionIndex !== 0 && symbol.name !== "");
    // Of aliases the last one is found: global before local.
    functions.sort(
      (a, b) => a.value - b.value || BIND_RANK[a.bind] - BIND_RANK[b.bind] || (a.name < b.name ? 1 : -1),
    );
    let next = Number.POSITIVE_INFINITY;
    const ends = new Array<number>(functions.length);
    for (let i = functions.length - 1; i >= 0; i--) {
      const symbol = functions[i];
      if (symbol === undefined) continue;
      const after = functions[i + 1];
      if (after !== undefined && after.value > symbol.value) next = after.value;
      // Assembly often states no size: then the function reaches to the next one, within its section.
      const section = elf.sections[symbol.sectionIndex];
      const sectionEnd = section === undefined ? symbol.value : section.address + section.size;
      ends[i] = symbol.size > 0 ? symbol.value + symbol.size : Math.min(next, sectionEnd);
    }
    let furthest = 0;
    this.entries = functions.map(({ name, value }, i) => {
      const end = ends[i] ?? value;
      furthest = Math.max(furthest, end);
      return { name, start: value, end, furthest };
    });
  }

  /**
   * The function that `rip` is in. For a return address ask with `rip - 1n`: it may be the first byte after a function
   * whose last instruction is a call.
   *
   * @returns the C name (see {@link demangle}) and the distance from the function's first byte, or undefined
   */
  lookup(rip: bigint): { name: string; offset: number } | undefined {
    if (rip < 0n || rip > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
    const address = Number(rip);
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.entries[middle] as Entry).start <= address) low = middle + 1;
      else high = middle;
    }
    for (let i = low - 1; i >= 0; i--) {
      const entry = this.entries[i] as Entry;
      if (entry.end > address) return { name: entry.name, offset: address - entry.start };
      if (entry.furthest <= address) return undefined;
    }
    return undefined;
  }
}

const isAlphanumeric = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
/** Capitals only, as wasm2c writes them. */
const isHexDigit = (byte: number | undefined): boolean =>
  byte !== undefined && ((byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46));
const UNDERSCORE = 0x5f;

/**
 * wabt 1.0.39, `CWriter::Mangle` in src/c-writer.cc. Each byte of UTF-8 that is no letter and no digit becomes "0xAB",
 * and so do a hex digit after "0x" and an underscore at either end or after another one. (wabt forgets the first of
 * these after "00x", so "00x2E" has the same C name as "0.".)
 */
function mangle(name: string, doubleUnderscores: boolean): string {
  const bytes = new TextEncoder().encode(name);
  let result = "";
  /** How much of "0x" stands right before. */
  let prefix = 0;
  let afterUnderscore = false;
  bytes.forEach((byte, i) => {
    const afterHexPrefix = prefix === 2 && isHexDigit(byte);
    if (prefix === 1 && byte === 0x78) prefix = 2;
    else prefix = prefix === 0 && byte === 0x30 ? 1 : 0;
    const atEnd = i === 0 || i === bytes.length - 1;
    const underscore = byte === UNDERSCORE && !atEnd && !afterUnderscore;
    if (afterHexPrefix || (!isAlphanumeric(byte) && !underscore)) {
      result += `0x${byte.toString(16).toUpperCase().padStart(2, "0")}`;
      prefix = 0;
      afterUnderscore = false;
    } else {
      result += underscore && doubleUnderscores ? "__" : String.fromCharCode(byte);
      afterUnderscore = underscore;
    }
  });
  return result;
}

/** The WebAssembly name that {@link mangle} made `mangled` from, or undefined if there is none. */
function unmangle(mangled: string): string | undefined {
  const bytes: number[] = [];
  for (let i = 0; i < mangled.length; i++) {
    const match = /^0x([0-9A-F]{2})/.exec(mangled.slice(i, i + 4));
    const byte = Number.parseInt(match?.[1] ?? "", 16);
    // A letter or digit is escaped only after "0x"; elsewhere the characters are meant as they stand.
    const afterHexPrefix = bytes.at(-2) === 0x30 && bytes.at(-1) === 0x78;
    if (match !== null && (afterHexPrefix || !isAlphanumeric(byte))) {
      bytes.push(byte);
      i += 3;
    } else bytes.push(mangled.charCodeAt(i));
  }
  try {
    const name = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
    return mangle(name, false) === mangled ? name : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The C name that wasm2c (wabt 1.0.39) gives to an exported or imported function.
 *
 * @param moduleName of an export: what `wasm2c -n` was given; of an import: the module that it is imported from
 */
export function mangleFunction(moduleName: string, name: string): string {
  return `w2c_${mangle(moduleName, true)}_${mangle(name, false)}`;
}

/**
 * The WebAssembly name of a function from its C symbol, as wasm2c (wabt 1.0.39) and then gcc or clang made it.
 *
 * - What the C compiler appends (`.constprop.0`, `.isra.0`, `.part.0`, `.cold`) is dropped: wasm2c never writes a dot.
 * - `wrap_…` and `wasm_tailcall_…` are wasm2c's other entries to the same function.
 * - A function without a name is `f12` to wasm2c, and "func[12]" here, unless "f12" is an export.
 * - wasm2c makes a wrapper for every export that has the export's C name; the function itself then gets `_0` appended
 *   (or the first free number) if its own name is the same. With `exports` such a suffix is told from a name that ends
 *   so; without it `_0` is taken for a suffix, and any other number for a part of the name.
 *
 * @param symbol the C name
 * @param moduleName what `wasm2c -n` was given
 * @param exports the names of the module's exports
 * @returns the name, or undefined if `symbol` is no function of that module
 */
export function demangle(
  symbol: string,
  moduleName: string,
  exports?: ReadonlySet<string>,
): string | undefined {
  const prefix = `w2c_${mangle(moduleName, true)}_`;
  const plain = symbol.replace(/^(?:wrap_|wasm_tailcall_)/, "").split(".", 1)[0] ?? "";
  if (!plain.startsWith(prefix)) return undefined;
  const mangled = plain.slice(prefix.length);
  const whole = unmangle(mangled);
  const suffix = /_(0|[1-9]\d{0,9})$/.exec(mangled);
  const base = suffix === null ? undefined : unmangle(mangled.slice(0, suffix.index));
  let name = whole ?? base;
  if (whole !== undefined && base !== undefined && !exports?.has(whole)) {
    const isSuffix = exports === undefined ? suffix?.[1] === "0" : exports.has(base);
    if (isSuffix) name = base;
  }
  const unnamed = /^f(0|[1-9]\d{0,9})$/.exec(name ?? "");
  return unnamed !== null && !exports?.has(unnamed[0]) ? `func[${unnamed[1]}]` : name;
}
