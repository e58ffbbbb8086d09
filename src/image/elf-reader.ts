/**
 * A reader for ELF64 files of x86-64, little-endian: headers, sections, symbols, notes.
 * Layout and constants: System V ABI (gABI), chapters 4 and 5, and its AMD64 supplement.
 *
 * The file is hostile. Every offset, size and count is checked against it before use, and work is bounded by its size.
 */

/** The bytes are not an ELF file that this reader knows, or the file is damaged. The message names the field. */
export class ElfFormatError extends Error {
  override readonly name = "ElfFormatError";
}

export interface ElfHeader {
  /** ET_REL 1, ET_EXEC 2, ET_DYN 3. */
  readonly type: number;
  readonly machine: number;
  /** Virtual address of the first instruction. */
  readonly entry: number;
  readonly flags: number;
}

/** Sizes and offsets in bytes. */
export interface ElfSegment {
  /** PT_LOAD 1, PT_NOTE 4. */
  readonly type: number;
  /** PF_X 1, PF_W 2, PF_R 4. */
  readonly flags: number;
  readonly offset: number;
  readonly virtualAddress: number;
  readonly physicalAddress: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
}

/** Sizes and offsets in bytes. */
export interface ElfSection {
  readonly name: string;
  /** SHT_PROGBITS 1, SHT_SYMTAB 2, SHT_STRTAB 3, SHT_NOTE 7, SHT_NOBITS 8. */
  readonly type: number;
  /** SHF_WRITE 1, SHF_ALLOC 2, SHF_EXECINSTR 4. */
  readonly flags: number;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly align: number;
  readonly entrySize: number;
  /** A view of the file, not a copy; empty for SHT_NOBITS. */
  readonly bytes: Uint8Array;
}

export type ElfSymbolType = "notype" | "object" | "func" | "section" | "file" | "common" | "tls" | "other";
export type ElfSymbolBind = "local" | "global" | "weak" | "other";

export interface ElfSymbol {
  readonly name: string;
  /** An address in an executable, an offset into the section in an object file. */
  readonly value: number;
  /** Bytes; 0 if unknown. */
  readonly size: number;
  readonly type: ElfSymbolType;
  readonly bind: ElfSymbolBind;
  /** SHN_UNDEF 0, SHN_ABS 0xfff1. */
  readonly sectionIndex: number;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  /** A view of the file, not a copy. */
  readonly desc: Uint8Array;
}

const HEADER_SIZE = 64;
const SEGMENT_HEADER_SIZE = 56;
const SECTION_HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
const EM_X86_64 = 62;
const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHT_NOBITS = 8;
/** From here on section indices are reserved, and counts stand elsewhere (gABI, "Special Section Indexes"). */
const SHN_LORESERVE = 0xff00;
const PN_XNUM = 0xffff;

const SYMBOL_TYPES: readonly ElfSymbolType[] = [
  ...(["notype", "object", "func", "section", "file", "common", "tls"] as const),
];
const SYMBOL_BINDS: readonly ElfSymbolBind[] = ["local", "global", "weak"];

const TEXT = new TextDecoder("utf-8");

/** Little-endian fields of a region that was checked to be in the file. */
class Fields {
  private readonly view: DataView;
  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(at: number): number {
    return this.view.getUint16(at, true);
  }

  u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  /** A 64-bit field; no honest one is above 2^53. */
  u64(at: number, field: string): number {
    const value = this.view.getBigUint64(at, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new ElfFormatError(`ELF ${field} is out of range: 0x${value.toString(16)}`);
    }
    return Number(value);
  }
}

/** The part of `bytes` at `offset`, or an error that names `field`. */
function slice(bytes: Uint8Array, offset: number, size: number, field: string): Uint8Array {
  if (offset > bytes.length || size > bytes.length - offset) {
    throw new ElfFormatError(
      `ELF ${field} is outside the file: offset ${offset}, size ${size}, file ${bytes.length}`,
    );
  }
  return bytes.subarray(offset, offset + size);
}

/**
 * NUL-terminated names. Names may share bytes (linkers merge tails), so a hostile table could make few bytes stand for
 * gigabytes of names: what is decoded in all is bounded by a multiple of the table's size.
 */
class StringTable {
  private readonly bytes: Uint8Array;
  private readonly field: string;
  private readonly known = new Map<number, string>();
  private budget: number;

  constructor(bytes: Uint8Array, field: string) {
    this.bytes = bytes;
    this.field = field;
    this.budget = 16 * bytes.length + 65_536;
  }

  at(offset: number): string {
    const known = this.known.get(offset);
    if (known !== undefined) return known;
    // Index 0 of an empty table is the empty name (gABI, "String Table").
    if (offset === 0 && this.bytes.length === 0) return "";
    const end = offset < this.bytes.length ? this.bytes.indexOf(0, offset) : -1;
    if (end < 0) throw new ElfFormatError(`ELF ${this.field}: name at ${offset} is outside the string table`);
    this.budget -= end - offset;
    if (this.budget < 0) throw new ElfFormatError(`ELF ${this.field}: the names overlap too much`);
    const name = TEXT.decode(this.bytes.subarray(offset, end));
    this.known.set(offset, name);
    return name;
  }
}

