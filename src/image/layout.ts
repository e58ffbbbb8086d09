/**
 * The memory of an image, as its program headers and its header page state it, checked against the address map of the ABI. The
 * compiler uses it to fill in the page tables after linking, the loader to check a file before any VM sees it.
 */
import {
  BC_ABI_VERSION,
  BC_BOOT_GPA,
  BC_GDT_BYTES,
  BC_GDT_GPA,
  BC_HEADER_ABI_VERSION,
  BC_HEADER_BOOT_ENTRY,
  BC_HEADER_BOOT_PML4_GPA,
  BC_HEADER_BYTES,
  BC_HEADER_CALL_ENTRY,
  BC_HEADER_EXCEPTION_STACKS,
  BC_HEADER_IDT,
  BC_HEADER_MAGIC,
  BC_HEADER_MAILBOX,
  BC_HEADER_MAILBOX_BYTES,
  BC_HEADER_PAGE_TABLES_BYTES,
  BC_HEADER_PAGE_TABLES_GPA,
  BC_HEADER_RUN_PML4_GPA,
  BC_HEADER_STACK_BYTES,
  BC_HEADER_SYSCALL_ENTRY,
  BC_HEADER_TSS_LIMIT,
  BC_HIGH_GPA_BASE,
  BC_IMAGE_BASE,
  BC_INPUT_BYTES,
  BC_IST_BYTES,
  BC_IST_COUNT,
  BC_LINEAR_MAX_BYTES,
  BC_LINEAR_REACH_END,
  BC_LOW_GPA_END,
  BC_MAILBOX_HEADER_BYTES,
  BC_MEMORIES_MAX,
  BC_MEMORY_BASE,
  BC_MEMORY_GPA_BASE,
  BC_MEMORY_GPA_STRIDE,
  BC_MEMORY_STRIDE,
  BC_OUTPUT_LOG_BYTES,
  BC_PAGE_SIZE,
  BC_PF_SUPERVISOR,
  BC_SLOT_BYTES,
  BC_STACK_HOLE_BASE,
  BC_STACK_TOP,
  BC_TABLES_GPA,
  BC_TSS_BYTES,
} from "../abi.ts";
import { BarecellError } from "../errors.ts";
import type { ElfFile, ElfSegment } from "./elf-reader.ts";
import { PageTableBuilder } from "./page-tables.ts";

/** ELF program header types and flags (System V gABI, chapter 5). */
const PT_LOAD = 1;
const PF_X = 1;
const PF_W = 2;
const PF_R = 4;

export type SegmentPurpose =
  | "supervisor"
  | "page tables"
  | "code"
  | "read-only data"
  | "data"
  | "stack"
  | "linear memory";

/** A range of guest memory; sizes and offsets in bytes. */
export interface Segment {
  readonly purpose: SegmentPurpose;
  readonly virtual: number;
  readonly physical: number;
  readonly fileOffset: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
  readonly user: boolean;
  /** Index of the linear memory that it is a part of. */
  readonly memory?: number;
}

/** The image's header page, checked. Addresses are guest virtual unless they say otherwise. */
export interface ImageHeader {
  readonly bootEntry: number;
  readonly callEntry: number;
  readonly syscallEntry: number;
  readonly mailbox: number;
  readonly mailboxBytes: number;
  readonly exceptionStacks: number;
  readonly bootPml4Gpa: number;
  readonly runPml4Gpa: number;
  readonly pageTablesGpa: number;
  readonly pageTablesBytes: number;
  readonly idt: number;
  readonly tssLimit: number;
  readonly stackBytes: number;
}

export interface ImageLayout {
  readonly header: ImageHeader;
  readonly segments: readonly Segment[];
  /** By index, what each linear memory starts with. Memories that start empty and are not followed by others are left out. */
  readonly memories: readonly LinearPlace[];
}

