/** An image (`.cell`): read, checked, and described. Nothing here touches KVM. */
import { createHash } from "node:crypto";
import { open, readFile, rm, stat } from "node:fs/promises";
import {
  BC_MAILBOX_HEADER_BYTES,
  BC_NOTE_TYPE_DIGEST,
  BC_NOTE_TYPE_MANIFEST,
  BC_SLOT_BYTES,
} from "../abi.ts";
import { BarecellError, errorText, systemErrorCode } from "../errors.ts";
import { appendBundle, bundleBytes, type ImageBundle, readBundle } from "./bundle.ts";
import { type ElfFile, ElfFormatError, readElf } from "./elf-reader.ts";
import { buildPageTables, type ImageLayout, readLayout } from "./layout.ts";
import {
  type ImageExport,
  type ImageImport,
  type ImageModule,
  type Manifest,
  mainModule,
  parseManifest,
} from "./manifest.ts";

const NOTE_NAME = "barecell";
const DIGEST_BYTES = 32;

/** A compiled module. Immutable; one image can boot any number of VMs, also from several worker threads. */
export class Image {
  /** The ELF file. Do not change it. */
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly layout: ImageLayout;
  readonly elf: ElfFile;
  /** SHA-256 of the file, hexadecimal. */
  readonly digest: string;
  /** Directories packed into the image, in the order in which a guest finds them. */
  readonly bundles: readonly ImageBundle[];

  private constructor(
    bytes: Uint8Array,
    elf: ElfFile,
    manifest: Manifest,
    layout: ImageLayout,
    digest: string,
    bundles: readonly ImageBundle[],
  ) {
    this.bytes = bytes;
    this.elf = elf;
    this.manifest = manifest;
    this.layout = layout;
    this.digest = digest;
    this.bundles = bundles;
  }

  /**
   * Checks the bytes of an image file: digest, headers, address map, page tables, manifest.
   * @throws BARECELL_IMAGE_INVALID, BARECELL_IMAGE_VERSION
   */
  static fromBytes(source: Uint8Array): Image {
    // A copy of our own: the caller may change or reuse its buffer.
    const bytes = Uint8Array.from(source);
    try {
      const elf = readElf(bytes);
      const notes = readNotes(elf);
      const layout = readLayout(elf, bytes);
      const digest = fileDigest(bytes, notes.digest);
      if (!digest.equals(notes.digest)) throw damaged("its digest does not match: the file was altered");
      const manifest = parseManifest(notes.manifest);
      checkContents(bytes, layout, manifest);
      const bundle = bundleBytes(elf, bytes);
      const bundles = bundle.length > 0 ? readBundle(bundle) : [];
      return new Image(bytes, elf, manifest, layout, digest.toString("hex"), bundles);
    } catch (error) {
      if (error instanceof ElfFormatError) throw damaged(error.message, error);
      throw error;
    }
  }

  /** Reads and checks an image file. @throws also BARECELL_FILE_UNREADABLE */
  static async load(path: string | URL): Promise<Image> {
    return Image.fromBytes(await readInput(path, "image"));
  }

  /** Writes the image to a file. @throws BARECELL_FILE_UNWRITABLE; half an image is not left behind then */
  async save(path: string | URL): Promise<void> {
    let isOpen = false;
    try {
      const file = await open(path, "w");
      isOpen = true;
      try {
        await file.writeFile(this.bytes);
      } finally {
        await file.close();
      }
    } catch (cause) {
      // Not a device or a pipe that was named as output.
      if (isOpen && (await stat(path).catch(() => undefined))?.isFile())
        await rm(path, { force: true }).catch(() => {});
      throw new BarecellError(
        "BARECELL_FILE_UNWRITABLE",
        `cannot write the image to ${path}: ${errorText(cause)}`,
        {
          cause,
        },
      );
    }
  }

  /** Of the main module, which is the last. */
  get exports(): readonly ImageExport[] {
    return mainModule(this.manifest).exports;
  }

  /** In the order in which they are instantiated. */
  get modules(): readonly ImageModule[] {
    return this.manifest.modules;
  }

  /** The main module's name. */
  get name(): string {
    return mainModule(this.manifest).name;
  }

