/**
 * Files packed into an image: the format, its writer and its reader. An image may be hostile, so there is exactly one way to write a tree,
 * and the reader takes nothing else. native/wasi/bundle.cc reads the same once more, for the guest's calls.
 *
 * All numbers are little-endian. After the header come a table, the names and the contents, each without anything between:
 *
 *     0   8  "bcbundle"
 *     8   4  version, 1
 *    12   4  roots: the directories that a guest gets; the first nodes of the table
 *    16   4  nodes: files and directories in all
 *    20   4  bytes of all names
 *    24   8  bytes of all contents
 *    32      the table, 16 bytes for each node: size (8), bytes of the name (4), kind (4)
 *            names, in the table's order, UTF-8
 *            contents of the files, in the table's order
 *
 * A directory (kind 0) has as its size the number of its entries; these are the next nodes of the table that no directory before it
 * took, in strictly ascending order of their names' bytes. A file (kind 1) has as its size that of its contents. A root's name is its
 * path in the guest. Nothing else is kept: no times, owners, permissions or links.
 */
import { BC_PAGE_SIZE, BC_PT_BUNDLE } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import { type ElfFile, ElfFormatError, type ElfSegment } from "./elf-reader.ts";

const MAGIC = "bcbundle";
const VERSION = 1;
const HEADER_BYTES = 32;
const NODE_BYTES = 16;
const DIRECTORY = 0;
const FILE = 1;

/** Limits of the format, as in native/wasi/bundle.h. */
export const BUNDLE_LIMITS = {
  roots: 64,
  /** Files and directories in all. */
  nodes: 65_536,
  /** Directories below one another. */
  depth: 64,
  nameBytes: 255,
  rootPathBytes: 4095,
} as const;

/** A directory that is packed into an image: what a guest finds under the path, if it is granted WASI. Sizes in bytes. */
export interface ImageBundle {
  readonly guest: string;
  readonly files: number;
  readonly directories: number;
  readonly sizeBytes: number;
}

/** What is to be packed: a file's contents, or a directory's entries by name. */
export type BundleNode = Uint8Array | ReadonlyMap<string, BundleNode>;

interface Root {
  readonly guest: string;
  readonly entries: ReadonlyMap<string, BundleNode>;
}

/** Writes the format. Limits and names were checked before. */
export function writeBundle(roots: readonly Root[]): Uint8Array {
  const nodes: { readonly name: Buffer; readonly node: BundleNode }[] = roots.map(({ guest, entries }) => ({
    name: Buffer.from(guest),
    node: entries,
  }));
  // The list grows while it is walked, which makes the order that the format asks for.
  for (const { node } of nodes) {
    if (node instanceof Uint8Array) continue;
    const entries = [...node].map(([name, entry]) => ({ name: Buffer.from(name), node: entry }));
    nodes.push(...entries.sort((a, b) => Buffer.compare(a.name, b.name)));
  }
  const header = Buffer.alloc(HEADER_BYTES + nodes.length * NODE_BYTES);
  const names = nodes.map(({ name }) => name);
  const contents = nodes.flatMap(({ node }) => (node instanceof Uint8Array ? [node] : []));
  const total = (parts: readonly Uint8Array[]): number => parts.reduce((sum, { length }) => sum + length, 0);
  header.write(MAGIC, "latin1");
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(roots.length, 12);
  header.writeUInt32LE(nodes.length, 16);
  header.writeUInt32LE(total(names), 20);
  header.writeBigUInt64LE(BigInt(total(contents)), 24);
  nodes.forEach(({ name, node }, i) => {
    const at = HEADER_BYTES + i * NODE_BYTES;
    const isFile = node instanceof Uint8Array;
    header.writeBigUInt64LE(BigInt(isFile ? node.length : node.size), at);
    header.writeUInt32LE(name.length, at + 8);
    header.writeUInt32LE(isFile ? FILE : DIRECTORY, at + 12);
  });
  return Buffer.concat([header, ...names, ...contents]);
}

const TEXT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

interface ReadNode {
  readonly kind: number;
  readonly size: number;
  readonly name: Uint8Array;
}

/** @throws BARECELL_IMAGE_INVALID */
export function readBundle(bytes: Uint8Array): ImageBundle[] {
  const { nodes, roots } = readNodes(bytes);
  const totals = nodes.slice(0, roots).map(() => ({ files: 0, directories: 0, sizeBytes: 0 }));
  /** Of each node that a directory has taken: the root above it, and how deep it lies. */
  const places: { readonly root: number; readonly depth: number }[] = totals.map((_, root) => ({
    root,
    depth: 0,
  }));
  for (const [i, { kind, size, name }] of nodes.entries()) {
    const place = places[i];
    if (!place) throw damaged("an entry is of no directory");
    const { root, depth } = place;
    const total = totals[root] as (typeof totals)[number];
    checkName(name, i < roots);
    if (kind === FILE) {
      if (i < roots) throw damaged("a root is no directory");
      total.files++;
      total.sizeBytes += size;
      continue;
    }
    if (i >= roots) total.directories++;
    if (size > nodes.length - places.length) throw damaged("a directory has more entries than there are");
    if (size > 0 && depth >= BUNDLE_LIMITS.depth) throw damaged("its directories are too deep");
    for (let entry = 0; entry < size; entry++) {
      const [before, own] = [nodes[places.length - 1]?.name, nodes[places.length]?.name];
      if (entry > 0 && before && own && Buffer.compare(before, own) >= 0)
        throw damaged("its names are not in order");
      places.push({ root, depth: depth + 1 });
    }
  }
  const guests = nodes.slice(0, roots).map(({ name }) => TEXT.decode(name));
  if (new Set(guests).size < guests.length) throw damaged("two directories have one path");
  return totals.map((total, i) => ({ guest: guests[i] ?? "", ...total }));
}

