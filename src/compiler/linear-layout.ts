/**
 * Decides what of linear memory is in the image: active data segments become initial pages, mapped and copied on write, so that a boot
 * copies nothing. Writes the parts of the linker script that place them.
 */
import {
  BC_HIGH_GPA_BASE,
  BC_LARGE_PAGE_SIZE,
  BC_LOW_GPA_END,
  BC_PAGE_SIZE,
  BC_WASM_PAGE_SIZE,
} from "../abi.ts";
import type { DataSegment, ModuleInfo } from "./wasm-reader.ts";

/** A run of whole pages with initial contents. `start` is an address in linear memory. */
export interface LinearChunk {
  readonly start: number;
  readonly bytes: Uint8Array;
}

export interface LinearLayout {
  /** Initial size of linear memory 0 in bytes. */
  readonly minBytes: number;
  /** Largest size the module declares, or undefined. */
  readonly maxBytes: number | undefined;
  readonly chunks: readonly LinearChunk[];
  /** False if a segment's place is only known at run time, or is out of bounds (then starting must trap). */
  readonly dataInImage: boolean;
}

/** Chunks closer than this share one mapping: a mapping costs more than some zero pages. */
const MERGE_GAP_BYTES = 0x10000;
const MAX_CHUNKS = 16;

export function linearLayout(module: Uint8Array, info: ModuleInfo): LinearLayout {
  const memory = info.memories[0];
  const minBytes = (memory?.min ?? 0) * BC_WASM_PAGE_SIZE;
  const maxBytes = memory?.max === undefined ? undefined : memory.max * BC_WASM_PAGE_SIZE;
  const active = info.dataSegments.filter((segment) => segment.mode === "active");
  const placed = active.filter(
    (segment): segment is DataSegment & { offset: number } =>
      segment.offset !== undefined && segment.offset + segment.length <= minBytes,
  );
  if (placed.length !== active.length) return { minBytes, maxBytes, chunks: [], dataInImage: false };
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
  return { minBytes, maxBytes, chunks, dataInImage: true };
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

export const chunkFile = (index: number): string => `linear${index}.bin`;

/** Assembler that brings the chunks into sections `.linear0`, `.linear1`, …. */
export function linearAssembly(layout: LinearLayout): string {
  return layout.chunks
    .map((_, i) => `.section .linear${i}, "aw", @progbits\n.incbin "${chunkFile(i)}"\n`)
    .join("");
}

/**
 * The two generated parts of the linker script. Each program header covers a chunk and the zeros behind it; zeros before the first
 * chunk have one of their own.
 */
export function linearLinkerScript(layout: LinearLayout): { phdrs: string; sections: string } {
  if (layout.minBytes === 0) return { phdrs: "", sections: "bc_linear_gpa = 0;\n" };
  const pieces: { name: string; start: number; end: number; hasChunk: boolean }[] = [];
  const first = layout.chunks[0]?.start ?? layout.minBytes;
  if (first > 0) pieces.push({ name: "linear_zeros", start: 0, end: first, hasChunk: false });
  layout.chunks.forEach((chunk, i) => {
    const end = layout.chunks[i + 1]?.start ?? layout.minBytes;
    pieces.push({ name: `linear${i}`, start: chunk.start, end, hasChunk: true });
  });
  const at = (address: number): string => `AT(bc_linear_gpa + ${address})`;
  const sections = pieces.map((piece, i) => {
    const size = piece.end - piece.start;
    if (!piece.hasChunk) {
      return `  .${piece.name} ${piece.start} (NOLOAD) : ${at(piece.start)} { . += ${size}; } :${piece.name}\n`;
    }
    const bytes = layout.chunks[i - (first > 0 ? 1 : 0)]?.bytes.length ?? 0;
    const zerosAt = piece.start + bytes;
    const zeros =
      zerosAt === piece.end
        ? ""
        : `  .${piece.name}_zeros ${zerosAt} (NOLOAD) : ${at(zerosAt)} { . += ${piece.end - zerosAt}; } :${piece.name}\n`;
    return `  .${piece.name} ${piece.start} : ${at(piece.start)} { KEEP(*(.${piece.name})) } :${piece.name}\n${zeros}`;
  });
  const low = `ALIGN(bc_image_end_gpa, ${BC_LARGE_PAGE_SIZE})`;
  return {
    phdrs: pieces.map((piece) => `${piece.name} PT_LOAD FLAGS(6);\n`).join(""),
    sections: `bc_linear_gpa = ${low} + ${layout.minBytes} <= ${BC_LOW_GPA_END} ? ${low} : ${BC_HIGH_GPA_BASE};\n${sections.join("")}`,
  };
}
