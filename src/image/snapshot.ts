/**
 * An image with another initial state: the file of an image, with contents for its writable segments, linear memories of other sizes, and a manifest that
 * says so. Code, tables and what only ring 0 may touch stay as they are; the page tables are built anew.
 */
import {
  BC_HIGH_GPA_BASE,
  BC_LARGE_PAGE_SIZE,
  BC_LOW_GPA_END,
  BC_MEMORY_GPA_BASE,
  BC_MEMORY_GPA_STRIDE,
  BC_NOTE_TYPE_DIGEST,
  BC_NOTE_TYPE_MANIFEST,
  BC_PAGE_SIZE,
} from "../abi.ts";
import { BarecellError } from "../errors.ts";
import { ElfEditor, type NewSegment } from "./elf-editor.ts";
import { readElf } from "./elf-reader.ts";
import { fileDigest, Image, readNotes } from "./image.ts";
import { buildPageTables, linearVirtual, readLayout, type Segment } from "./layout.ts";
import type { Manifest } from "./manifest.ts";

export interface ImageState {
  readonly manifest: Manifest;
  /** Contents of a writable segment of ring 3 that is neither stack nor linear memory. */
  readonly data: (segment: Segment) => Uint8Array;
  /** A part of a linear memory, whose size the manifest states. */
  readonly linear: (memory: number, offset: number, length: number) => Uint8Array;
}