/** Where a linear memory starts; sizes in bytes. */
export interface LinearPlace {
  /** 0 for an empty memory. */
  readonly physical: number;
  readonly initialBytes: number;
}

/** Guest-virtual address of linear memory `index`. */
export function linearVirtual(index: number): number {
  return index === 0 ? 0 : BC_MEMORY_BASE + (index - 1) * BC_MEMORY_STRIDE;
}

/** The linear memory whose range, hole included, holds a guest-virtual address. */
export function linearIndexAt(virtual: number): number | undefined {
  if (virtual >= 0 && virtual < BC_LINEAR_REACH_END) return 0;
  const index = Math.floor((virtual - BC_MEMORY_BASE) / BC_MEMORY_STRIDE) + 1;
  return index >= 1 && index < BC_MEMORIES_MAX ? index : undefined;
}

function invalid(what: string): BarecellError {
  return new BarecellError(
    "BARECELL_IMAGE_INVALID",
    `the file is not an intact image: ${what}; compile the module again`,
  );
}

/** @throws BARECELL_IMAGE_INVALID, BARECELL_IMAGE_VERSION */
export function readLayout(elf: ElfFile, bytes: Uint8Array): ImageLayout {
  const segments = elf.segments
    .filter((segment) => segment.type === PT_LOAD && segment.memorySize > 0)
    .map(readSegment);
  const header = readHeader(segments, bytes);
  const layoutSegments = segments.map((segment) =>
    segment.physical === header.pageTablesGpa ? { ...segment, purpose: "page tables" as const } : segment,
  );
  checkPlaces(layoutSegments, header);
  return { header, segments: layoutSegments, memories: linearPlaces(layoutSegments) };
}

function readSegment(elf: ElfSegment): Segment {
  const segment = {
    virtual: elf.virtualAddress,
    physical: elf.physicalAddress,
    fileOffset: elf.offset,
    fileBytes: elf.fileSize,
    memoryBytes: Math.ceil(elf.memorySize / BC_PAGE_SIZE) * BC_PAGE_SIZE,
    read: (elf.flags & PF_R) !== 0,
    write: (elf.flags & PF_W) !== 0,
    execute: (elf.flags & PF_X) !== 0,
    user: (elf.flags & BC_PF_SUPERVISOR) === 0,
  };
  if (segment.virtual % BC_PAGE_SIZE !== 0 || segment.physical % BC_PAGE_SIZE !== 0) {
    throw invalid(`a segment at 0x${segment.virtual.toString(16)} is not page-aligned`);
  }
  if (segment.write && segment.execute) throw invalid("a segment is writable and executable");
  if (segment.execute && segment.user && segment.virtual < BC_IMAGE_BASE)
    throw invalid("code outside the image's range");
  const purpose = purposeOf(segment);
  if (purpose !== "linear memory") return { ...segment, purpose };
  const memory = linearIndexAt(segment.virtual);
  if (memory === undefined) throw invalid("a segment above all linear memories");
  return { ...segment, purpose, memory };
}

function purposeOf(segment: Omit<Segment, "purpose">): SegmentPurpose {
  if (!segment.user) return "supervisor";
  if (segment.virtual < BC_LINEAR_MAX_BYTES || segment.virtual >= BC_MEMORY_BASE) return "linear memory";
  if (segment.virtual < BC_STACK_TOP) return "stack";
  if (segment.execute) return "code";
  return segment.write ? "data" : "read-only data";
}

