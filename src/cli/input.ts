/** Reads a file that is a module or an image, and makes an image of it. */
import { basename } from "node:path";
import { compile } from "../compiler/compile.ts";
import type { CompileOptions, CompileStep } from "../compiler/options.ts";
import { readModuleOrImage } from "../compiler/source.ts";
import type { ModuleSource } from "../compiler/sources.ts";
import { Image } from "../image/image.ts";
import { showProgress } from "./progress.ts";
import { usageError } from "./report.ts";
import type { OptionsOf } from "./table.ts";

/** The compiler's default. */
const MAX_MODULE_BYTES = 64 * 2 ** 20;

/** The options that `run`, `compile` and `inspect` share. */
export type SharedOptions = Pick<
  OptionsOf<"run">,
  "targetCpu" | "stackSize" | "optimize" | "metering" | "cache"
> &
  Pick<OptionsOf<"compile">, "bundle" | "maxBundle">;

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
  more: { readonly name?: string; readonly onlyModule?: boolean; readonly wantsMetering?: boolean } = {},
): Promise<ObtainedImage> {
  const started = performance.now();
  const { kind, bytes } = await readModuleOrImage(path, MAX_MODULE_BYTES);
  let isCached = false;
  let image: Image;
  if (kind === "image") {
    if (more.onlyModule) throw usageError(`${path} is an image already; compile takes a module`);
    refuseCompileOptions(options);
    image = Image.fromBytes(bytes);
  } else {
    const wanted = more.wantsMetering ? { ...options, metering: true } : options;
    const compileOptions = compileOptionsOf(path, wanted, more.name);
    image = await compileShown(bytes, compileOptions.name ?? "module", compileOptions, () => {
      isCached = true;
    });
  }
  return { image, kind, isCached, compileUs: (performance.now() - started) * 1000 };
}

/**
 * Compiles several modules to one image.
 * @param words `file.wasm` or `name=file.wasm`
 */
export async function linkImage(words: readonly string[], options: SharedOptions): Promise<ObtainedImage> {
  const started = performance.now();
  const modules = words.map((word): ModuleSource => {
    const [, name, file] = /^([^/=]*)=(.*)$/s.exec(word) ?? [];
    if (name === undefined || file === undefined) return { name: moduleNameOf(word), source: word };
    if (name === "" || file === "") throw usageError(`'${word}' is not name=file.wasm`);
    return { name, source: file };
  });
  let isCached = false;
  const { name: main, ...compileOptions } = compileOptionsOf(words.at(-1) ?? "", options, undefined);
  const image = await compileShown(modules, `${main} (${modules.length} modules)`, compileOptions, () => {
    isCached = true;
  });
  return { image, kind: "module", isCached, compileUs: (performance.now() - started) * 1000 };
}

const moduleNameOf = (path: string): string => basename(path).replace(/\.wasm$/, "");

/** An option that would have no effect is a mistake of whoever gave it. */
function refuseCompileOptions(options: SharedOptions): void {
  const given = (["targetCpu", "stackSize", "optimize", "metering"] as const).find(
    (key) => options[key] !== undefined,
  );
  if (given === undefined) return;
  const spelled = given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw usageError(`--${spelled} is for modules; an image is compiled already`);
}

function compileOptionsOf(path: string, options: SharedOptions, name: string | undefined): CompileOptions {
  return {
    name: name ?? moduleNameOf(path),
    maxModuleBytes: MAX_MODULE_BYTES,
    ...(options.targetCpu === undefined ? {} : { targetCpu: options.targetCpu }),
    ...(options.stackSize === undefined ? {} : { stackBytes: options.stackSize }),
    ...(options.optimize === undefined ? {} : { optimize: options.optimize }),
    ...(options.metering === undefined ? {} : { metering: options.metering }),
    ...(options.cache === false ? { cache: false } : {}),
    ...(options.bundle === undefined ? {} : { bundle: bundlesOf(options.bundle) }),
    ...(options.maxBundle === undefined ? {} : { maxBundleBytes: options.maxBundle }),
  };
}

/** @throws if two folders have one path in the guest */
function bundlesOf(folders: NonNullable<SharedOptions["bundle"]>): Record<string, string> {
  const names = folders.map(({ guest }) => guest);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw usageError(`two folders have the path '${twice}' in the guest`);
  return Object.fromEntries(folders.map(({ guest, host }) => [guest, host]));
}

/** Shell convention: a program that a signal ended has the status 128 + its number. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Compiles with progress on a terminal. A signal ends the process in order: compiler stopped, temporary files removed. */
async function compileShown(
  source: Uint8Array | readonly ModuleSource[],
  what: string,
  options: CompileOptions,
  onCached: () => void,
): Promise<Image> {
  const progress = showProgress(`compiling ${what}`);
  const removers = Object.entries(SIGNALS).map(([signal, status]) => {
    const end = (): void => {
      progress.end();
      process.exit(status);
    };
    process.once(signal, end);
    return () => process.removeListener(signal, end);
  });
  try {
    return await compile(source, {
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
