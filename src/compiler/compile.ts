/** modules -> validate -> link plan -> wasm2c -> cc -> link -> image. */
import { rmSync } from "node:fs";
import { mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  BC_LINEAR_MAX_BYTES,
  BC_MAILBOX_HEADER_BYTES,
  BC_NOTE_TYPE_DIGEST,
  BC_NOTE_TYPE_MANIFEST,
  BC_PAGE_SIZE,
  BC_SLOT_BYTES,
} from "../abi.ts";
import { BarecellError, errorText, systemErrorCode } from "../errors.ts";
import { readElf } from "../image/elf-reader.ts";
import { fileDigest, Image, readNotes, withBundle } from "../image/image.ts";
import { buildPageTables, linearVirtual, readLayout } from "../image/layout.ts";
import { fixedTablePages } from "../image/page-tables.ts";
import { type CompileMessage, compileChannel, observed } from "../observe/channels.ts";
import { countCompile } from "../observe/metrics.ts";
import { packageVersion } from "../version.ts";
import { adaptGeneratedCode } from "./adapt.ts";
import { packBundles } from "./bundle-source.ts";
import { cacheKey, defaultCacheFolder, readCache, runtimeKey, writeCache } from "./cache.ts";
import { throwIfCancelled } from "./cancel.ts";
import { canonicalModule, importModule, moduleName } from "./canonical-module.ts";
import { buildImage, readLinked, type Sources } from "./cc.ts";
import { describeImage, tableCapacities } from "./describe.ts";
import { EntryList } from "./entries.ts";
import { glueSource, linkedSymbols, mailboxSlots } from "./glue.ts";
import { adaptIndirectCalls, numberFunctionTypes } from "./indirect-calls.ts";
import {
  chunkFile,
  dataInImage,
  type LinearLayout,
  linearAssembly,
  linearLayout,
  linearLinkerScript,
} from "./linear-layout.ts";
import { type LinkPlan, linkModules } from "./linker.ts";
import { meterModule, type Payments } from "./metering.ts";
import { type CompileOptions, checkCompileOptions, type LeveledOptions, levelFor } from "./options.ts";
import { divide } from "./parts.ts";
import { type CompileUnit, type ModuleSource, readUnits } from "./sources.ts";
import {
  type CCompiler,
  compilerIncludeFolder,
  compilerVersion,
  findCCompiler,
  findSimde,
} from "./toolchain.ts";
import { unsupported } from "./validate.ts";
import { filesOf, type Translation, translateToC } from "./wasm2c.ts";

/**
 * Compiles a WebAssembly module, or several that import from each other, to an image.
 * @param source the module's bytes, or the path of its file; or a list of modules in the order in which they are instantiated: each can import
 *   what those before it export, and the last one is the main module, whose exports are the image's own
 * @throws BarecellError: BARECELL_MODULE_* for a module, BARECELL_LINK_FAILED for imports between modules, BARECELL_COMPILE_* for the tools,
 *   BARECELL_CANCELLED, BARECELL_COMPILER_MISSING, BARECELL_FILE_UNREADABLE, BARECELL_FILE_UNWRITABLE (cache), BARECELL_BUNDLE_INVALID,
 *   BARECELL_ARGUMENT_INVALID
 */
export async function compile(
  source: Uint8Array | string | URL | readonly ModuleSource[],
  options: CompileOptions = {},
): Promise<Image> {
  const message: CompileMessage = { modules: [], isCached: false };
  const act = (): Promise<Image> => compileOrFind(source, options, message);
  try {
    const image = await (compileChannel.hasSubscribers ? observed(compileChannel, message, act) : act());
    countCompile(message.isCached ? "cached" : "compiled");
    return image;
  } catch (error) {
    countCompile("failedCompiles");
    throw error;
  }
}

/** @param message is told what came to be known */
async function compileOrFind(
  source: Uint8Array | string | URL | readonly ModuleSource[],
  options: CompileOptions,
  message: CompileMessage,
): Promise<Image> {
  const given = checkCompileOptions(options);
  throwIfCancelled(given.signal);
  given.onProgress("validate");
  const units = await readUnits(source, given);
  const moduleBytes = units.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const checked = { ...given, level: levelFor(given.optimize, moduleBytes) };
  message.modules = units.map(({ name }) => name);
  // Before the work, so that what cannot be packed is said at once.
  const bundle = await packBundles(checked.bundle, checked.maxBundleBytes);
  const image = await compileUnits(units, checked, message);
  return bundle === undefined ? image : withBundle(image, bundle);
}

