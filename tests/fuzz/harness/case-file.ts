/** A unit as files: `NAME.json` with the calls and where they came from, and `NAME.MODULE.wasm` (or `.wat`, for people to write) beside it. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import wabtInit from "wabt";
import type { CompileSettings } from "../engines/vm.ts";
import { decodeModule } from "../wasm/decode.ts";
import { typeOfFunction } from "../wasm/module.ts";
import { type Difference, textOfCall } from "./compare.ts";
import type { NanRule } from "./nan.ts";
import type { Unit, UnitModule } from "./unit.ts";

/** What `NAME.json` holds. */
interface CaseFile {
  readonly origin: string;
  readonly settings: CompileSettings;
  readonly nan?: NanRule;
  readonly difference?: Difference & { readonly text?: string };
  readonly modules: readonly {
    readonly name: string;
    readonly file: string;
    readonly link: Readonly<Record<string, string>>;
  }[];
  /** Arguments as hexadecimal bits. */
  readonly calls: readonly {
    readonly module: string;
    readonly export: string;
    readonly args: readonly string[];
  }[];
}

const FEATURES = {
  bulk_memory: true,
  multi_value: true,
  mutable_globals: true,
  reference_types: true,
  sat_float_to_int: true,
  sign_extension: true,
  simd: true,
};

export interface Case {
  readonly unit: Unit;
  readonly settings: CompileSettings;
}

/** @returns the path of the .json file */
export async function saveCase(
  folder: string,
  name: string,
  { unit, settings }: Case,
  difference: Difference | undefined,
): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const call = difference?.call === undefined ? undefined : unit.calls[difference.call];
  const file: CaseFile = {
    origin: unit.origin,
    settings,
    ...(unit.nan && { nan: unit.nan }),
    ...(difference && { difference: { ...difference, ...(call && { text: textOfCall(call) }) } }),
    modules: unit.modules.map(({ name: module, link }) => ({
      name: module,
      file: `${name}.${module.replace(/[^a-z0-9-]/gi, "_")}.wasm`,
      link,
    })),
    calls: unit.calls.map(({ module, export: exported, args }) => ({
      module,
      export: exported,
      args: args.map((bits) => `0x${bits.toString(16)}`),
    })),
  };
  for (const [i, { bytes }] of unit.modules.entries()) {
    const path = join(folder, file.modules[i]?.file ?? "");
    writeFileSync(path, bytes);
    const text = await textOfModule(bytes);
    if (text !== undefined) writeFileSync(path.replace(/\.wasm$/, ".wat"), text);
  }
  const path = join(folder, `${name}.json`);
  writeFileSync(path, `${JSON.stringify(file, undefined, 2)}\n`);
  return path;
}

/** For people; undefined if wabt cannot. */
async function textOfModule(bytes: Uint8Array): Promise<string | undefined> {
  try {
    const module = (await wabtInit()).readWasm(bytes, FEATURES);
    try {
      return module.toText({});
    } finally {
      module.destroy();
    }
  } catch {
    return undefined;
  }
}

export async function loadCase(path: string): Promise<Case> {
  const file = JSON.parse(readFileSync(path, "utf8")) as CaseFile;
  const modules: UnitModule[] = [];
  for (const { name, file: source, link } of file.modules) {
    modules.push({ name, link, bytes: await readModule(join(dirname(path), source)) });
  }
  const calls = file.calls.map(({ module, export: exported, args }) => {
    const found = modules.find(({ name }) => name === module);
    if (!found) throw new Error(`${path}: there is no module ${module}`);
    const decoded = decodeModule(found.bytes);
    const index = decoded.exports.find(({ name }) => name === exported)?.index ?? -1;
    return {
      module,
      export: exported,
      type: typeOfFunction(decoded, index),
      args: args.map((bits) => BigInt(bits)),
    };
  });
  return {
    unit: { origin: `${basename(path)} (${file.origin})`, modules, calls, nan: file.nan },
    settings: file.settings,
  };
}

async function readModule(path: string): Promise<Uint8Array> {
  const bytes = Uint8Array.from(readFileSync(path));
  if (!path.endsWith(".wat")) return bytes;
  const module = (await wabtInit()).parseWat(path, bytes, FEATURES);
  try {
    return Uint8Array.from(module.toBinary({}).buffer);
  } finally {
    module.destroy();
  }
}