/** Contents that the image holds, and the offset where they belong. */
interface Chunk {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** Each chunk is a mapping of its own in every VM. */
const MAX_CHUNKS = 16;
/** Of a file: it is read and hashed as a whole. */
const MAX_CONTENT_BYTES = 2 ** 30;
const PF_RW = 6;

/** @throws BARECELL_SNAPSHOT_REFUSED if it is too large */
export function imageWithState(image: Image, state: ImageState): Image {
  const { segments } = image.layout;
  const editor = new ElfEditor(image.bytes, image.elf);
  for (const segment of segments) {
    if (segment.purpose === "data")
      editor.setContents(segment.virtual, trimmed(state.data(segment)), segment.memoryBytes);
  }
  editor.dropSegments((virtual) =>
    segments.some((segment) => segment.purpose === "linear memory" && segment.virtual === virtual),
  );
  const imageEnd = Math.max(
    ...segments
      .filter(({ purpose }) => purpose !== "linear memory")
      .map(({ physical, memoryBytes }) => physical + memoryBytes),
  );
  state.manifest.memories.forEach(({ minBytes }, memory) => {
    const before = image.layout.memories[memory];
    const physical = linearPhysical(memory, before, minBytes, imageEnd);
    for (const segment of linearSegments(memory, physical, minBytes, state.linear))
      editor.addSegment(segment);
  });
  editor.replaceSection(".note.barecell", notes(state.manifest));
  return sealed(editor.finish());
}

/** Page tables, then the digest over all. */
function sealed(bytes: Uint8Array): Image {
  const elf = readElf(bytes);
  const layout = readLayout(elf, bytes);
  const area = layout.segments.find((segment) => segment.purpose === "page tables");
  let tables: Uint8Array;
  try {
    tables = buildPageTables(layout);
  } catch (cause) {
    const why = "the image has no room for the page tables of so much memory";
    throw new BarecellError("BARECELL_SNAPSHOT_REFUSED", `there can be no snapshot: ${why}`, { cause });
  }
  bytes.fill(0, area?.fileOffset, (area?.fileOffset ?? 0) + (area?.fileBytes ?? 0));
  bytes.set(tables, area?.fileOffset);
  const { digest } = readNotes(elf);
  digest.set(fileDigest(bytes, digest));
  return Image.fromBytes(bytes);
}

/** Where a linear memory begins: see the address map. Where it was, if it still fits there. */
function linearPhysical(
  memory: number,
  before: { physical: number; initialBytes: number } | undefined,
  sizeBytes: number,
  imageEnd: number,
): number {
  if (memory > 0) return BC_MEMORY_GPA_BASE + (memory - 1) * BC_MEMORY_GPA_STRIDE;
  const aligned = Math.ceil(imageEnd / BC_LARGE_PAGE_SIZE) * BC_LARGE_PAGE_SIZE;
  const low = before !== undefined && before.initialBytes > 0 ? before.physical : aligned;
  return low + sizeBytes <= BC_LOW_GPA_END ? low : BC_HIGH_GPA_BASE;
}

/** Each covers a chunk and the zeros behind it; zeros before the first chunk have one of their own. */
function linearSegments(
  memory: number,
  physical: number,
  sizeBytes: number,
  read: ImageState["linear"],
): NewSegment[] {
  if (sizeBytes === 0) return [];
  const chunks = linearChunks(sizeBytes, (offset, length) => read(memory, offset, length));
  if (chunks[0]?.start !== 0) chunks.unshift({ start: 0, bytes: new Uint8Array(0) });
  return chunks.map(({ start, bytes }, i) => ({
    flags: PF_RW,
    virtual: linearVirtual(memory) + start,
    physical: physical + start,
    contents: bytes,
    memoryBytes: (chunks[i + 1]?.start ?? sizeBytes) - start,
  }));
}

/**
 * What of a memory is not zeros, in runs that begin at multiples of 2 MiB, so that large entries of the page tables stay whole and no table is needed for a
 * cut.
 */
function linearChunks(sizeBytes: number, read: (offset: number, length: number) => Uint8Array): Chunk[] {
  const blocks: Chunk[] = [];
  let total = 0;
  for (let start = 0; start < sizeBytes; start += BC_LARGE_PAGE_SIZE) {
    const bytes = trimmed(read(start, Math.min(BC_LARGE_PAGE_SIZE, sizeBytes - start)));
    if (bytes.length === 0) continue;
    total += bytes.length;
    if (total > MAX_CONTENT_BYTES) {
      throw new BarecellError(
        "BARECELL_SNAPSHOT_REFUSED",
        `there can be no snapshot: a linear memory holds more than ${MAX_CONTENT_BYTES} bytes that are not zero`,
      );
    }
    blocks.push({ start, bytes });
  }
  for (let gap = 0; ; gap = Math.max(BC_LARGE_PAGE_SIZE, gap * 2)) {
    const runs = runsOf(blocks, gap);
    if (runs.length <= MAX_CHUNKS) return runs.map(joined);
  }
}

/** Blocks whose distance is at most `gap`, together. */
function runsOf(blocks: readonly Chunk[], gap: number): Chunk[][] {
  const runs: Chunk[][] = [];
  let end = Number.NEGATIVE_INFINITY;
  for (const block of blocks) {
    if (block.start - end <= gap) runs.at(-1)?.push(block);
    else runs.push([block]);
    end = block.start + BC_LARGE_PAGE_SIZE;
  }
  return runs;
}

function joined(run: readonly Chunk[]): Chunk {
  const [first, last] = [run[0] as Chunk, run.at(-1) as Chunk];
  const bytes = new Uint8Array(last.start + last.bytes.length - first.start);
  for (const block of run) bytes.set(block.bytes, block.start - first.start);
  return { start: first.start, bytes };
}

/** Without the zero pages at its end. */
function trimmed(bytes: Uint8Array): Uint8Array {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / 8));
  let end = words.length;
  while (end > 0 && words[end - 1] === 0n) end--;
  return bytes.subarray(0, Math.ceil((end * 8) / BC_PAGE_SIZE) * BC_PAGE_SIZE);
}

/** As the compiler writes them: digest (filled in at the end), manifest. System V gABI, chapter 5, "Note Section". */
function notes(manifest: Manifest): Uint8Array {
  const note = (type: number, content: Uint8Array): Buffer => {
    const head = Buffer.alloc(12);
    const name = Buffer.from("barecell\0\0\0\0");
    head.writeUInt32LE(9, 0);
    head.writeUInt32LE(content.length, 4);
    head.writeUInt32LE(type, 8);
    return Buffer.concat([head, name, content, Buffer.alloc(-content.length & 3)]);
  };
  const json = Buffer.from(JSON.stringify(manifest));
  return Buffer.concat([note(BC_NOTE_TYPE_DIGEST, Buffer.alloc(32)), note(BC_NOTE_TYPE_MANIFEST, json)]);
}