export class ElfFile {
  readonly header: ElfHeader;
  readonly segments: readonly ElfSegment[];
  readonly sections: readonly ElfSection[];
  private readonly bytes: Uint8Array;
  private cachedSymbols: readonly ElfSymbol[] | undefined;

  /** @throws {ElfFormatError} naming the field that is wrong */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    const magic = [0x7f, 0x45, 0x4c, 0x46];
    if (bytes.length === 0) throw new ElfFormatError("the file is empty");
    if (magic.some((byte, i) => bytes[i] !== byte))
      throw new ElfFormatError("not an ELF file: the magic is missing");
    const ident = slice(bytes, 0, HEADER_SIZE, "header");
    const fields = new Fields(ident);
    const expect = (field: string, value: number | undefined, wanted: number): void => {
      if (value !== wanted) throw new ElfFormatError(`ELF ${field} is ${value}, expected ${wanted}`);
    };
    expect("EI_CLASS", ident[4], 2);
    expect("EI_DATA", ident[5], 1);
    expect("EI_VERSION", ident[6], 1);
    expect("e_machine", fields.u16(18), EM_X86_64);
    expect("e_version", fields.u32(20), 1);
    expect("e_ehsize", fields.u16(52), HEADER_SIZE);
    this.header = {
      type: fields.u16(16),
      machine: EM_X86_64,
      entry: fields.u64(24, "e_entry"),
      flags: fields.u32(48),
    };

    const segmentCount = fields.u16(56);
    if (segmentCount > 0) expect("e_phentsize", fields.u16(54), SEGMENT_HEADER_SIZE);
    if (segmentCount === PN_XNUM) throw new ElfFormatError("ELF e_phnum is extended, which is not supported");
    this.segments = this.readSegments(fields.u64(32, "e_phoff"), segmentCount);

