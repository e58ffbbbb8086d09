/** module.wasm -> validate -> wasm2c -> cc -> link -> image. */
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { mkdtemp, readFile, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  BC_ABI_VERSION,
  BC_IMPORTS_MAX,
  BC_MAILBOX_HEADER_BYTES,
  BC_NOTE_TYPE_DIGEST,
  BC_NOTE_TYPE_MANIFEST,
  BC_PAGE_SIZE,
  BC_SLOT_BYTES,
} from "../abi.ts";
import { BarecellError, errorText, systemErrorCode } from "../errors.ts";
import { readElf } from "../image/elf-reader.ts";
import { fileDigest, Image, readNotes } from "../image/image.ts";
import { buildPageTables, readLayout } from "../image/layout.ts";
import type { Manifest } from "../image/manifest.ts";
import { fixedTablePages } from "../image/page-tables.ts";
import { packageVersion } from "../version.ts";
import { adaptGeneratedCode } from "./adapt.ts";
import { cacheKey, defaultCacheFolder, readCache, writeCache } from "./cache.ts";
import { canonicalModule, symbolName } from "./canonical-module.ts";
import { buildImage, COMMON_FLAGS, MODULE_FLAGS, targetFlags } from "./cc.ts";
import { glueSource, mailboxSlots } from "./glue.ts";
import {
  chunkFile,
  type LinearLayout,
  linearAssembly,
  linearLayout,
  linearLinkerScript,
} from "./linear-layout.ts";
import { type CheckedCompileOptions, type CompileOptions, checkCompileOptions } from "./options.ts";
import { readModuleOrImage } from "./source.ts";
import { type CCompiler, compilerVersion, findCCompiler, findSimde } from "./toolchain.ts";
import { unsupported, validateModule } from "./validate.ts";
import { functionTypeOf, type ModuleInfo } from "./wasm-reader.ts";
import { translateToC } from "./wasm2c.ts";

/**
 * Compiles a WebAssembly module to an image.
 * @param source the module's bytes, or the path of its file
 * @throws BarecellError: BARECELL_MODULE_* for the module, BARECELL_COMPILE_* for the tools, BARECELL_COMPILER_MISSING,
 *   BARECELL_FILE_UNREADABLE, BARECELL_FILE_UNWRITABLE (cache), BARECELL_ARGUMENT_INVALID
 */
export async function compile(
  source: Uint8Array | string | URL,
  options: CompileOptions = {},
): Promise<Image> {
  const checked = checkCompileOptions(options);
  const module = await readSource(source, checked.maxModuleBytes);
  checked.onProgress("validate");
  const info = validateModule(module, checked.maxModuleBytes);
  if (info.imports.length > BC_IMPORTS_MAX) throw unsupported(`it has more than ${BC_IMPORTS_MAX} imports`);
  const name = checked.name ?? nameOf(source);
  const compiler = findCCompiler();
  const folder = checked.cache === undefined ? defaultCacheFolder() : checked.cache;
  const key = folder === false ? "" : cacheKey(module, name, compiler, packageVersion, checked);
  if (folder !== false) {
    const cached = await readCache(folder, key);
    if (cached) {
      checked.onProgress("cached");
      return cached;
    }
  }
  const image = await compileFresh(module, info, name, compiler, checked);
  if (folder !== false) await writeCache(folder, key, image);
  checked.onProgress("done");
  return image;
}

async function readSource(source: Uint8Array | string | URL, maxModuleBytes: number): Promise<Uint8Array> {
  if (typeof source === "string" || source instanceof URL) {
    const input = await readModuleOrImage(source, maxModuleBytes);
    if (input.kind === "module") return input.bytes;
    throw new BarecellError(
      "BARECELL_MODULE_INVALID",
      `${source} is an image already; read it with Image.load()`,
    );
  }
  // A copy, since compiling takes time and the caller may change its buffer meanwhile.
  if (source instanceof Uint8Array) return Uint8Array.from(source);
  throw new BarecellError("BARECELL_ARGUMENT_INVALID", "source must be a path, a URL or a Uint8Array");
}