/** From the cache, if it is there. Files are no part of what is cached: other files make no other code. */
async function compileUnits(
  units: readonly CompileUnit[],
  checked: LeveledOptions,
  message: CompileMessage,
): Promise<Image> {
  const plan = linkModules(units);
  const compiler = findCCompiler();
  const folder = checked.cache === undefined ? defaultCacheFolder() : checked.cache;
  const key = folder === false ? "" : cacheKey(units, compiler, packageVersion, checked);
  if (folder !== false) {
    const cached = await readCache(folder, key);
    throwIfCancelled(checked.signal);
    if (cached) {
      checked.onProgress("cached");
      message.isCached = true;
      return cached;
    }
  }
  const image = await compileFresh(units, plan, compiler, folder, checked);
  throwIfCancelled(checked.signal);
  if (folder !== false) await writeCache(folder, key, image);
  checked.onProgress("done");
  return image;
}

async function compileFresh(
  units: readonly CompileUnit[],
  plan: LinkPlan,
  compiler: CCompiler,
  cache: string | false,
  options: LeveledOptions,
): Promise<Image> {
  const folder = await makeFolder();
  // A caller that ends the process in the middle (process.exit in a signal handler) must not leave the folder behind. The compiler may
  // still write for a moment, hence the retries.
  const removeAtExit = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  process.once("exit", removeAtExit);
  try {
    options.onProgress("translate");
    const modules = canonicalModules(units, plan, options.metering);
    const [translations, version, include] = await Promise.all([
      translateToC(modules, folder, options),
      compilerVersion(compiler),
      compilerIncludeFolder(compiler),
    ]);
    const payments = paymentsOf(modules, options.metering);
    const sources: Sources = {
      ...imageSources(units, plan, translations, payments, version, options),
      ...{ include, cache, runtimeKey: runtimeKey(compiler, options) },
    };
    const elfPath = await buildImage(compiler, sources, folder, options);
    return finishImage(await readLinked(elfPath));
  } catch (error) {
    throwIfCancelled(options.signal);
    // Not every tool says that this is its trouble: wasm2c writes half a file and is content.
    if (systemErrorCode(error) === "ENOSPC" || (await isFull(folder))) throw noTemporarySpace(error);
    throw error;
  } finally {
    process.removeListener("exit", removeAtExit);
    await rm(folder, { recursive: true, force: true });
  }
}

function canonicalModules(
  units: readonly CompileUnit[],
  plan: LinkPlan,
  metering: boolean,
): PreparedModule[] {
  return units.map(({ name, bytes, info }, module) => {
    const moduleOfImport = (importIndex: number): string => {
      const resolved = plan.modules[module]?.imports[importIndex];
      return importModule(module, resolved?.from === "module" ? resolved.module : undefined);
    };
    const canonical = canonicalModule(bytes, info, moduleOfImport, dataInImage(info));
    const metered = metering ? meterModule(canonical, info) : undefined;
    return { name, bytes: metered?.bytes ?? canonical, payments: metered?.payments };
  });
}

/** As wasm2c gets it. */
interface PreparedModule {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Undefined without metering, and where metering found an instruction that it does not know. */
  readonly payments: Payments | undefined;
}

/** By module. wasm2c has the first word on what is beyond WebAssembly 2.0, since it can name the proposal; should it have nothing to say, this is the last. */
function paymentsOf(modules: readonly PreparedModule[], metering: boolean): (Payments | undefined)[] {
  return modules.map(({ name, payments }) => {
    if (metering && !payments) {
      throw unsupported("an instruction that metering does not know", undefined, `the module '${name}'`);
    }
    return payments;
  });
}

