/** Which files a run is about, and the names that reports give them: never a path of the machine. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

export interface SpecFile {
  readonly path: string;
  readonly name: string;
  /** A script, or a module on its own that only has to do no harm. */
  readonly kind: "script" | "module";
}

export class UsageError extends Error {
  override readonly name = "UsageError";
}

function projectRoot(from: string): string {
  if (existsSync(join(from, "package.json"))) return from;
  const parent = dirname(from);
  if (parent === from) throw new Error("the project's package.json was not found");
  return projectRoot(parent);
}

/** Holds whether this runs from tests/spec or from build/spec. */
export const PROJECT = projectRoot(dirname(fileURLToPath(import.meta.url)));

/** The official scripts; no part of the project, so they may be absent. */
export const SPEC_DATA = resolve(
  process.env["BARECELL_TEST_DATA"] ?? join(PROJECT, "..", "shared", "data"),
  "spec",
);

const KINDS: Readonly<Record<string, SpecFile["kind"]>> = { ".wast": "script", ".wasm": "module" };
const kindOf = (path: string): SpecFile["kind"] | undefined => KINDS[path.slice(path.lastIndexOf("."))];

/**
 * @param places files and folders; folders are searched through
 * @throws UsageError
 */
export function collectFiles(places: readonly string[]): SpecFile[] {
  const files = new Map<string, SpecFile>();
  for (const place of places) {
    const path = find(place);
    const found = statSync(path).isDirectory() ? inFolder(path) : [path];
    if (found.length === 0) throw new UsageError(`no .wast or .wasm file is in ${place}`);
    for (const file of found) {
      const kind = kindOf(file);
      if (kind === undefined) throw new UsageError(`${place} is neither a .wast nor a .wasm file`);
      files.set(file, { path: file, name: nameOf(file, path), kind });
    }
  }
  return [...files.values()];
}

/** npm runs scripts in the project's folder, and says where it was called. */
function find(place: string): string {
  const bases = [process.cwd(), process.env["INIT_CWD"] ?? process.cwd()];
  const path = bases.map((base) => resolve(base, place)).find((candidate) => existsSync(candidate));
  if (path === undefined) throw new UsageError(`there is no file or folder ${place}`);
  return path;
}

function inFolder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && kindOf(entry.name) !== undefined)
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function nameOf(file: string, given: string): string {
  const inData = relative(SPEC_DATA, file);
  const name = inData.startsWith("..") ? relative(dirname(given), file) : inData;
  return (name === "" ? basename(file) : name).split(sep).join("/");
}
