/** From an address in the guest to the symbol of a function. What WebAssembly function it stands for, src/vm/backtrace.ts knows. */

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
    // Of aliases the last one is found: one that states its size (others may be the linker script's names for imports) before one that does not, then
    // global before local.
    functions.sort(
      (a, b) =>
        a.value - b.value ||
        Number(a.size > 0) - Number(b.size > 0) ||
        BIND_RANK[a.bind] - BIND_RANK[b.bind] ||
        (a.name < b.name ? 1 : -1),
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
   * @returns the symbol's name and the distance from the function's first byte, or undefined
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
