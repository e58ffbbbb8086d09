/** Options of `MicroVM.boot()`, checked and completed. */
import { BC_LINEAR_MAX_BYTES, BC_MEMORIES_MAX, BC_WASM_PAGE_SIZE } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import type { UnknownImports } from "../host/imports.ts";
import type { Image } from "../image/image.ts";
import type { NativeStream, NativeVmOptions } from "./addon.ts";

/** Where a guest's standard input comes from. */
export type InputSource = "ignore" | "inherit" | string | Uint8Array | { readonly fd: number };
/** Where a guest's output goes. `capture` keeps it for `vm.stdout()`. */
export type OutputTarget = "ignore" | "inherit" | "capture" | { readonly fd: number };

/** What a guest gets of WASI preview 1. Nothing is granted that is not named here. */
export interface WasiOptions {
  /** Arguments; the first is the program's name. Default: none. */
  readonly args?: readonly string[];
  /** Environment variables. Default: none. */
  readonly env?: Readonly<Record<string, string>>;
  /** "ignore" (default) is at its end at once; a string or bytes are the input itself. */
  readonly stdin?: InputSource;
  /** "ignore" (default) throws output away. */
  readonly stdout?: OutputTarget;
  readonly stderr?: OutputTarget;
}

export interface BootOptions {
  /** "staged" walks from real mode up; "direct" starts in ring 3 with registers set by the host. Default "staged". */
  readonly boot?: "staged" | "direct";
  /** How far linear memory may grow, bytes, all memories of the VM together; rounded down to whole pages of 64 KiB. Default 256 MiB. */
  readonly maxMemoryBytes?: number;
  /** Time for starting, and for each call, milliseconds; Infinity for none. Default 10,000. */
  readonly timeoutMs?: number;
  /** An import that nobody grants: refused at boot (default), trapped when called, or answered with zeros. */
  readonly unknownImports?: UnknownImports;
  /** Grants WASI preview 1. Without it no WASI function is bound. */
  readonly wasi?: WasiOptions;
  /** Captured output, both streams together, bytes. Default 64 MiB. */
  readonly maxOutputBytes?: number;
  /** Whether the guest answers WASI's clocks and random numbers itself, without a VM exit, where they are granted. Default true. */
  readonly answersInGuest?: boolean;
  /** After a trap the VM is "poison"ed (default), or can be called again ("keep"), as WebAssembly's own rules allow. */
  readonly afterTrap?: "poison" | "keep";
}

export interface CheckedBootOptions {
  readonly staged: boolean;
  readonly maxLinearBytes: number;
  readonly answersInGuest: boolean;
  /** 0: none. */
  readonly timeoutMs: number;
  readonly unknownImports: UnknownImports;
  readonly hasWasi: boolean;
  readonly wasi: NativeVmOptions["wasi"];
  readonly keepAfterTrap: boolean;
}

/** All the memories that an image can have, each of 4 GiB. */
const MAX_MEMORY_BYTES = BC_MEMORIES_MAX * BC_LINEAR_MAX_BYTES;
const DEFAULT_MEMORY_BYTES = 256 * 2 ** 20;
const DEFAULT_OUTPUT_BYTES = 64 * 2 ** 20;
export const DEFAULT_TIMEOUT_MS = 10_000;

/** @throws BARECELL_ARGUMENT_INVALID, BARECELL_MEMORY_LIMIT */
export function checkBootOptions(image: Image, options: BootOptions): CheckedBootOptions {
  if (typeof options !== "object" || options === null) throw invalid("boot options must be an object");
  const wasi = options.wasi === undefined ? {} : options.wasi;
  if (typeof wasi !== "object" || wasi === null) throw invalid("wasi must be an object");
  return {
    staged: oneOf("boot", options.boot ?? "staged", ["staged", "direct"]) === "staged",
    maxLinearBytes: memoryLimit(image, options.maxMemoryBytes),
    answersInGuest: trueOrFalse("answersInGuest", options.answersInGuest ?? true),
    timeoutMs: checkTimeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS),
    unknownImports: oneOf("unknownImports", options.unknownImports ?? "refuse", [
      "refuse",
      "trap",
      "default",
    ]),
    hasWasi: options.wasi !== undefined,
    wasi: {
      args: strings("wasi.args", wasi.args ?? []),
      env: environment(wasi.env ?? {}),
      stdin: inputStream(wasi.stdin ?? "ignore"),
      stdout: outputStream("wasi.stdout", wasi.stdout ?? "ignore", 1),
      stderr: outputStream("wasi.stderr", wasi.stderr ?? "ignore", 2),
      maxOutputBytes: wholeNumber(
        "maxOutputBytes",
        options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES,
        0,
        2 ** 40,
      ),
    },
    keepAfterTrap: oneOf("afterTrap", options.afterTrap ?? "poison", ["poison", "keep"]) === "keep",
  };
}

