/** Decides, for each import of an image, what stands behind its port. Default: nothing. */
import { BarecellError } from "../errors.ts";
import type { Image } from "../image/image.ts";
import type { ImageImport, Signature, ValueType } from "../image/manifest.ts";
import { WASI_MODULES } from "../wasi-modules.ts";
import type { CheckedHostFunction, CheckedHostImports } from "./host-function.ts";

/** What happens with an import that nobody grants. */
export type UnknownImports = "refuse" | "trap" | "default";

/** `host`: a function in JavaScript; `wasi`: a WASI function of the addon; `zero`: returns zeros; `closed`: its port stays closed. */
export type Grant = "host" | "wasi" | "zero" | "closed";

export interface BoundImport {
  readonly grant: Grant;
  readonly module: string;
  readonly name: string;
  readonly argumentCount: number;
  readonly resultCount: number;
  /** With grant "wasi": its place among the functions of the addon. */
  readonly wasiFunction?: number;
  /** With grant "host". */
  readonly hostFunction?: CheckedHostFunction;
}

/** The types of the functions that the addon has, as letters (i: i32, j: i64, f: f32, d: f64). */
export interface KnownFunction {
  /** Its place among them. */
  readonly place: number;
  readonly name: string;
  readonly params: string;
  readonly results: string;
}

const LETTERS: Readonly<Record<string, ValueType>> = { i: "i32", j: "i64", f: "f32", d: "f64" };
/** What a host call can carry (kHostCallMaxSlots in native/host_call.h). */
const MAX_ZERO_RESULTS = 16;

/**
 * @param provided the user's own functions, which come before all others
 * @param wasi the WASI functions that are granted, by name, or undefined if none are
 * @throws BARECELL_IMPORT_DENIED naming every import that is refused
 */
export function bindImports(
  image: Image,
  provided: CheckedHostImports,
  wasi: ReadonlyMap<string, KnownFunction> | undefined,
  unknownImports: UnknownImports,
): BoundImport[] {
  const refused: string[] = [];
  const bound = image.imports.map((entry): BoundImport => {
    const counts = {
      module: entry.module,
      name: entry.name,
      argumentCount: entry.type.params.length,
      resultCount: entry.type.results.length,
    };
    const hostFunction = provided.get(entry.module)?.get(entry.name);
    if (hostFunction) {
      if (hostFunction.type) checkType(entry, hostFunction.type);
      return { grant: "host", ...counts, hostFunction };
    }
    const found = WASI_MODULES.has(entry.module) ? wasi?.get(entry.name) : undefined;
    if (found) {
      checkType(entry, typeOfLetters(found));
      return { grant: "wasi", ...counts, wasiFunction: found.place };
    }
    if (unknownImports === "refuse") refused.push(`${entry.module}.${entry.name}`);
    if (unknownImports === "default" && entry.type.results.length > MAX_ZERO_RESULTS) {
      refused.push(`${entry.module}.${entry.name} (too many results)`);
    }
    return { grant: unknownImports === "default" ? "zero" : "closed", ...counts };
  });
  if (refused.length > 0) throw refusal(image, refused, wasi !== undefined);
  return bound;
}

function refusal(image: Image, names: readonly string[], hasWasi: boolean): BarecellError {
  const shown = names.slice(0, 10).join(", ") + (names.length > 10 ? `, and ${names.length - 10} more` : "");
  const wantsWasi = !hasWasi && names.some((name) => WASI_MODULES.has(name.split(".")[0] ?? ""));
  const cure = wantsWasi
    ? "grant WASI with the option wasi: {}"
    : 'grant them with the option imports, or boot with unknownImports "trap" or "default" (--unknown-imports) to run without them';
  return new BarecellError(
    "BARECELL_IMPORT_DENIED",
    `'${image.name}' imports what nobody grants: ${shown}; ${cure}`,
  );
}

function typeOfLetters(known: KnownFunction): Signature {
  const types = (letters: string): ValueType[] => [...letters].map((letter) => LETTERS[letter] ?? "i32");
  return { params: types(known.params), results: types(known.results) };
}

function checkType(entry: ImageImport, wanted: Signature): void {
  if (spell(wanted) === spell(entry.type)) return;
  throw new BarecellError(
    "BARECELL_IMPORT_DENIED",
    `the import '${entry.module}.${entry.name}' has the type ${spell(entry.type)}, but the function is ${spell(wanted)}`,
  );
}

/** `(i32, i32) -> (i32)` */
export function spell(type: Signature): string {
  return `(${type.params.join(", ")}) -> (${type.results.join(", ")})`;
}
