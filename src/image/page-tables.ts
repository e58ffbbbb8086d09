/**
 * Builds the image's page tables, so that the guest only loads CR3. Two roots share the image's own tables: the boot root also maps the
 * first 2 MiB one to one (the stub runs there when paging turns on), the run root maps stack and linear memory instead.
 *
 * Entry bits: Intel SDM vol. 3A, table 4-15 ff. Accessed and dirty are set beforehand, so that the CPU never writes a table page and all
 * VMs of an image share them.
 */
import { BC_LARGE_PAGE_SIZE, BC_PAGE_SIZE } from "../abi.ts";

const PRESENT = 1n << 0n;
const WRITABLE = 1n << 1n;
const USER = 1n << 2n;
const ACCESSED = 1n << 5n;
const DIRTY = 1n << 6n;
const LARGE = 1n << 7n;
const NO_EXECUTE = 1n << 63n;
const ADDRESS_MASK = 0x000f_ffff_ffff_f000n;
/** The rights of a range are those of its last level; upper levels allow everything that could stand below them. */
const TABLE = PRESENT | WRITABLE | USER | ACCESSED;

/** Pages of the boot tables: root, page-directory pointers, page directory; the run root follows. */
const BOOT_TABLE_PAGES = 3;

export interface MappedRange {
  /** Guest-virtual address, bytes; page-aligned like everything here. */
  readonly virtual: number;
  readonly physical: number;
  readonly sizeBytes: number;
  readonly write: boolean;
  readonly execute: boolean;
  readonly user: boolean;
  /** Whether 2 MiB entries may be used where alignment allows. */
  readonly large: boolean;
}

export class PageTableBuilder {
  /** The contents of the page-table area. */
  readonly bytes: Uint8Array;
  readonly #entries: DataView;
  readonly #gpa: number;
  #used = 0;
  readonly #bootRoot: number;
  readonly #runRoot: number;

  /** @param gpa guest-physical address of the area; @param sizeBytes its size */
  constructor(gpa: number, sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.#entries = new DataView(this.bytes.buffer);
    this.#gpa = gpa;
    this.#bootRoot = this.#allocate();
    const bootPointers = this.#allocate();
    const bootDirectory = this.#allocate();
    this.#runRoot = this.#allocate();
    this.#set(this.#bootRoot, 0, this.#address(bootPointers) | TABLE);
    this.#set(bootPointers, 0, this.#address(bootDirectory) | TABLE);
    // Read and execute only: the stub writes nothing.
    this.#set(bootDirectory, 0, PRESENT | ACCESSED | DIRTY | LARGE);
  }

  /** Maps a range for ring 3's root; `atBoot` maps it for the boot root too, by sharing the directory of its 1 GiB. */
  map(range: MappedRange, atBoot: boolean): void {
    let { virtual, physical } = range;
    const end = range.virtual + range.sizeBytes;
    const rights =
      PRESENT |
      ACCESSED |
      DIRTY |
      (range.write ? WRITABLE : 0n) |
      (range.user ? USER : 0n) |
      (range.execute ? 0n : NO_EXECUTE);
    while (virtual < end) {
      const directory = this.#directoryFor(virtual, atBoot);
      const slot = Math.floor(virtual / BC_LARGE_PAGE_SIZE) % 512;
      const aligned = virtual % BC_LARGE_PAGE_SIZE === 0 && physical % BC_LARGE_PAGE_SIZE === 0;
      if (range.large && aligned && end - virtual >= BC_LARGE_PAGE_SIZE) {
        this.#set(directory, slot, BigInt(physical) | rights | LARGE);
        virtual += BC_LARGE_PAGE_SIZE;
        physical += BC_LARGE_PAGE_SIZE;
        continue;
      }
      const table = this.#child(directory, slot);
      this.#set(table, Math.floor(virtual / BC_PAGE_SIZE) % 512, BigInt(physical) | rights);
      virtual += BC_PAGE_SIZE;
      physical += BC_PAGE_SIZE;
    }
  }

  #directoryFor(virtual: number, atBoot: boolean): number {
    const pointers = this.#child(this.#runRoot, Math.floor(virtual / 2 ** 39) % 512);
    const slot = Math.floor(virtual / 2 ** 30) % 512;
    const directory = this.#child(pointers, slot);
    if (atBoot) this.#set(this.#child(this.#bootRoot, 0), slot, this.#address(directory) | TABLE);
    return directory;
  }

  /** The table behind an entry, made if there is none. */
  #child(table: number, slot: number): number {
    const entry = this.#entries.getBigUint64(table + slot * 8, true);
    if (entry !== 0n) return Number(entry & ADDRESS_MASK) - this.#gpa;
    const child = this.#allocate();
    this.#set(table, slot, this.#address(child) | TABLE);
    return child;
  }

  #allocate(): number {
    if (this.#used + BC_PAGE_SIZE > this.bytes.length) {
      throw new RangeError(`the page-table area of ${this.bytes.length} bytes is too small`);
    }
    this.#used += BC_PAGE_SIZE;
    return this.#used - BC_PAGE_SIZE;
  }

  #address(table: number): bigint {
    return BigInt(this.#gpa + table);
  }

  #set(table: number, slot: number, entry: bigint): void {
    this.#entries.setBigUint64(table + slot * 8, entry, true);
  }
}

/** A linear memory, for counting: guest-virtual address, sizes, and the offsets at which it is cut into segments. */
export interface CountedMemory {
  readonly virtual: number;
  readonly initialBytes: number;
  /** What it can grow to: a snapshot's image may start with that. */
  readonly maxBytes: number;
  readonly cuts: readonly number[];
}

/**
 * Page-table pages that do not depend on the size of the code; the linker script adds those that do.
 * @param stackBytes size of the stack
 */
export function fixedTablePages(linear: readonly CountedMemory[], stackBytes: number): number {
  const roots = BOOT_TABLE_PAGES + 2;
  const image = 1;
  const stack = 1 + Math.ceil(stackBytes / BC_LARGE_PAGE_SIZE) + 1;
  // A directory for each 1 GiB, a table for each 2 MiB that a cut or the end divides, and page-directory pointers for each 512 GiB of addresses.
  const pages = linear.reduce((sum, { initialBytes, maxBytes, cuts }) => {
    const divided = [...cuts, initialBytes].filter((at) => at % BC_LARGE_PAGE_SIZE !== 0);
    const tables = new Set(divided.map((at) => Math.floor(at / BC_LARGE_PAGE_SIZE))).size;
    // A snapshot cuts at multiples of 2 MiB only, so what it can need more is directories, and a table for another end.
    return sum + Math.ceil(maxBytes / 2 ** 30) + tables + 1;
  }, 0);
  const pointers = new Set(linear.map((memory) => Math.floor(memory.virtual / 2 ** 39))).size;
  return roots + image + stack + pages + pointers;
}