  /** Whether it is the state of a VM, and not what a compiler made. */
  get isSnapshot(): boolean {
    return this.manifest.snapshot !== null;
  }

  get imports(): readonly ImageImport[] {
    return this.manifest.imports;
  }
}

/** The image with a bundle of files (image/bundle.ts) of its own. @param image without one */
export function withBundle(image: Image, bundle: Uint8Array): Image {
  const bytes = appendBundle(image.elf, image.bytes, bundle);
  const { digest } = readNotes(readElf(bytes));
  digest.set(fileDigest(bytes, digest));
  return Image.fromBytes(bytes);
}

/** Whether the bytes begin like an ELF file, so that a command can take modules and images alike. */
export function looksLikeImage(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** @throws BARECELL_FILE_UNREADABLE with the reason in words */
export async function readInput(path: string | URL, what: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const reasons: Record<string, string> = {
      ENOENT: "it does not exist",
      EISDIR: "it is a directory",
      EACCES: "it may not be read (permissions)",
      ERR_FS_FILE_TOO_LARGE: "it is larger than 2 GiB",
    };
    const reason = reasons[systemErrorCode(cause) ?? ""] ?? errorText(cause);
    throw new BarecellError("BARECELL_FILE_UNREADABLE", `cannot read the ${what} ${path}: ${reason}`, {
      cause,
    });
  }
}

function damaged(what: string, cause?: unknown): BarecellError {
  return new BarecellError("BARECELL_IMAGE_INVALID", `the file is not an intact image: ${what}`, { cause });
}

export interface ImageNotes {
  readonly manifest: Uint8Array;
  /** A view of the file, so that the compiler can fill it in. */
  readonly digest: Uint8Array;
}

/** @throws BARECELL_IMAGE_INVALID if this is an ELF file of somebody else's */
export function readNotes(elf: ElfFile): ImageNotes {
  const section = elf.section(".note.barecell");
  const notes = section ? elf.notes(section).filter((note) => note.name === NOTE_NAME) : [];
  const manifest = notes.find((note) => note.type === BC_NOTE_TYPE_MANIFEST);
  const digest = notes.find((note) => note.type === BC_NOTE_TYPE_DIGEST);
  if (!manifest || digest?.desc.length !== DIGEST_BYTES)
    throw damaged("it has no barecell note (another ELF file?)");
  return { manifest: manifest.desc, digest: digest.desc };
}

/** SHA-256 over the file with the digest's own bytes taken as zero. @param digest a view into `bytes` */
export function fileDigest(bytes: Uint8Array, digest: Uint8Array): Buffer {
  const at = digest.byteOffset - bytes.byteOffset;
  return createHash("sha256")
    .update(bytes.subarray(0, at))
    .update(new Uint8Array(DIGEST_BYTES))
    .update(bytes.subarray(at + DIGEST_BYTES))
    .digest();
}

/** What the digest cannot vouch for, since anybody can compute one: that the tables say what the headers say. */
function checkContents(bytes: Uint8Array, layout: ImageLayout, manifest: Manifest): void {
  const area = layout.segments.find((segment) => segment.purpose === "page tables");
  if (!area) throw damaged("it has no page tables");
  let expected: Uint8Array;
  try {
    expected = buildPageTables(layout);
  } catch (cause) {
    throw damaged("its page-table area is too small", cause);
  }
  const found = bytes.subarray(area.fileOffset, area.fileOffset + area.fileBytes);
  if (Buffer.compare(expected, found.subarray(0, expected.length)) !== 0 || found.length < expected.length) {
    throw damaged("its page tables are not those of its segments");
  }
  const sizes = manifest.memories.map((memory) => memory.minBytes);
  if (
    layout.memories.length > sizes.length ||
    sizes.some((size, i) => size !== (layout.memories[i]?.initialBytes ?? 0))
  ) {
    throw damaged("manifest and program headers differ about linear memory");
  }
  const slots = Math.floor((layout.header.mailboxBytes - BC_MAILBOX_HEADER_BYTES) / BC_SLOT_BYTES);
  for (const { exports } of manifest.modules) {
    for (const entry of exports) {
      if (entry.kind !== "func") continue;
      const { params, results } = entry.type;
      if (Math.max(params.length, results.length) > slots)
        throw damaged("a function takes more values than its mailbox");
    }
  }
}