function nameOf(source: Uint8Array | string | URL): string {
  if (source instanceof Uint8Array) return "module";
  const path = source instanceof URL ? fileURLToPath(source) : source;
  return basename(path).replace(/\.wasm$/, "");
}

async function compileFresh(
  module: Uint8Array,
  info: ModuleInfo,
  name: string,
  compiler: CCompiler,
  options: CheckedCompileOptions,
): Promise<Image> {
  const folder = await makeFolder();
  // A caller that ends the process in the middle (process.exit in a signal handler) must not leave the folder behind. The compiler may
  // still write for a moment, hence the retries.
  const removeAtExit = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  process.once("exit", removeAtExit);
  try {
    options.onProgress("translate");
    const [generated, version] = await Promise.all([
      translateToC(canonicalModule(module, info), folder, options),
      compilerVersion(compiler),
    ]);
    const linear = linearLayout(module, info);
    const capacities = tableCapacities(info, generated, options.maxTableElements);
    const manifest = manifestOf(module, info, name, version, capacities, options);
    const elfPath = await buildImage(
      compiler,
      {
        moduleC: adaptGeneratedCode(generated, linear.dataInImage),
        glueC: glueSource(info, capacities),
        imageS: noteAssembly() + linearAssembly(linear),
        files: new Map<string, string | Uint8Array>([
          ["manifest.json", JSON.stringify(manifest)],
          ...linear.chunks.map((chunk, i) => [chunkFile(i), chunk.bytes] as const),
        ]),
        linearScript: linearLinkerScript(linear),
        symbols: linkerSymbols(info, capacities, linear, options),
        simde: (await usesSimde(generated, folder)) ? findSimde() : undefined,
      },
      folder,
      options,
    );
    return finishImage(await readLinked(elfPath));
  } catch (error) {
    // Not every tool says that this is its trouble: wasm2c writes half a file and is content.
    if (systemErrorCode(error) === "ENOSPC" || (await isFull(folder))) throw noTemporarySpace(error);
    throw error;
  } finally {
    process.removeListener("exit", removeAtExit);
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeFolder(): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), "barecell-"));
  } catch (cause) {
    if (systemErrorCode(cause) === "ENOSPC") throw noTemporarySpace(cause);
    throw new BarecellError(
      "BARECELL_FILE_UNWRITABLE",
      `cannot make a temporary folder in ${tmpdir()}: ${errorText(cause)}; set TMPDIR to a place with room`,
      { cause },
    );
  }
}

async function isFull(folder: string): Promise<boolean> {
  const { bavail } = await statfs(folder);
  return bavail === 0;
}

async function readLinked(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    if (systemErrorCode(cause) !== "ENOENT") throw cause;
    throw new BarecellError("BARECELL_COMPILE_FAILED", "the linker was content, but wrote no file", {
      cause,
    });
  }
}

/** Instructions need SIMDe in the source, an exported type alone in the header. */
async function usesSimde(generated: string, folder: string): Promise<boolean> {
  const include = "<simde/wasm/simd128.h>";
  return generated.includes(include) || (await readFile(join(folder, "module.h"), "utf8")).includes(include);
}

function noTemporarySpace(cause: unknown): BarecellError {
  return new BarecellError(
    "BARECELL_FILE_UNWRITABLE",
    `no space is left for temporary files in ${tmpdir()}; set TMPDIR to a place with room`,
    { cause },
  );
}

/** Fills in what is only known after linking: page tables, then the digest over all. */
function finishImage(bytes: Uint8Array): Image {
  const elf = readElf(bytes);
  const layout = readLayout(elf, bytes);
  const tables = buildPageTables(layout);
  const area = layout.segments.find((segment) => segment.purpose === "page tables");
  if (!area || area.fileBytes < tables.length) {
    throw new BarecellError("BARECELL_INTERNAL", "the linker left no room for the page tables");
  }
  bytes.set(tables, area.fileOffset);
  const { digest } = readNotes(elf);
  digest.set(fileDigest(bytes, digest));
  return Image.fromBytes(bytes);
}

