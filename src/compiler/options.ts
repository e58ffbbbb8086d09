/** Options of `compile()`, checked and completed. */
import { BC_PAGE_SIZE } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import { hostTargetCpu, TARGET_CPUS, type TargetCpu } from "../image/target-cpu.ts";
import { type BundleSource, type CheckedBundles, checkBundles } from "./bundle-source.ts";
import type { ToolLimits } from "./process.ts";

export interface CompileOptions {
  /** A name for the module, in messages and in the image. Default: the file's name, or "module". Of several modules each has its own. */
  readonly name?: string;
  /**
   * Processor level the code may use. Default "host", the highest that this machine has; "x86-64-v2" makes an image for every x86-64 server of the last
   * decade. The image says which one it is for, and is refused elsewhere (BARECELL_IMAGE_CPU).
   */
  readonly targetCpu?: TargetCpu | "host";
  /** Level of the C compiler, or "quick" for the soonest result. Default 2; a module from 4 MiB on is compiled at 1 then, which takes half the time. */
  readonly optimize?: 0 | 1 | 2 | 3 | "quick";
  /** The guest's stack, bytes; rounded up to whole pages. Default 1 MiB, at most 256 MiB. */
  readonly stackBytes?: number;
  /** Most elements that a table without a smaller maximum can grow to. Default 65,536. */
  readonly maxTableElements?: number;
  /** Directories to pack into the image, by the paths under which a guest that is granted WASI finds them, only to read. Default: none. */
  readonly bundle?: Readonly<Record<string, BundleSource>>;
  /** Most bytes of all files to be packed. Default 256 MiB, at most 1 GiB. */
  readonly maxBundleBytes?: number;
  /** Folder of the cache, or false for none. Default `$XDG_CACHE_HOME/barecell` or `~/.cache/barecell`. */
  readonly cache?: string | false;
  /** Largest module, bytes. Default 64 MiB. */
  readonly maxModuleBytes?: number;
  /** Time for wasm2c, and for the C compiler, milliseconds. Default 300,000. */
  readonly compileTimeoutMs?: number;
  /** Address space of a compiler process, bytes. Default 8 GiB. */
  readonly compileMemoryBytes?: number;
  /** Largest file that a compiler process may write, bytes. Default 1 GiB. */
  readonly compileOutputBytes?: number;
  /** Whether booting instantiates all modules ("boot", default), or `vm.instantiate(name)` each when asked. */
  readonly instantiate?: "boot" | "on-demand";
  /** Whether the code counts what it executes, so that calls can have a limit of fuel (docs/limits.md). Default false; it costs speed. */
  readonly metering?: boolean;
  /** Ends the compilation when it is aborted: its processes are killed, its files removed. */
  readonly signal?: AbortSignal;
  /** Called when a step begins. */
  readonly onProgress?: (step: CompileStep) => void;
}

export type CompileStep = "validate" | "cached" | "translate" | "compile" | "link" | "done";

export interface CheckedCompileOptions {
  readonly name: string | undefined;
  readonly targetCpu: TargetCpu;
  readonly optimize: 0 | 1 | 2 | 3 | "quick";
  readonly stackBytes: number;
  readonly maxTableElements: number;
  readonly bundle: CheckedBundles;
  readonly maxBundleBytes: number;
  readonly cache: string | false | undefined;
  readonly maxModuleBytes: number;
  readonly compileTimeoutMs: number;
  readonly compileMemoryBytes: number;
  readonly compileOutputBytes: number;
  readonly instantiateAtBoot: boolean;
  readonly metering: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (step: CompileStep) => void;
}

/** A level of the C compiler; "g" is gcc's own for the soonest result ("optimize for debugging": no pass that takes long). */
export type CodeLevel = 0 | 1 | 2 | 3 | "g";

/** Options of a compilation whose modules are known. */
export interface LeveledOptions extends CheckedCompileOptions {
  readonly level: CodeLevel;
}

const MAX_STACK_BYTES = 256 * 2 ** 20;
const MIN_STACK_BYTES = 4 * BC_PAGE_SIZE;

