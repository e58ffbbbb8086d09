/** The modules that are compiled into one image: read, validated, named. */
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { BarecellError } from "../errors.ts";
import type { LinkUnit } from "./linker.ts";
import type { CheckedCompileOptions } from "./options.ts";
import { readModuleOrImage } from "./source.ts";
import { validateModule } from "./validate.ts";

/** One of several modules for one image. */
export interface ModuleSource {
  /** What the others import it as; names are unique. */
  readonly name: string;
  /** The module's bytes, or the path of its file. */
  readonly source: Uint8Array | string | URL;
  /** Names of import modules that stand for other modules of the list, where they differ: `{ env: "runtime" }`. */
  readonly link?: Readonly<Record<string, string>>;
}

/** A module with its bytes. */
export interface CompileUnit extends LinkUnit {
  readonly bytes: Uint8Array;
}

/** @throws BARECELL_ARGUMENT_INVALID, BARECELL_FILE_UNREADABLE, BARECELL_MODULE_* */
export async function readUnits(
  source: Uint8Array | string | URL | readonly ModuleSource[],
  options: CheckedCompileOptions,
): Promise<CompileUnit[]> {
  const list = Array.isArray(source) ? checkList(source, options) : undefined;
  const single = source as Uint8Array | string | URL;
  const sources: readonly ModuleSource[] = list ?? [{ name: options.name ?? nameOf(single), source: single }];
  const units: CompileUnit[] = [];
  for (const { name, source: input, link } of sources) {
    const isOneOfSeveral = list !== undefined;
    const bytes = await readSource(input, options.maxModuleBytes).catch((error: unknown) => {
      throw named(name, isOneOfSeveral, error);
    });
    try {
      const info = validateModule(bytes, options.maxModuleBytes);
      units.push({ name, bytes, info, link: link ?? {} });
    } catch (error) {
      throw named(name, isOneOfSeveral, error);
    }
  }
  return units;
}

function checkList(list: readonly ModuleSource[], options: CheckedCompileOptions): readonly ModuleSource[] {
  const invalid = (what: string): BarecellError => new BarecellError("BARECELL_ARGUMENT_INVALID", what);
  if (list.length === 0) throw invalid("the list of modules is empty");
  if (options.name !== undefined) throw invalid("name is for one module; each module of a list has its own");
  const names = new Set<string>();
  const copies: ModuleSource[] = [];
  for (const entry of list) {
    if (typeof entry !== "object" || entry === null || typeof entry.name !== "string") {
      throw invalid("each module of the list must be an object with a name and a source");
    }
    if (names.has(entry.name)) throw invalid(`two modules of the list have the name '${entry.name}'`);
    names.add(entry.name);
    const link: unknown = entry.link ?? {};
    if (typeof link !== "object" || link === null) throw invalid(`link of '${entry.name}' must be an object`);
    // Copies, since reading takes time and the caller may change its list meanwhile.
    copies.push({ name: entry.name, source: entry.source, link: { ...link } });
  }
  for (const { name, link } of copies) {
    for (const target of Object.values(link ?? {})) {
      if (typeof target !== "string" || !names.has(target)) {
        throw invalid(`link of '${name}' names '${String(target)}', and there is no module of that name`);
      }
    }
  }
  return copies;
}

/** Says which of several modules an error is about. */
function named(name: string, isOneOfSeveral: boolean, error: unknown): unknown {
  if (!isOneOfSeveral || !(error instanceof BarecellError)) return error;
  return new BarecellError(error.code, `'${name}': ${error.message}`, { cause: error.cause });
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
  throw new BarecellError(
    "BARECELL_ARGUMENT_INVALID",
    "source must be a path, a URL, a Uint8Array, or a list of { name, source }",
  );
}

function nameOf(source: Uint8Array | string | URL): string {
  if (source instanceof URL || typeof source === "string") {
    const path = source instanceof URL ? fileURLToPath(source) : source;
    return basename(path).replace(/\.wasm$/, "");
  }
  return "module";
}
