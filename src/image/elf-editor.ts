/**
 * Changes what an ELF file loads: contents and number of its segments, one section. New parts go to the file's end; what they replace stays where it was, as
 * bytes that nothing refers to. Fields: System V gABI, chapters 4 and 5.
 */
import type { ElfFile } from "./elf-reader.ts";

const PT_LOAD = 1;
const PT_NOTE = 4;
const ENTRY_BYTES = 56;
const SECTION_ENTRY_BYTES = 64;
/** Offsets of fields in the file's header. */
const E_PHOFF = 32;
const E_SHOFF = 40;
const E_PHNUM = 56;
const PAGE_BYTES = 4096;

export interface NewSegment {
  readonly flags: number;
  readonly virtual: number;
  readonly physical: number;
  /** What comes from the file; zeros follow up to `memoryBytes`. */
  readonly contents: Uint8Array;
  readonly memoryBytes: number;
}

interface Entry extends NewSegment {
  readonly type: number;
  /** Undefined: `contents` is new. */
  readonly offset: number | undefined;
  readonly fileBytes: number;
  readonly align: number;
}

export class ElfEditor {
  readonly #original: Uint8Array;
  readonly #elf: ElfFile;
  #entries: Entry[];
  readonly #sections = new Map<number, Uint8Array>();

  /** @param elf read from `original` */
  constructor(original: Uint8Array, elf: ElfFile) {
    this.#original = original;
    this.#elf = elf;
    this.#entries = elf.segments.map((segment) => ({
      type: segment.type,
      flags: segment.flags,
      virtual: segment.virtualAddress,
      physical: segment.physicalAddress,
      contents: new Uint8Array(0),
      offset: segment.offset,
      fileBytes: segment.fileSize,
      memoryBytes: segment.memorySize,
      align: segment.align,
    }));
  }

  /** New contents for the loaded segment at an address. */
  setContents(virtual: number, contents: Uint8Array, memoryBytes: number): void {
    this.#entries = this.#entries.map((entry) =>
      entry.type === PT_LOAD && entry.virtual === virtual
        ? { ...entry, contents, offset: undefined, fileBytes: contents.length, memoryBytes }
        : entry,
    );
  }

  /** Takes loaded segments out, by their addresses. */
  dropSegments(test: (virtual: number) => boolean): void {
    this.#entries = this.#entries.filter((entry) => entry.type !== PT_LOAD || !test(entry.virtual));
  }

  addSegment(segment: NewSegment): void {
    const fileBytes = segment.contents.length;
    this.#entries.push({ ...segment, type: PT_LOAD, offset: undefined, fileBytes, align: PAGE_BYTES });
  }

  /** Other contents for a section, and for the note segment that covers the same bytes. */
  replaceSection(name: string, contents: Uint8Array): void {
    const index = this.#elf.sections.findIndex((section) => section.name === name);
    const section = this.#elf.sections[index];
    if (section === undefined) throw new RangeError(`no section ${name}`);
    this.#sections.set(index, contents);
    this.#entries = this.#entries.map((entry) =>
      entry.type === PT_NOTE && entry.offset === section.offset
        ? {
            ...entry,
            contents,
            offset: undefined,
            fileBytes: contents.length,
            memoryBytes: contents.length,
          }
        : entry,
    );
  }

  finish(): Uint8Array {
    const parts: Uint8Array[] = [Uint8Array.from(this.#original)];
    let end = this.#original.length;
    const places = new Map<Uint8Array, number>();
    const append = (bytes: Uint8Array, align: number): number => {
      const known = places.get(bytes);
      if (known !== undefined) return known;
      const at = Math.ceil(end / align) * align;
      parts.push(new Uint8Array(at - end), bytes);
      end = at + bytes.length;
      places.set(bytes, at);
      return at;
    };
    const table = new DataView(new ArrayBuffer(this.#entries.length * ENTRY_BYTES));
    this.#entries.forEach((entry, i) => {
      // A segment without contents has no place in the file; any multiple of the page size will do.
      const isEmpty = entry.offset === undefined && entry.contents.length === 0;
      const offset = isEmpty ? 0 : (entry.offset ?? append(entry.contents, PAGE_BYTES));
      writeEntry(table, i * ENTRY_BYTES, entry, offset);
    });
    const tableAt = append(new Uint8Array(table.buffer), 8);
    const sections = [...this.#sections].map(([index, bytes]) => ({ index, bytes, at: append(bytes, 4) }));
    const file = new Uint8Array(end);
    let at = 0;
    for (const part of parts) {
      file.set(part, at);
      at += part.length;
    }
    const view = new DataView(file.buffer);
    view.setBigUint64(E_PHOFF, BigInt(tableAt), true);
    view.setUint16(E_PHNUM, this.#entries.length, true);
    const sectionTable = Number(view.getBigUint64(E_SHOFF, true));
    for (const section of sections) {
      const header = sectionTable + section.index * SECTION_ENTRY_BYTES;
      view.setBigUint64(header + 24, BigInt(section.at), true);
      view.setBigUint64(header + 32, BigInt(section.bytes.length), true);
    }
    return file;
  }
}

function writeEntry(table: DataView, at: number, entry: Entry, offset: number): void {
  table.setUint32(at, entry.type, true);
  table.setUint32(at + 4, entry.flags, true);
  const fields = [offset, entry.virtual, entry.physical, entry.fileBytes, entry.memoryBytes, entry.align];
  fields.forEach((value, i) => {
    table.setBigUint64(at + 8 + 8 * i, BigInt(value), true);
  });
}
