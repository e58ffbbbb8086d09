/** Reads a file that is a module or an image, and makes an image of it. */
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { compile } from "../compiler/compile.ts";
import type { CompileOptions, CompileStep } from "../compiler/options.ts";
import { validateModule } from "../compiler/validate.ts";
import { BarecellError } from "../errors.ts";
import { Image, looksLikeImage, readInput } from "../image/image.ts";
import { showProgress } from "./progress.ts";
import { usageError } from "./report.ts";
import type { OptionsOf } from "./table.ts";

/** No larger file is read into memory. The module's limit is the compiler's default; an image has the module's data and code in it. */
const MAX_MODULE_BYTES = 64 * 2 ** 20;
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
export async function readModuleOrImage(path: string): Promise<Input> {
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
    const limit = kind === "image" ? MAX_IMAGE_BYTES : MAX_MODULE_BYTES;
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

/** The options that `run`, `compile` and `inspect` share. */
export type SharedOptions = Pick<OptionsOf<"run">, "targetCpu" | "stackSize" | "optimize" | "cache">;

/** An image, and how it came about. */
export interface ObtainedImage {
  readonly image: Image;
  readonly kind: "module" | "image";
  /** Whether it came from the cache. */
  readonly isCached: boolean;
  /** Reading, and compiling or checking, microseconds. */
  readonly compileUs: number;
}

/** @throws what compiling or reading an image may throw */
export async function obtainImage(
  path: string,
  options: SharedOptions,
  more: { readonly name?: string; readonly onlyModule?: boolean } = {},
): Promise<ObtainedImage> {
  const started = performance.now();
  const { kind, bytes } = await readModuleOrImage(path);
  let isCached = false;
  let image: Image;
  if (kind === "image") {
    if (more.onlyModule) throw usageError(`${path} is an image already; compile takes a module`);
    refuseCompileOptions(options);
    image = Image.fromBytes(bytes);
  } else {
    image = await compileShown(bytes, compileOptionsOf(path, options, more.name), () => {
      isCached = true;
    });
  }
  return { image, kind, isCached, compileUs: (performance.now() - started) * 1000 };
}

/** An option that would have no effect is a mistake of whoever gave it. */
function refuseCompileOptions(options: SharedOptions): void {
  const given = (["targetCpu", "stackSize", "optimize"] as const).find((key) => options[key] !== undefined);
  if (given === undefined) return;
  const spelled = given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw usageError(`--${spelled} is for modules; an image is compiled already`);
}

function compileOptionsOf(path: string, options: SharedOptions, name: string | undefined): CompileOptions {
  return {
    name: name ?? basename(path).replace(/\.wasm$/, ""),
    maxModuleBytes: MAX_MODULE_BYTES,
    ...(options.targetCpu === undefined ? {} : { targetCpu: options.targetCpu }),
    ...(options.stackSize === undefined ? {} : { stackBytes: options.stackSize }),
    ...(options.optimize === undefined ? {} : { optimize: options.optimize }),
    ...(options.cache === false ? { cache: false } : {}),
  };
}

/** Shell convention: a program that a signal ended has the status 128 + its number. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Compiles with progress on a terminal. A signal ends the process in order: compiler stopped, temporary files removed. */
async function compileShown(
  bytes: Uint8Array,
  options: CompileOptions,
  onCached: () => void,
): Promise<Image> {
  const progress = showProgress(`compiling ${options.name ?? "module"}`);
  const removers = Object.entries(SIGNALS).map(([signal, status]) => {
    const end = (): void => {
      progress.end();
      process.exit(status);
    };
    process.once(signal, end);
    return () => process.removeListener(signal, end);
  });
  try {
    return await compile(bytes, {
      ...options,
      onProgress(step: CompileStep) {
        if (step === "cached") onCached();
        progress.step(step);
      },
    });
  } finally {
    progress.end();
    for (const remove of removers) remove();
  }
}
