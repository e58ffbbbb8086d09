/**
 * Decides what of linear memory is in the image: active data segments become initial pages, mapped and copied on write, so that a boot
 * copies nothing. Writes the parts of the linker script that place them.
 */
import {
  BC_HIGH_GPA_BASE,
  BC_LARGE_PAGE_SIZE,
  BC_LOW_GPA_END,
  BC_MEMORY_GPA_BASE,
  BC_MEMORY_GPA_STRIDE,
  BC_PAGE_SIZE,
  BC_WASM_PAGE_SIZE,
} from "../abi.ts";
import { linearVirtual } from "../image/layout.ts";
import type { DataSegment, ModuleInfo } from "./wasm-reader.ts";

/** A run of whole pages with initial contents. `start` is an address in linear memory. */
export interface LinearChunk {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** What one linear memory of the image starts with. */
export interface LinearLayout {
  /** Its place among the image's memories. */
  readonly place: number;
  /** Initial size in bytes. */
  readonly minBytes: number;
  /** Largest size the module declares, or undefined. */
  readonly maxBytes: number | undefined;
  readonly chunks: readonly LinearChunk[];
}

/** Chunks closer than this share one mapping: a mapping costs more than some zero pages. */
const MERGE_GAP_BYTES = 0x10000;
const MAX_CHUNKS = 16;

/** An active segment that can be in the image: its place is known, it fits, and its memory is the module's own. */
type PlacedSegment = DataSegment & { readonly memoryIndex: number; readonly offset: number };

function isPlaced(segment: DataSegment, info: ModuleInfo): segment is PlacedSegment {
  const { memoryIndex, offset } = segment;
  if (memoryIndex === undefined || offset === undefined || memoryIndex < info.imported.memory) return false;
  const minBytes = (info.memories[memoryIndex]?.min ?? 0) * BC_WASM_PAGE_SIZE;
  return offset + segment.length <= minBytes;
}

/**
 * Whether all active data segments of a module can be in the image. Otherwise code copies them when the module is instantiated: a place that is only
 * known then, a memory that others may have written to before, a segment out of bounds (which must trap).
 */
export function dataInImage(info: ModuleInfo): boolean {
  // Elements are written first, and can trap; in a table of somebody else's, functions of the module are then reachable in spite of it, and must not see data
  // that was never written.
  const elementsMayTrap = info.imported.table > 0 && info.elementSegmentCount > 0;
  return !elementsMayTrap && activeSegments(info).every((segment) => isPlaced(segment, info));
}

const activeSegments = (info: ModuleInfo): DataSegment[] =>
  info.dataSegments.filter((segment) => segment.mode === "active");

/**
 * @param module the file that defines the memory, read into `info`; @param index which of its memories
 * @param place the memory's place among the image's
 */
export function linearLayout(
  module: Uint8Array,
  info: ModuleInfo,
  index: number,
  place: number,
): LinearLayout {
  const memory = info.memories[index];
  const minBytes = (memory?.min ?? 0) * BC_WASM_PAGE_SIZE;
  const maxBytes = memory?.max === undefined ? undefined : memory.max * BC_WASM_PAGE_SIZE;
  if (!dataInImage(info)) return { place, minBytes, maxBytes, chunks: [] };
  const placed = activeSegments(info).filter(
    (segment): segment is PlacedSegment => isPlaced(segment, info) && segment.memoryIndex === index,
  );
  const spans = mergeSpans(
    placed
      .filter((segment) => segment.length > 0)
      .map((segment) => ({
        start: Math.floor(segment.offset / BC_PAGE_SIZE) * BC_PAGE_SIZE,
        end: Math.ceil((segment.offset + segment.length) / BC_PAGE_SIZE) * BC_PAGE_SIZE,
      })),
  );
  const chunks = spans.map((span) => {
    const bytes = new Uint8Array(span.end - span.start);
    // In order: a later segment overwrites an earlier one (WebAssembly 4.5.4).
    for (const segment of placed) {
      if (segment.length === 0 || segment.offset < span.start || segment.offset >= span.end) continue;
      bytes.set(
        module.subarray(segment.fileOffset, segment.fileOffset + segment.length),
        segment.offset - span.start,
      );
    }
    return { start: span.start, bytes };
  });
  return { place, minBytes, maxBytes, chunks };
}

interface Span {
  start: number;
  end: number;
}

function mergeSpans(spans: Span[]): Span[] {
  const sorted = [...spans].sort((a, b) => a.start - b.start);
  let merged: Span[] = [];
  for (let gap = MERGE_GAP_BYTES; ; gap *= 2) {
    merged = [];
    for (const span of sorted) {
      const last = merged.at(-1);
      if (last && span.start - last.end < gap) last.end = Math.max(last.end, span.end);
      else merged.push({ ...span });
    }
    if (merged.length <= MAX_CHUNKS) return merged;
  }
}

export const chunkFile = (place: number, chunk: number): string => `linear${place}_${chunk}.bin`;

/** Assembler that brings the chunks into sections `.linear0_0`, `.linear0_1`, …. */
export function linearAssembly(layouts: readonly LinearLayout[]): string {
  return layouts
    .flatMap(({ place, chunks }) =>
      chunks.map(
        (_, i) => `.section .linear${place}_${i}, "aw", @progbits\n.incbin "${chunkFile(place, i)}"\n`,
      ),
    )
    .join("");
}

/** The two generated parts of the linker script. */
export function linearLinkerScript(layouts: readonly LinearLayout[]): { phdrs: string; sections: string } {
  const first = layouts[0]?.minBytes ?? 0;
  const low = `ALIGN(bc_image_end_gpa, ${BC_LARGE_PAGE_SIZE})`;
  const parts = layouts.map(linearPart);
  return {
    phdrs: parts.map((part) => part.phdrs).join(""),
    sections:
      (first === 0
        ? "bc_linear_gpa = 0;\n"
        : `bc_linear_gpa = ${low} + ${first} <= ${BC_LOW_GPA_END} ? ${low} : ${BC_HIGH_GPA_BASE};\n`) +
      parts.map((part) => part.sections).join(""),
  };
}

/** Each program header covers a chunk and the zeros behind it; zeros before the first chunk have one of their own. */
function linearPart({ place, minBytes, chunks }: LinearLayout): { phdrs: string; sections: string } {
  if (minBytes === 0) return { phdrs: "", sections: "" };
  const base = linearVirtual(place);
  const physical =
    place === 0 ? "bc_linear_gpa" : `${BC_MEMORY_GPA_BASE + (place - 1) * BC_MEMORY_GPA_STRIDE}`;
  const pieces: { name: string; start: number; end: number; bytes: number | undefined }[] = [];
  const first = chunks[0]?.start ?? minBytes;
  if (first > 0) pieces.push({ name: `linear${place}_zeros`, start: 0, end: first, bytes: undefined });
  chunks.forEach((chunk, i) => {
    const end = chunks[i + 1]?.start ?? minBytes;
    pieces.push({ name: `linear${place}_${i}`, start: chunk.start, end, bytes: chunk.bytes.length });
  });
  const head = (name: string, address: number, kind: string): string =>
    `  .${name} ${base + address} ${kind}: AT(${physical} + ${address})`;
  const sections = pieces.map(({ name, start, end, bytes }) => {
    if (bytes === undefined) return `${head(name, start, "(NOLOAD) ")} { . += ${end - start}; } :${name}\n`;
    const zerosAt = start + bytes;
    const zeros =
      zerosAt === end
        ? ""
        : `${head(`${name}_zeros`, zerosAt, "(NOLOAD) ")} { . += ${end - zerosAt}; } :${name}\n`;
    return `${head(name, start, "")} { KEEP(*(.${name})) } :${name}\n${zeros}`;
  });
  return {
    phdrs: pieces.map((piece) => `${piece.name} PT_LOAD FLAGS(6);\n`).join(""),
    sections: sections.join(""),
  };
}
