/** Options of `MicroVM.boot()`, checked and completed. */
import { BC_LINEAR_MAX_BYTES, BC_MEMORIES_MAX, BC_WASM_PAGE_SIZE } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import type { UnknownImports } from "../host/imports.ts";
import type { Image } from "../image/image.ts";
import type { NativeVmOptions } from "./addon.ts";
import { invalid, oneOf, trueOrFalse, wholeNumber } from "./option-checks.ts";
import { checkWasiOptions, type WasiOptions } from "./wasi-options.ts";

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
    wasi: checkWasiOptions(
      wasi,
      wholeNumber("maxOutputBytes", options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES, 0, 2 ** 40),
    ),
    keepAfterTrap: oneOf("afterTrap", options.afterTrap ?? "poison", ["poison", "keep"]) === "keep",
  };
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