function readNodes(bytes: Uint8Array): { nodes: ReadNode[]; roots: number } {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < HEADER_BYTES) throw damaged("its header is cut off");
  if (view.toString("latin1", 0, 8) !== MAGIC || view.readUInt32LE(8) !== VERSION)
    throw damaged("it has another format");
  const [roots, count] = [view.readUInt32LE(12), view.readUInt32LE(16)];
  if (count > BUNDLE_LIMITS.nodes || roots < 1 || roots > Math.min(count, BUNDLE_LIMITS.roots))
    throw damaged("it has too many files, or none");
  const namesAt = HEADER_BYTES + count * NODE_BYTES;
  const contentsAt = namesAt + view.readUInt32LE(20);
  // Past 2^53 the sum is not exact, but still no size of a file.
  if (contentsAt + Number(view.readBigUInt64LE(24)) !== view.length)
    throw damaged("it has another size than it says");
  let [nameAt, contentAt] = [namesAt, contentsAt];
  const nodes = Array.from({ length: count }, (_, i): ReadNode => {
    const at = HEADER_BYTES + i * NODE_BYTES;
    const [size, nameBytes, kind] = [
      Number(view.readBigUInt64LE(at)),
      view.readUInt32LE(at + 8),
      view.readUInt32LE(at + 12),
    ];
    if (kind !== DIRECTORY && kind !== FILE) throw damaged("it holds what is neither a file nor a directory");
    if (nameBytes > contentsAt - nameAt) throw damaged("its names are cut off");
    if (kind === FILE && size > view.length - contentAt) throw damaged("its contents are cut off");
    const name = view.subarray(nameAt, nameAt + nameBytes);
    nameAt += nameBytes;
    if (kind === FILE) contentAt += size;
    return { kind, size, name };
  });
  if (nameAt !== contentsAt || contentAt !== view.length) throw damaged("it has bytes that are of no file");
  return { nodes, roots };
}

function checkName(name: Uint8Array, isRoot: boolean): void {
  let text: string;
  try {
    text = TEXT.decode(name);
  } catch (cause) {
    throw damaged("a name is not UTF-8", cause);
  }
  const wrong = isRoot ? rootPathFault(text) : nameFault(text);
  if (wrong !== undefined) throw damaged(`a name ${wrong}`);
}

/** What is wrong with a name in a directory, if anything. */
export function nameFault(name: string): string | undefined {
  if (name === "" || name === "." || name === "..") return "is empty, or dots";
  if (name.includes("/")) return "has a slash";
  if (Buffer.byteLength(name) > BUNDLE_LIMITS.nameBytes)
    return `has more than ${BUNDLE_LIMITS.nameBytes} bytes`;
  return textFault(name);
}

/** What is wrong with the path of a bundle in the guest, if anything. */
export function rootPathFault(path: string): string | undefined {
  if (path === "") return "is empty";
  if (Buffer.byteLength(path) > BUNDLE_LIMITS.rootPathBytes)
    return `has more than ${BUNDLE_LIMITS.rootPathBytes} bytes`;
  return textFault(path);
}

function textFault(text: string): string | undefined {
  if (text.includes("\0")) return "has a NUL";
  // A string of JavaScript's may have half of a surrogate pair, which no UTF-8 spells.
  return Buffer.from(text).toString() === text ? undefined : "is not Unicode";
}

/** The image's bundle as a view of the file; empty if it has none. @throws BARECELL_IMAGE_INVALID, ElfFormatError */
export function bundleBytes(elf: ElfFile, bytes: Uint8Array): Uint8Array {
  const found = elf.segments.filter((segment) => segment.type === BC_PT_BUNDLE);
  if (found.length > 1) throw damaged("there are several");
  const [segment] = found;
  return bytes.subarray(segment?.offset ?? 0, (segment?.offset ?? 0) + (segment?.fileSize ?? 0));
}

/** ELF64: where the program headers are, and fields of one (gABI, chapters 4 and 5). */
const E_PHOFF = 32;
const PROGRAM_HEADER_BYTES = 56;
const P_OFFSET = 8;
const P_FILESZ = 32;
const P_ALIGN = 48;

/**
 * An ELF file with a bundle at its end, on a page of its own, and the program header that the linker left for it filled in. The segment
 * is no part of the VM's memory. @returns a copy, whose digest is not right yet
 */
export function appendBundle(elf: ElfFile, bytes: Uint8Array, bundle: Uint8Array): Uint8Array {
  const index = elf.segments.findIndex((segment: ElfSegment) => segment.type === BC_PT_BUNDLE);
  if (index < 0) throw new ElfFormatError("the linker left no program header for the bundle");
  const offset = Math.ceil(bytes.length / BC_PAGE_SIZE) * BC_PAGE_SIZE;
  const result = new Uint8Array(offset + bundle.length);
  result.set(bytes);
  result.set(bundle, offset);
  const view = new DataView(result.buffer);
  const header = Number(view.getBigUint64(E_PHOFF, true)) + index * PROGRAM_HEADER_BYTES;
  view.setBigUint64(header + P_OFFSET, BigInt(offset), true);
  view.setBigUint64(header + P_FILESZ, BigInt(bundle.length), true);
  view.setBigUint64(header + P_ALIGN, BigInt(BC_PAGE_SIZE), true);
  return result;
}

function damaged(what: string, cause?: unknown): BarecellError {
  return new BarecellError("BARECELL_IMAGE_INVALID", `the image's bundle of files is damaged: ${what}`, {
    cause,
  });
}
