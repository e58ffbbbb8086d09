/** Options of `MicroVM.boot()`, checked and completed. */
import { BC_LINEAR_MAX_BYTES, BC_MEMORIES_MAX, BC_WASM_PAGE_SIZE } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import { type CheckedHostImports, checkHostImports, NO_HOST_IMPORTS } from "../host/host-function.ts";
import type { UnknownImports } from "../host/imports.ts";
import type { Image } from "../image/image.ts";
import type { TraceListener } from "../observe/call-tracer.ts";
import { traceChannel } from "../observe/channels.ts";
import type { NativeWasiOptions } from "./addon.ts";
import type { HostImports } from "./host-context.ts";
import { Limits, type RunLimits } from "./limits.ts";
import { invalid, oneOf, trueOrFalse, wholeNumber } from "./option-checks.ts";
import { type CheckedWasiOptions, checkWasiOptions, type WasiOptions } from "./wasi-options.ts";

export interface BootOptions extends RunLimits {
  /** "staged" walks from real mode up; "direct" starts in ring 3 with registers set by the host. Default "staged". */
  readonly boot?: "staged" | "direct";
  /** Functions for the guest's imports, by module and name: `{ env: { log(context, pointer, length) { … } } }`. They come before WASI's. */
  readonly imports?: HostImports;
  /** An import that nobody grants: refused at boot (default), trapped when called, or answered with zeros. */
  readonly unknownImports?: UnknownImports;
  /** Grants WASI preview 1. Without it no WASI function is bound. */
  readonly wasi?: WasiOptions;
  /** How deep host functions may call back into the guest. Default 8. */
  readonly maxCallDepth?: number;
  /**
   * Whether the guest answers WASI's clocks, random numbers and what it asks for at its start itself, keeps output for a while and gets files read ahead, without VM exits, where that is granted
   * (docs/wasi.md, "What costs no VM exit"). Default true; false for a VM whose host calls are traced, so that all of them are seen.
   */
  readonly answersInGuest?: boolean;
  /** After a trap the VM is "poison"ed (default), or can be called again ("keep"), as WebAssembly's own rules allow. */
  readonly afterTrap?: "poison" | "keep";
  /** Called with each host call of the guest's when that is over (docs/observability.md). Default: none, and then a VM is traced only if somebody listens to `barecell:trace`. */
  readonly trace?: TraceListener;
  /** Whether CPU time and page faults of its runs are counted for `stats()`, which takes two system calls a run. Default false. */
  readonly usage?: boolean;
  /** Ends the boot when it is aborted. */
  readonly signal?: AbortSignal;
}

export interface CheckedBootOptions {
  readonly staged: boolean;
  readonly maxLinearBytes: number;
  readonly answersInGuest: boolean;
  readonly limits: Limits;
  readonly imports: CheckedHostImports;
  readonly maxCallDepth: number;
  readonly signal: AbortSignal | undefined;
  readonly unknownImports: UnknownImports;
  /** Undefined: not granted. */
  readonly wasi: (CheckedWasiOptions & Pick<NativeWasiOptions, "elapsedNs">) | undefined;
  readonly keepAfterTrap: boolean;
  readonly trace: TraceListener | undefined;
  readonly isTraced: boolean;
  readonly usage: boolean;
}

/** All the memories that an image can have, each of 4 GiB. */
const MAX_MEMORY_BYTES = BC_MEMORIES_MAX * BC_LINEAR_MAX_BYTES;

/** @throws BARECELL_ARGUMENT_INVALID, BARECELL_MEMORY_LIMIT */
export function checkBootOptions(image: Image, options: BootOptions): CheckedBootOptions {
  if (typeof options !== "object" || options === null) throw invalid("boot options must be an object");
  const limits = Limits.of(options);
  const { trace, wasi } = options;
  if (wasi !== undefined && (typeof wasi !== "object" || wasi === null))
    throw invalid("wasi must be an object");
  if (trace !== undefined && typeof trace !== "function") throw invalid("trace must be a function");
  const isTraced = trace !== undefined || traceChannel.hasSubscribers;
  return {
    staged: oneOf("boot", options.boot ?? "staged", ["staged", "direct"]) === "staged",
    maxLinearBytes: memoryLimit(image, limits.get("maxMemoryBytes")),
    answersInGuest: trueOrFalse("answersInGuest", options.answersInGuest ?? !isTraced),
    limits,
    imports: options.imports === undefined ? NO_HOST_IMPORTS : checkHostImports(options.imports),
    maxCallDepth: wholeNumber("maxCallDepth", options.maxCallDepth ?? 8, 0, 32),
    signal: checkSignal(options.signal),
    unknownImports: oneOf("unknownImports", options.unknownImports ?? "refuse", [
      "refuse",
      "trap",
      "default",
    ]),
    wasi: wasi && {
      ...checkWasiOptions(wasi, image.bundles, limits.get("maxOutputBytes")),
      elapsedNs: image.manifest.snapshot?.monotonicNs ?? 0,
    },
    keepAfterTrap: oneOf("afterTrap", options.afterTrap ?? "poison", ["poison", "keep"]) === "keep",
    trace,
    isTraced,
    usage: trueOrFalse("usage", options.usage ?? false),
  };
}

/** @throws BARECELL_ARGUMENT_INVALID */
export function checkSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw invalid("signal must be an AbortSignal");
}

/** For all linear memories together. Each stops at its own maximum besides. */
function memoryLimit(image: Image, wanted: number): number {
  const limit = Math.min(wanted, MAX_MEMORY_BYTES);
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
