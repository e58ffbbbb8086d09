/** Reads a file that should be a module, or an image. */
import { open } from "node:fs/promises";
import { BarecellError } from "../errors.ts";
import { looksLikeImage, readInput } from "../image/image.ts";
import { validateModule } from "./validate.ts";

/** No larger image is read into memory. */
const MAX_IMAGE_BYTES = 2 ** 31 - 1;
const HEAD_BYTES = 4096;
const WASM_MAGIC = [0x00, 0x61, 0x73, 0x6d];

/** A file that was read. */
export interface Input {
  readonly kind: "module" | "image";
  readonly bytes: Uint8Array;
}

/**
 * Reads the file as far as it can be of use: one that is neither a module nor an image is refused by its first bytes, however large it is
 * (an endless device file too).
 * @throws BARECELL_FILE_UNREADABLE, BARECELL_MODULE_INVALID, BARECELL_MODULE_TOO_LARGE
 */
export async function readModuleOrImage(path: string | URL, maxModuleBytes: number): Promise<Input> {
  const file = await open(path).catch(() => undefined);
  // Fails in the same way, and says why.
  if (file === undefined) return { kind: "module", bytes: await readInput(path, "file") };
  try {
    const stats = await file.stat();
    if (stats.isDirectory()) return { kind: "module", bytes: await readInput(path, "file") };
    const head = await readUpTo(file, HEAD_BYTES);
    const kind = looksLikeImage(head) ? "image" : "module";
    if (kind === "module" && !WASM_MAGIC.every((byte, i) => head[i] === byte)) {
      // Throws, naming what the bytes look like.
      validateModule(head, HEAD_BYTES);
    }
    const limit = kind === "image" ? MAX_IMAGE_BYTES : maxModuleBytes;
    if (stats.isFile() && stats.size > limit) throw tooLarge(kind, stats.size, limit);
    const rest = head.length < HEAD_BYTES ? new Uint8Array(0) : await readUpTo(file, limit - head.length + 1);
    if (head.length + rest.length > limit) throw tooLarge(kind, undefined, limit);
    return { kind, bytes: Buffer.concat([head, rest]) };
  } finally {
    await file.close();
  }
}

function tooLarge(kind: string, size: number | undefined, limit: number): BarecellError {
  const bytes = size === undefined ? "more bytes than the limit" : `${size} bytes, and the limit is`;
  return new BarecellError("BARECELL_MODULE_TOO_LARGE", `the ${kind} has ${bytes} ${limit}`);
}

/** Reads until the end or until there are `length` bytes; pipes give them in pieces. */
async function readUpTo(file: Awaited<ReturnType<typeof open>>, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  while (total < length) {
    const { bytesRead, buffer } = await file.read({
      buffer: Buffer.alloc(Math.min(length - total, 2 ** 20)),
    });
    if (bytesRead === 0) break;
    chunks.push(buffer.subarray(0, bytesRead));
    total += bytesRead;
  }
  return Buffer.concat(chunks);
}