function readHeader(segments: readonly Segment[], bytes: Uint8Array): ImageHeader {
  const page = segments.find((segment) => segment.physical === BC_TABLES_GPA);
  if (page === undefined || page.fileBytes < BC_HEADER_BYTES) throw invalid("its header page is missing");
  const view = new DataView(bytes.buffer, bytes.byteOffset + page.fileOffset, BC_HEADER_BYTES);
  if (view.getBigUint64(0, true) !== BC_HEADER_MAGIC) throw invalid("its header has no barecell magic");
  const field = (offset: number): number => {
    const value = view.getBigUint64(offset, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`header field at ${offset} is out of range`);
    return Number(value);
  };
  const version = field(BC_HEADER_ABI_VERSION);
  if (version !== BC_ABI_VERSION) {
    throw new BarecellError(
      "BARECELL_IMAGE_VERSION",
      `the image is of ABI version ${version}, and this barecell runs version ${BC_ABI_VERSION}; compile the module again`,
    );
  }
  return {
    bootEntry: field(BC_HEADER_BOOT_ENTRY),
    callEntry: field(BC_HEADER_CALL_ENTRY),
    syscallEntry: field(BC_HEADER_SYSCALL_ENTRY),
    mailbox: field(BC_HEADER_MAILBOX),
    mailboxBytes: field(BC_HEADER_MAILBOX_BYTES),
    exceptionStacks: field(BC_HEADER_EXCEPTION_STACKS),
    bootPml4Gpa: field(BC_HEADER_BOOT_PML4_GPA),
    runPml4Gpa: field(BC_HEADER_RUN_PML4_GPA),
    pageTablesGpa: field(BC_HEADER_PAGE_TABLES_GPA),
    pageTablesBytes: field(BC_HEADER_PAGE_TABLES_BYTES),
    idt: field(BC_HEADER_IDT),
    tssLimit: field(BC_HEADER_TSS_LIMIT),
    stackBytes: field(BC_HEADER_STACK_BYTES),
  };
}

/** Every address that the host will write to, or the CPU will use, lies in a segment that is made for it. */
function checkPlaces(segments: readonly Segment[], header: ImageHeader): void {
  const sorted = [...segments].sort((a, b) => a.physical - b.physical);
  sorted.forEach((segment, i) => {
    const next = sorted[i + 1];
    if (next && segment.physical + segment.memoryBytes > next.physical) throw invalid("segments overlap");
    if (segment.fileBytes > segment.memoryBytes)
      throw invalid("a segment is larger in the file than in memory");
    if (segment.purpose === "linear memory") return;
    if (segment.physical < BC_BOOT_GPA || segment.physical + segment.memoryBytes > BC_LOW_GPA_END) {
      throw invalid("a segment lies outside the image's guest-physical range");
    }
    if (segment.purpose !== "stack" && segment.virtual !== segment.physical + BC_IMAGE_BASE) {
      throw invalid("a segment's virtual address does not follow its guest-physical address");
    }
  });
  const stack = segments.filter((segment) => segment.purpose === "stack");
  if (
    stack.length !== 1 ||
    stack[0]?.virtual !== BC_STACK_TOP - header.stackBytes ||
    stack[0].memoryBytes !== header.stackBytes ||
    stack[0].virtual <= BC_STACK_HOLE_BASE ||
    stack[0].fileBytes !== 0
  ) {
    throw invalid("its stack is not where the address map has it");
  }
  const within = (what: string, at: number, size: number, test: (segment: Segment) => boolean): void => {
    const home = segments.find(
      (segment) =>
        at >= segment.virtual && at + size <= segment.virtual + segment.memoryBytes && test(segment),
    );
    if (!home || home.purpose === "stack" || home.purpose === "linear memory")
      throw invalid(`${what} is out of place`);
  };
  within("boot stub", BC_IMAGE_BASE + BC_BOOT_GPA, 16, (s) => !s.user && s.execute);
  within("GDT", BC_IMAGE_BASE + BC_GDT_GPA, BC_GDT_BYTES + header.tssLimit + 1, (s) => !s.user && s.write);
  within("IDT", header.idt, 512, (s) => !s.user && !s.write);
  within("boot entry", header.bootEntry, 1, (s) => s.user && s.execute);
  within("call entry", header.callEntry, 1, (s) => s.user && s.execute);
  within("syscall entry", header.syscallEntry, 1, (s) => !s.user && s.execute);
  // With the log of kept output and the input that is given ahead, right behind it.
  const transfers = BC_OUTPUT_LOG_BYTES + BC_INPUT_BYTES;
  within("mailbox", header.mailbox, header.mailboxBytes + transfers, (s) => s.user && s.write);
  within("exception stacks", header.exceptionStacks, BC_IST_COUNT * BC_IST_BYTES, (s) => !s.user && s.write);
  within(
    "page tables",
    BC_IMAGE_BASE + header.pageTablesGpa,
    header.pageTablesBytes,
    (s) => s.purpose === "page tables" && !s.user && !s.write,
  );
  if (header.mailboxBytes < BC_MAILBOX_HEADER_BYTES + BC_SLOT_BYTES || header.mailbox % 16 !== 0)
    throw invalid("its mailbox is too small");
  if (header.tssLimit < BC_TSS_BYTES || header.tssLimit > BC_PAGE_SIZE)
    throw invalid("its TSS has a wrong size");
  for (const root of [header.bootPml4Gpa, header.runPml4Gpa]) {
    const offset = root - header.pageTablesGpa;
    if (offset < 0 || offset >= header.pageTablesBytes || offset % BC_PAGE_SIZE !== 0) {
      throw invalid("a page-table root lies outside the page tables");
    }
  }
}

