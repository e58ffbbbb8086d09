/** Modules from text, compiled through the API into a cache that all test files share. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import wabtInit from "wabt";
import { type BootOptions, type CompileOptions, compile, type Image, MicroVM } from "./barecell.ts";

const wabt = await wabtInit();

const FEATURES = {
  bulk_memory: true,
  multi_value: true,
  mutable_globals: true,
  reference_types: true,
  sat_float_to_int: true,
  sign_extension: true,
  simd: true,
};

/** WebAssembly text to binary, with function names. */
export function wat(name: string, text: string): Uint8Array {
  // As bytes: of a string wabt would take only the low byte of each character.
  const module = wabt.parseWat(`${name}.wat`, new TextEncoder().encode(text), FEATURES);
  try {
    return Uint8Array.from(module.toBinary({ write_debug_names: true }).buffer);
  } finally {
    module.destroy();
  }
}

/** The cache's own key knows released versions; while the compiler is being worked on, its sources are part of the folder's name. */
function cacheFolder(): string {
  const folder = fileURLToPath(new URL("../../src/compiler/", import.meta.url));
  const hash = createHash("sha256");
  for (const file of readdirSync(folder).sort()) hash.update(readFileSync(join(folder, file)));
  return join(tmpdir(), `barecell-test-cache-${process.getuid?.() ?? 0}`, hash.digest("hex").slice(0, 16));
}

export const CACHE_FOLDER: string = cacheFolder();

export function imageOfBytes(module: Uint8Array, options: CompileOptions = {}): Promise<Image> {
  return compile(module, { cache: CACHE_FOLDER, ...options });
}

export function imageOf(name: string, text: string, options: CompileOptions = {}): Promise<Image> {
  return imageOfBytes(wat(name, text), { name, ...options });
}

/** Name, text, and which import modules stand for others of the list. */
export type NamedText = readonly [name: string, text: string, link?: Readonly<Record<string, string>>];

/** Several modules in one image. */
export function imageOfModules(modules: readonly NamedText[], options: CompileOptions = {}): Promise<Image> {
  const list = modules.map(([name, text, link]) => ({
    name,
    source: wat("module", text),
    ...(link === undefined ? {} : { link }),
  }));
  return compile(list, { cache: CACHE_FOLDER, ...options });
}

/** Boots a VM for the length of a test. */
export async function withVm<T>(
  image: Image,
  options: BootOptions,
  body: (vm: MicroVM) => T | Promise<T>,
): Promise<T> {
  const vm = await MicroVM.boot(image, options);
  try {
    return await body(vm);
  } finally {
    vm.dispose();
  }
}