/** All that the C compiler and the linker get to see. */
function imageSources(
  units: readonly CompileUnit[],
  plan: LinkPlan,
  translations: readonly Translation[],
  payments: readonly (Payments | undefined)[],
  version: string,
  options: LeveledOptions,
): Omit<Sources, "include" | "cache" | "runtimeKey"> {
  const entries = new EntryList(units, !options.instantiateAtBoot);
  const generated = numberFunctionTypes(translations.map(({ source }) => source));
  const withVectors = translations.map(usesVectors);
  const hasVectors = withVectors.includes(true);
  const capacities = tableCapacities(units, generated, options.maxTableElements);
  const manifest = describeImage(units, plan, entries, capacities, version, options, hasVectors);
  const linear = plan.memories.map(({ module, index }, place) => {
    const { bytes, info } = units[module] as CompileUnit;
    return linearLayout(bytes, info, index, place);
  });
  return {
    modulesC: generated.flatMap((source, module) => {
      const { info } = units[module] as CompileUnit;
      const own = plan.modules[module]?.memories ?? [];
      const base = own.length > 1 ? undefined : linearVirtual(own[0] ?? 0);
      const name = moduleName(module);
      const adapted =
        HIDDEN +
        (withVectors[module] ? VECTOR_HEADER : "") +
        (payments[module] ? FUEL_HEADER : "") +
        adaptIndirectCalls(adaptGeneratedCode(source, base, dataInImage(info), payments[module]), name);
      return divide(name, filesOf(adapted), options.level);
    }),
    glueC:
      (hasVectors ? VECTOR_HEADER : "") +
      glueSource({
        units,
        plan,
        entries,
        headers: translations.map(({ header }) => header),
        instantiateAtBoot: options.instantiateAtBoot,
        tableCapacities: capacities,
      }),
    imageS: noteAssembly() + linearAssembly(linear),
    files: new Map<string, string | Uint8Array>([
      ["manifest.json", JSON.stringify(manifest)],
      ...linear.flatMap(({ place, chunks }) =>
        chunks.map((chunk, i) => [chunkFile(place, i), chunk.bytes] as const),
      ),
    ]),
    linearScript: linearLinkerScript(linear),
    linkedSymbols: linkedSymbols(units, plan),
    symbols: linkerSymbols(units, capacities, linear, options),
    simde: hasVectors ? findSimde() : undefined,
  };
}

/** Also of what is only declared: it is all in one image, so no address needs to be looked up. */
const HIDDEN = "#pragma GCC visibility push(hidden)\n";
const VECTOR_HEADER = '#include "vector.h"\n';
const FUEL_HEADER = '#include "fuel.h"\n';

/** Whether C of wasm2c's has vectors: their type, or a structure of results with one (its letter is `o`). */
function usesVectors({ source, header }: Translation): boolean {
  const vector = /\bv128\b|\bwasm_multi_[a-z]*o/;
  return vector.test(source) || vector.test(header);
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

/** Bytes of one element in the guest: a funcref is type, code, tail-call code and instance; an externref one word. */
const ELEMENT_BYTES = { funcref: 32, externref: 8 } as const;

function linkerSymbols(
  units: readonly CompileUnit[],
  capacities: readonly (readonly number[])[],
  linear: readonly LinearLayout[],
  options: LeveledOptions,
): Map<string, number> {
  const arenaBytes = units
    .flatMap(({ info }, module) =>
      info.tables
        .slice(info.imported.table)
        .map((table, i) => (capacities[module]?.[i] ?? 0) * ELEMENT_BYTES[table.element]),
    )
    .reduce((sum, bytes) => sum + bytes, 0);
  if (arenaBytes > 2 ** 30) {
    throw new BarecellError(
      "BARECELL_MEMORY_LIMIT",
      `the module's tables take ${arenaBytes} bytes, more than 1 GiB`,
    );
  }
  const mailboxBytes = BC_MAILBOX_HEADER_BYTES + mailboxSlots(units) * BC_SLOT_BYTES;
  return new Map([
    ["bc_mailbox_bytes", Math.ceil(mailboxBytes / BC_PAGE_SIZE) * BC_PAGE_SIZE],
    ["bc_stack_bytes", options.stackBytes],
    ["bc_arena_bytes", arenaBytes],
    [
      "bc_fixed_tables",
      fixedTablePages(
        linear.map(({ place, minBytes, maxBytes, chunks }) => ({
          virtual: linearVirtual(place),
          initialBytes: minBytes,
          maxBytes: maxBytes ?? BC_LINEAR_MAX_BYTES,
          cuts: chunks.map(({ start }) => start),
        })),
        options.stackBytes,
      ),
    ],
  ]);
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