/** What each table can grow to. A table that no instruction grows keeps its initial size. */
function tableCapacities(info: ModuleInfo, generated: string, limit: number): number[] {
  const grows = /wasm_rt_grow_(func|extern)ref_table\(/.test(generated);
  return info.tables.map((table) =>
    grows ? Math.max(table.min, Math.min(table.max ?? limit, limit)) : table.min,
  );
}

/** Bytes of one element in the guest: a funcref is type, code, tail-call code and instance; an externref one word. */
const ELEMENT_BYTES = { funcref: 32, externref: 8 } as const;

function linkerSymbols(
  info: ModuleInfo,
  capacities: readonly number[],
  linear: LinearLayout,
  options: CheckedCompileOptions,
): Map<string, number> {
  const arenaBytes = info.tables.reduce(
    (sum, table, i) => sum + (capacities[i] ?? 0) * ELEMENT_BYTES[table.element],
    0,
  );
  if (arenaBytes > 2 ** 30) {
    throw new BarecellError(
      "BARECELL_MEMORY_LIMIT",
      `the module's tables take ${arenaBytes} bytes, more than 1 GiB`,
    );
  }
  const mailboxBytes = BC_MAILBOX_HEADER_BYTES + mailboxSlots(info) * BC_SLOT_BYTES;
  return new Map([
    ["bc_mailbox_bytes", Math.ceil(mailboxBytes / BC_PAGE_SIZE) * BC_PAGE_SIZE],
    ["bc_stack_bytes", options.stackBytes],
    ["bc_arena_bytes", arenaBytes],
    ["bc_fixed_tables", fixedTablePages(linear.minBytes, options.stackBytes)],
  ]);
}

function manifestOf(
  module: Uint8Array,
  info: ModuleInfo,
  name: string,
  compiler: string,
  capacities: readonly number[],
  options: CheckedCompileOptions,
): Manifest {
  const memory = info.memories[0];
  const functionNames: Record<string, string> = {};
  const names = new Map(info.functionNames);
  // A function without a name of its own goes by the name it is exported or imported under.
  for (const entry of info.exports) {
    if (entry.kind === "func" && !names.has(entry.index)) names.set(entry.index, entry.name);
  }
  for (const [index, functionName] of names) {
    if (symbolName(functionName, index) !== `${functionName}_f${index}`) functionNames[index] = functionName;
  }
  return {
    abiVersion: BC_ABI_VERSION,
    producer: {
      barecell: packageVersion,
      compiler,
      flags: [`-O${options.optimize}`, ...targetFlags(options.targetCpu), ...COMMON_FLAGS, ...MODULE_FLAGS],
    },
    module: { name, digest: createHash("sha256").update(module).digest("hex"), sizeBytes: module.length },
    targetCpu: options.targetCpu,
    exports: info.exports.map((entry) =>
      entry.kind === "func"
        ? {
            name: entry.name,
            kind: entry.kind,
            type: functionTypeOf(info, entry.index),
            functionIndex: entry.index,
          }
        : { name: entry.name, kind: entry.kind },
    ),
    imports: info.imports.flatMap((entry) =>
      entry.kind === "func" ? [{ module: entry.module, name: entry.name, type: entry.type }] : [],
    ),
    memory: memory
      ? { minBytes: memory.min * 65536, maxBytes: memory.max === undefined ? null : memory.max * 65536 }
      : null,
    tables: info.tables.map((table, i) => ({
      element: table.element,
      min: table.min,
      capacity: capacities[i] ?? 0,
    })),
    hasStart: info.start !== undefined,
    functionNames,
  };
}

/** ELF notes: name size, description size, type, name, description, each padded to 4 bytes (System V gABI, chapter 5). */
function noteAssembly(): string {
  const note = (type: number, label: string, content: string): string =>
    `.long 9, ${label}_end - ${label}, ${type}\n.asciz "barecell"\n.balign 4\n${label}:\n${content}\n${label}_end:\n.balign 4\n`;
  return (
    '.section .note.barecell, "a", @note\n.balign 4\n' +
    note(BC_NOTE_TYPE_DIGEST, "digest", ".zero 32") +
    note(BC_NOTE_TYPE_MANIFEST, "manifest", '.incbin "manifest.json"') +
    '.section .note.GNU-stack, "", @progbits\n'
  );
}