function invalid(message: string): BarecellError {
  return new BarecellError("BARECELL_ARGUMENT_INVALID", message);
}

function trueOrFalse(name: string, value: boolean): boolean {
  if (typeof value === "boolean") return value;
  throw invalid(`${name} must be true or false, not ${String(value)}`);
}

function oneOf<T extends string>(name: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw invalid(`${name} must be one of ${allowed.join(", ")}, not ${String(value)}`);
}

function wholeNumber(name: string, value: number, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(`${name} must be a whole number from ${min} to ${max}, not ${String(value)}`);
}

/** @returns 0 for no timeout */
export function checkTimeout(value: number): number {
  if (value === Number.POSITIVE_INFINITY) return 0;
  if (typeof value === "number" && value > 0) return value;
  throw invalid(`timeoutMs must be a positive number of milliseconds, or Infinity, not ${String(value)}`);
}

/** For all linear memories together. Each stops at its own maximum besides. */
function memoryLimit(image: Image, wanted: number | undefined): number {
  const limit = wholeNumber("maxMemoryBytes", wanted ?? DEFAULT_MEMORY_BYTES, 0, MAX_MEMORY_BYTES);
  const { memories } = image.manifest;
  const minBytes = memories.reduce((sum, memory) => sum + memory.minBytes, 0);
  const maxBytes = memories.reduce((sum, memory) => sum + (memory.maxBytes ?? BC_LINEAR_MAX_BYTES), 0);
  if (minBytes > limit) {
    throw new BarecellError(
      "BARECELL_MEMORY_LIMIT",
      `the module starts with ${minBytes} bytes of linear memory (${minBytes / BC_WASM_PAGE_SIZE} pages), and the limit is ${limit}; raise maxMemoryBytes (--max-memory)`,
    );
  }
  return Math.min(Math.floor(limit / BC_WASM_PAGE_SIZE) * BC_WASM_PAGE_SIZE, maxBytes);
}

function strings(name: string, values: readonly string[]): readonly string[] {
  if (!Array.isArray(values)) throw invalid(`${name} must be an array of strings`);
  for (const value of values) {
    if (typeof value !== "string") throw invalid(`${name} must be an array of strings`);
    if (value.includes("\0"))
      throw invalid(`${name} must not hold the character NUL, which ends a string in WASI`);
  }
  return values;
}

function environment(env: Readonly<Record<string, string>>): readonly string[] {
  if (typeof env !== "object" || env === null) throw invalid("wasi.env must be an object");
  return strings(
    "wasi.env",
    Object.entries(env).map(([key, value]) => {
      if (key === "" || key.includes("=")) throw invalid(`wasi.env has the impossible name '${key}'`);
      if (typeof value !== "string") throw invalid(`wasi.env.${key} must be a string`);
      return `${key}=${value}`;
    }),
  );
}

function descriptor(name: string, value: unknown): NativeStream {
  if (typeof value === "object" && value !== null && "fd" in value && typeof value.fd === "number") {
    return { kind: "fd", fd: wholeNumber(`${name}.fd`, value.fd, 0, 2 ** 31 - 1) };
  }
  throw invalid(`${name} has an unknown kind of stream`);
}

function inputStream(source: InputSource): NativeStream {
  if (source === "ignore") return { kind: "none" };
  if (source === "inherit") return { kind: "fd", fd: 0 };
  if (typeof source === "string") return { kind: "bytes", bytes: new TextEncoder().encode(source) };
  if (source instanceof Uint8Array) return { kind: "bytes", bytes: source };
  return descriptor("wasi.stdin", source);
}

function outputStream(name: string, target: OutputTarget, inherited: number): NativeStream {
  if (target === "ignore") return { kind: "none" };
  if (target === "inherit") return { kind: "fd", fd: inherited };
  if (target === "capture") return { kind: "capture" };
  return descriptor(name, target);
}
