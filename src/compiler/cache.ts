/**
 * Compiled images, kept under the digest of everything that went into them. Writers in several processes are safe: a file appears
 * whole, by rename, and equal keys have equal contents.
 */
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import { BC_ABI_VERSION } from "../abi.ts";
import { BarecellError, errorText, systemErrorCode } from "../errors.ts";
import { Image } from "../image/image.ts";
import { COMMON_FLAGS, meteringFlags, moduleFlags, RUNTIME_FLAGS, STUBS, targetFlags } from "./cc.ts";
import type { CheckedCompileOptions, LeveledOptions } from "./options.ts";
import { type CCompiler, simdeIdentity } from "./toolchain.ts";

/** `$XDG_CACHE_HOME/barecell`, or `~/.cache/barecell` (XDG base directory specification). */
export function defaultCacheFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const base = environment["XDG_CACHE_HOME"];
  return join(base?.startsWith("/") ? base : join(homedir(), ".cache"), "barecell");
}

/** What of a module the key depends on. */
export interface CachedModule {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly link: Readonly<Record<string, string>>;
}

/** @param version of the package */
export function cacheKey(
  modules: readonly CachedModule[],
  compiler: CCompiler,
  version: string,
  options: LeveledOptions,
): string {
  const inputs = {
    modules: modules.map(({ name, bytes, link }) => ({
      name,
      digest: createHash("sha256").update(bytes).digest("hex"),
      link: Object.entries(link).sort(),
    })),
    instantiateAtBoot: options.instantiateAtBoot,
    abi: BC_ABI_VERSION,
    version,
    stubs: stubsDigest(),
    compiler: compiler.identity,
    simde: simdeIdentity(),
    flags: [
      ...COMMON_FLAGS,
      ...moduleFlags(options.level, true),
      // Of what gains nothing from a higher level (parts.ts).
      ...moduleFlags(1, true),
      ...targetFlags(options.targetCpu),
      ...meteringFlags(options.metering),
    ],
    level: options.level,
    stackBytes: options.stackBytes,
    maxTableElements: options.maxTableElements,
  };
  return createHash("sha256").update(JSON.stringify(inputs)).digest("hex");
}

/** As `cacheKey`, of the guest's runtime alone (see runtime-object.ts). */
export function runtimeKey(compiler: CCompiler, options: CheckedCompileOptions): string {
  const inputs = {
    stubs: stubsDigest(),
    compiler: compiler.identity,
    flags: [
      ...COMMON_FLAGS,
      ...RUNTIME_FLAGS,
      ...targetFlags(options.targetCpu),
      ...meteringFlags(options.metering),
    ],
  };
  return createHash("sha256").update(JSON.stringify(inputs)).digest("hex");
}

let knownStubsDigest: string | undefined;

/** The guest's own sources, so that a change to them during development misses the cache. */
function stubsDigest(): string {
  if (knownStubsDigest !== undefined) return knownStubsDigest;
  const hash = createHash("sha256");
  const files = readdirSync(STUBS, { withFileTypes: true, recursive: true }).filter((entry) =>
    entry.isFile(),
  );
  for (const path of files.map((entry) => join(entry.parentPath, entry.name)).sort()) {
    hash.update(`${relative(STUBS, path)}\0`).update(readFileSync(path));
  }
  knownStubsDigest = hash.digest("hex");
  return knownStubsDigest;
}

const fileOf = (folder: string, key: string): string => join(folder, `${key}.cell`);

/** @returns undefined if there is no intact image under the key; a damaged one is removed */
export async function readCache(folder: string, key: string): Promise<Image | undefined> {
  const path = fileOf(folder, key);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch {
    return undefined;
  }
  try {
    const image = Image.fromBytes(bytes);
    // For those who clean up by last use; failing to note it is no reason to fail.
    await utimes(path, new Date(), new Date()).catch(() => {});
    return image;
  } catch {
    await rm(path, { force: true });
    return undefined;
  }
}

/** @throws BARECELL_FILE_UNWRITABLE; nothing is left behind then */
export async function writeCache(folder: string, key: string, image: Image): Promise<void> {
  const temporary = join(folder, `.${key}.${process.pid}.${randomBytes(6).toString("hex")}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(temporary, image.bytes, { flag: "wx", mode: 0o600 });
    await rename(temporary, fileOf(folder, key));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    const why = systemErrorCode(cause) === "ENOSPC" ? "no space is left on the device" : errorText(cause);
    throw new BarecellError(
      "BARECELL_FILE_UNWRITABLE",
      `cannot write to the cache ${folder}: ${why}; free some space, set XDG_CACHE_HOME, or use no cache (--no-cache)`,
      { cause },
    );
  }
}