/** @throws BARECELL_ARGUMENT_INVALID naming the option */
export function checkCompileOptions(options: CompileOptions): CheckedCompileOptions {
  if (typeof options !== "object" || options === null) {
    throw new BarecellError("BARECELL_ARGUMENT_INVALID", "compile options must be an object");
  }
  const wantedCpu = options.targetCpu ?? "host";
  const targetCpu = wantedCpu === "host" ? hostTargetCpu() : wantedCpu;
  if (!TARGET_CPUS.includes(targetCpu)) {
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `targetCpu must be one of host, ${TARGET_CPUS.join(", ")}, not '${String(targetCpu)}'`,
    );
  }
  const name = options.name;
  if (name !== undefined && typeof name !== "string") {
    throw new BarecellError("BARECELL_ARGUMENT_INVALID", "name must be a string");
  }
  const cache = options.cache;
  if (cache !== undefined && cache !== false && typeof cache !== "string") {
    throw new BarecellError("BARECELL_ARGUMENT_INVALID", "cache must be a folder's path or false");
  }
  const instantiate = options.instantiate ?? "boot";
  if (instantiate !== "boot" && instantiate !== "on-demand") {
    throw new BarecellError("BARECELL_ARGUMENT_INVALID", 'instantiate must be "boot" or "on-demand"');
  }
  const metering = options.metering ?? false;
  if (typeof metering !== "boolean") {
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `metering must be true or false, not ${String(metering)}`,
    );
  }
  const { signal } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new BarecellError("BARECELL_ARGUMENT_INVALID", "signal must be an AbortSignal");
  }
  const stackBytes = integer("stackBytes", options.stackBytes ?? 2 ** 20, MIN_STACK_BYTES, MAX_STACK_BYTES);
  return {
    name,
    targetCpu,
    optimize:
      options.optimize === "quick"
        ? "quick"
        : (integer("optimize", options.optimize ?? 2, 0, 3) as 0 | 1 | 2 | 3),
    stackBytes: Math.ceil(stackBytes / BC_PAGE_SIZE) * BC_PAGE_SIZE,
    maxTableElements: integer("maxTableElements", options.maxTableElements ?? 65_536, 0, 10_000_000),
    bundle: checkBundles(options.bundle ?? {}),
    maxBundleBytes: integer("maxBundleBytes", options.maxBundleBytes ?? 256 * 2 ** 20, 0, 2 ** 30),
    cache,
    maxModuleBytes: integer("maxModuleBytes", options.maxModuleBytes ?? 64 * 2 ** 20, 1, 2 ** 30),
    compileTimeoutMs: integer("compileTimeoutMs", options.compileTimeoutMs ?? 300_000, 1, 2 ** 31 - 1),
    compileMemoryBytes: integer(
      "compileMemoryBytes",
      options.compileMemoryBytes ?? 8 * 2 ** 30,
      2 ** 20,
      2 ** 50,
    ),
    compileOutputBytes: integer("compileOutputBytes", options.compileOutputBytes ?? 2 ** 30, 4096, 2 ** 40),
    instantiateAtBoot: instantiate === "boot",
    metering,
    signal,
    onProgress: options.onProgress ?? (() => {}),
  };
}

/** Up to here level 1 takes hardly longer than any, since starting the tools takes longest. Beyond, "g" takes two thirds of it, and less than 0, whose code is three times as long. */
const QUICK_LEVEL_1_BYTES = 32 * 1024;

/** The C compiler's level for modules of so many bytes together. */
export function levelFor(optimize: CheckedCompileOptions["optimize"], moduleBytes: number): CodeLevel {
  if (optimize !== "quick") return optimize;
  return moduleBytes <= QUICK_LEVEL_1_BYTES ? 1 : "g";
}

/** How the processes of a compilation are held. @param memoryBytes address space of each; undefined for what reserves more than it uses */
export function toolLimits(options: CheckedCompileOptions, memoryBytes: number | undefined): ToolLimits {
  return {
    timeoutMs: options.compileTimeoutMs,
    memoryBytes,
    fileBytes: options.compileOutputBytes,
    signal: options.signal,
  };
}

function integer(name: string, value: number, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `${name} must be a whole number from ${min} to ${max}, not ${String(value)}`,
    );
  }
  return value;
}