    const sectionOffset = fields.u64(40, "e_shoff");
    const sectionCount = fields.u16(60);
    if (sectionCount > 0) expect("e_shentsize", fields.u16(58), SECTION_HEADER_SIZE);
    if (sectionCount >= SHN_LORESERVE || (sectionCount === 0 && sectionOffset !== 0)) {
      throw new ElfFormatError("ELF e_shnum is extended, which is not supported");
    }
    this.sections = this.readSections(sectionOffset, sectionCount, fields.u16(62));
  }

  private readSegments(start: number, count: number): ElfSegment[] {
    const table = slice(this.bytes, start, count * SEGMENT_HEADER_SIZE, "program header table");
    const fields = new Fields(table);
    return Array.from({ length: count }, (_, i) => {
      const at = i * SEGMENT_HEADER_SIZE;
      const of = `of segment ${i}`;
      const segment: ElfSegment = {
        type: fields.u32(at),
        flags: fields.u32(at + 4),
        offset: fields.u64(at + 8, `p_offset ${of}`),
        virtualAddress: fields.u64(at + 16, `p_vaddr ${of}`),
        physicalAddress: fields.u64(at + 24, `p_paddr ${of}`),
        fileSize: fields.u64(at + 32, `p_filesz ${of}`),
        memorySize: fields.u64(at + 40, `p_memsz ${of}`),
        align: fields.u64(at + 48, `p_align ${of}`),
      };
      slice(this.bytes, segment.offset, segment.fileSize, `p_offset or p_filesz ${of}`);
      const end = segment.virtualAddress + segment.memorySize;
      if (!Number.isSafeInteger(end) || !Number.isSafeInteger(segment.physicalAddress + segment.memorySize)) {
        throw new ElfFormatError(`ELF p_memsz ${of} is out of range`);
      }
      // PT_LOAD only: for other types p_memsz may be 0 or mean something else.
      if (segment.type === 1 && segment.fileSize > segment.memorySize) {
        throw new ElfFormatError(`ELF p_filesz ${of} is larger than p_memsz`);
      }
      return segment;
    });
  }

  private readSections(start: number, count: number, nameIndex: number): ElfSection[] {
    const table = slice(this.bytes, start, count * SECTION_HEADER_SIZE, "section header table");
    const fields = new Fields(table);
    const unnamed = Array.from({ length: count }, (_, i) => {
      const at = i * SECTION_HEADER_SIZE;
      const of = `of section ${i}`;
      const type = fields.u32(at + 4);
      const address = fields.u64(at + 16, `sh_addr ${of}`);
      const offset = fields.u64(at + 24, `sh_offset ${of}`);
      const size = fields.u64(at + 32, `sh_size ${of}`);
      if (!Number.isSafeInteger(address + size))
        throw new ElfFormatError(`ELF sh_size ${of} is out of range`);
      // SHT_NULL and SHT_NOBITS have nothing in the file.
      const inFile = type !== 0 && type !== SHT_NOBITS;
      const bytes = inFile
        ? slice(this.bytes, offset, size, `sh_offset or sh_size ${of}`)
        : new Uint8Array(0);
      const section = { type, flags: fields.u64(at + 8, `sh_flags ${of}`), address, offset, size };
      const links = { link: fields.u32(at + 40), info: fields.u32(at + 44) };
      const align = fields.u64(at + 48, `sh_addralign ${of}`);
      const entrySize = fields.u64(at + 56, `sh_entsize ${of}`);
      return { ...section, ...links, align, entrySize, bytes };
    });
    // SHN_UNDEF: the sections have no names.
    if (nameIndex === 0) return unnamed.map((section) => ({ name: "", ...section }));
    const names = unnamed[nameIndex];
    if (names?.type !== SHT_STRTAB)
      throw new ElfFormatError(`ELF e_shstrndx ${nameIndex} is not a string table`);
    const strings = new StringTable(names.bytes, "sh_name");
    return unnamed.map((section, i) => ({
      name: strings.at(fields.u32(i * SECTION_HEADER_SIZE)),
      ...section,
    }));
  }

  /** The first section of that name. */
  section(name: string): ElfSection | undefined {
    return this.sections.find((section) => section.name === name);
  }

  /**
   * All symbols of `.symtab`, without the null symbol; none if the file is stripped.
   *
   * @throws {ElfFormatError} naming the field that is wrong
   */
  symbols(): readonly ElfSymbol[] {
    this.cachedSymbols ??= this.readSymbols();
    return this.cachedSymbols;
  }

  private readSymbols(): ElfSymbol[] {
    const table = this.sections.find((section) => section.type === SHT_SYMTAB);
    if (table === undefined) return [];
    if (table.entrySize !== SYMBOL_SIZE || table.size % SYMBOL_SIZE !== 0) {
      throw new ElfFormatError(
        `ELF sh_entsize or sh_size of the symbol table is not a multiple of ${SYMBOL_SIZE}`,
      );
    }
    const names = this.sections[table.link];
    if (names?.type !== SHT_STRTAB)
      throw new ElfFormatError("ELF sh_link of the symbol table is not a string table");
    const strings = new StringTable(names.bytes, "st_name");
    const fields = new Fields(table.bytes);
    const symbols: ElfSymbol[] = [];
    for (let at = SYMBOL_SIZE; at < table.size; at += SYMBOL_SIZE) {
      const info = table.bytes[at + 4] ?? 0;
      symbols.push({
        name: strings.at(fields.u32(at)),
        value: fields.u64(at + 8, `st_value of symbol ${at / SYMBOL_SIZE}`),
        size: fields.u64(at + 16, `st_size of symbol ${at / SYMBOL_SIZE}`),
        type: SYMBOL_TYPES[info & 15] ?? "other",
        bind: SYMBOL_BINDS[info >> 4] ?? "other",
        sectionIndex: fields.u16(at + 6),
      });
    }
    return symbols;
  }

  /**
   * The notes of a PT_NOTE segment or SHT_NOTE section.
   *
   * @throws {ElfFormatError} if a note passes the end of the region
   */
  notes(region: ElfSegment | ElfSection): ElfNote[] {
    const size = "fileSize" in region ? region.fileSize : region.bytes.length;
    const bytes = slice(this.bytes, region.offset, size, "note region");
    const fields = new Fields(bytes);
    // Words of 4 bytes also in ELF64, but some linkers align to 8 and say so (gABI, "Note Section").
    const align = region.align === 8 ? 8 : 4;
    const notes: ElfNote[] = [];
    for (let at = 0; at < size; ) {
      if (size - at < 12) {
        // Padding after the last note.
        if (bytes.subarray(at).every((byte) => byte === 0)) break;
        throw new ElfFormatError("ELF note header is cut off");
      }
      const nameStart = at + 12;
      const nameSize = fields.u32(at);
      const descStart = Math.ceil((nameStart + nameSize) / align) * align;
      const descSize = fields.u32(at + 4);
      if (nameSize > size - nameStart)
        throw new ElfFormatError(`ELF n_namesz ${nameSize} passes the end of the notes`);
      if (descSize > 0 && descSize > size - descStart) {
        throw new ElfFormatError(`ELF n_descsz ${descSize} passes the end of the notes`);
      }
      // The terminating NUL is counted in n_namesz.
      const name = TEXT.decode(bytes.subarray(nameStart, nameStart + nameSize)).split("\0", 1)[0] ?? "";
      notes.push({ name, type: fields.u32(at + 8), desc: bytes.subarray(descStart, descStart + descSize) });
      at = Math.ceil((descStart + descSize) / align) * align;
    }
    return notes;
  }
}

/**
 * Reads the headers of an ELF64 file for x86-64; symbols and notes are read when asked for.
 *
 * @param bytes the whole file; it is not copied and must not change
 * @throws {ElfFormatError} naming the field that is wrong
 */
export function readElf(bytes: Uint8Array): ElfFile {
  return new ElfFile(bytes);
}