/** Each linear memory is one run from its address, in guest-physical space too. */
function linearPlaces(segments: readonly Segment[]): LinearPlace[] {
  const places: LinearPlace[] = [];
  const imageEnd = Math.max(
    ...segments.map(({ purpose, physical, memoryBytes }) =>
      purpose === "linear memory" ? 0 : physical + memoryBytes,
    ),
  );
  const linear = segments.filter((segment) => segment.purpose === "linear memory");
  for (const segment of [...linear].sort((a, b) => a.virtual - b.virtual)) {
    const index = segment.memory ?? 0;
    while (places.length <= index) places.push({ physical: 0, initialBytes: 0 });
    const { physical, initialBytes } = places[index] as LinearPlace;
    const base = initialBytes === 0 ? segment.physical : physical;
    if (
      segment.virtual !== linearVirtual(index) + initialBytes ||
      segment.physical !== base + initialBytes ||
      segment.execute ||
      !segment.write
    ) {
      throw invalid("linear memory is not one run of read-write pages");
    }
    const end = initialBytes + segment.memoryBytes;
    if (end > BC_LINEAR_MAX_BYTES) throw invalid("a linear memory is larger than 4 GiB");
    places[index] = { physical: base, initialBytes: end };
  }
  places.forEach(({ physical, initialBytes }, index) => {
    if (initialBytes === 0) return;
    const isRight =
      index === 0
        ? physical === BC_HIGH_GPA_BASE || (physical >= imageEnd && physical + initialBytes <= BC_LOW_GPA_END)
        : physical === BC_MEMORY_GPA_BASE + (index - 1) * BC_MEMORY_GPA_STRIDE;
    if (!isRight) throw invalid("linear memory is out of place");
  });
  return places;
}

/** The page tables that the layout asks for; see page-tables.ts. */
export function buildPageTables(layout: ImageLayout): Uint8Array {
  const builder = new PageTableBuilder(layout.header.pageTablesGpa, layout.header.pageTablesBytes);
  for (const segment of layout.segments) {
    // Nobody maps the page tables themselves, ring 0 included.
    if (segment.purpose === "page tables") continue;
    builder.map(
      {
        virtual: segment.virtual,
        physical: segment.physical,
        sizeBytes: segment.memoryBytes,
        write: segment.write,
        execute: segment.execute,
        user: segment.user,
        large: segment.purpose === "linear memory",
      },
      segment.virtual >= BC_IMAGE_BASE && segment.purpose !== "linear memory",
    );
  }
  return builder.bytes;
}
