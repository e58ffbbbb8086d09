/** Loads the native addon and states its interface. The only place that knows where the binary lies. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { BC_ABI_VERSION } from "../abi.ts";
import { BarecellError, type ErrorCode, errorTable, errorText } from "../errors.ts";
import type { NativeTrace } from "../observe/trace-batch.ts";

/** `OutcomeKind` of native/outcome.h, in its order. */
export const OUTCOME = {
  ready: 0,
  done: 1,
  trap: 2,
  exception: 3,
  syscall: 4,
  exit: 5,
  timeout: 6,
  cancelled: 7,
  outputLimit: 8,
  protocol: 9,
  hostFailed: 10,
  hostCalls: 11,
} as const;

/**
 * `GrantKind` of native/vm_config.cc; what the two numbers after it mean: nothing; nothing; the function's place among `wasiSignatures()`, and which of
 * WASI_MODULES it was imported from; how many arguments and results it has.
 */
export const GRANT_NUMBERS = { closed: 0, zero: 1, wasi: 2, host: 3 } as const;

/** `Outcome` of native/outcome.h. */
export interface NativeOutcome {
  readonly kind: number;
  readonly code: number;
  readonly vector: number;
  readonly errorCode: bigint;
  readonly faultAddress: bigint;
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly rflags: bigint;
  readonly inRing3: boolean;
  /** DWARF order. */
  readonly registers: readonly bigint[];
  readonly detail: string;
}

export interface NativeImagePlan {
  readonly bytes: Uint8Array;
  readonly segments: readonly {
    readonly gpa: number;
    readonly fileOffset: number;
    readonly fileBytes: number;
    readonly memoryBytes: number;
    /** Index of the linear memory, or null for the image itself. */
    readonly memory: number | null;
  }[];
  /** Where the bundle of files is in `bytes`; of no bytes if there is none. */
  readonly bundleOffset: number;
  readonly bundleBytes: number;
  readonly bootEntry: number;
  readonly callEntry: number;
  readonly syscallEntry: number;
  readonly mailboxGpa: number;
  readonly mailboxBytes: number;
  readonly exceptionStacksGpa: number;
  readonly bootPml4Gpa: number;
  readonly runPml4Gpa: number;
  readonly idt: number;
  readonly tssLimit: number;
  readonly stackBytes: number;
  readonly stackGpa: number;
  readonly memories: readonly {
    readonly gpa: number;
    readonly initialBytes: number;
    readonly maxBytes: number;
  }[];
  readonly imageEndGpa: number;
  /** For each import the linear memory that its pointers mean. */
  readonly importMemories: readonly (number | null)[];
  readonly needsAvx: boolean;
  /** A memory file of the same image, made by another process; the new object's from then on. Null: one is made. */
  readonly sharedFd: number | null;
}

export type NativeStream =
  | { readonly kind: "none" }
  | { readonly kind: "fd"; readonly fd: number }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "capture" }
  | { readonly kind: "pipe"; readonly pipe: NativePipe };

/** Between a stream of JavaScript and a guest, which has the other end. */
export interface NativePipe {
  /** Called when the guest first wants to read, and when it moved bytes after `read` or `write` found nothing to move. Must not throw. */
  onMoved?: () => void;
  /** All that lies in it; null if there is nothing, or it is closed. */
  read(): Uint8Array<ArrayBuffer> | null;
  /** @returns how many of the bytes from `offset` on it took; 0 if it is full or closed */
  write(bytes: Uint8Array, offset: number): number;
  /** The guest comes to the end of its input, or gets an error when it writes on. Idempotent. */
  end(): void;
  /** Of input that was ended: whether the guest has come to the end. */
  endWasRead(): boolean;
  /** As `end`, and frees what it holds. Idempotent. */
  close(): void;
}

/** See native/host_functions.h. */
export type NativeDispatch = (importIndex: number, token: number) => boolean | undefined;

export interface NativeVmOptions {
  readonly staged: boolean;
  readonly maxLinearBytes: number;
  readonly answersInGuest: boolean;
  /** What stands behind each import's port, three numbers for each: see `GRANT_NUMBERS`. */
  readonly grants: Int32Array;
  /** Undefined: nothing of WASI is granted. */
  readonly wasi: NativeWasiOptions | undefined;
  readonly hostCalls:
    | {
        /** Held weakly. */
        readonly dispatch: NativeDispatch;
        readonly slots: Uint8Array;
      }
    | undefined;
  readonly trace: NativeTrace | undefined;
  /** Whether usage() counts. */
  readonly usage: boolean;
}

/** `RunUsage` of native/run_usage.h, of all runs. */
export interface NativeUsage {
  readonly userUs: number;
  readonly systemUs: number;
  readonly minorFaults: number;
  readonly majorFaults: number;
}

/** `wasi::Config` of native/wasi/instance.h. */
export interface NativeWasiOptions {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly stdin: NativeStream;
  readonly stdout: NativeStream;
  readonly stderr: NativeStream;
  readonly maxOutputBytes: number;
  readonly preopens: readonly NativePreopen[];
  readonly sockets: readonly number[];
  readonly fixedClock: boolean;
  /** Milliseconds since 1970, of a fixed clock. */
  readonly clockStartMs: number;
  readonly fixedRandom: boolean;
  readonly randomSeed: number;
  /** What the monotonic clock begins with, nanoseconds. */
  readonly elapsedNs: number;
  readonly maxOpenFiles: number;
  readonly maxWriteBytes: number;
  readonly maxDirectoryDepth: number;
}

export interface NativePreopen {
  readonly guest: string;
  /** Empty: in memory, or of the image's bundle. */
  readonly host: string;
  readonly writable: boolean;
  readonly memoryBytes: number;
  /** Place in the image's list of bundles, or null. */
  readonly bundleRoot: number | null;
}

/** Nanoseconds since the boot began (0: not reached), and the guest's time stamp counter at each stage (low 32 bits). */
export interface NativeTimeline {
  readonly vmCreatedNs: number;
  readonly memoryGivenNs: number;
  readonly vcpuCreatedNs: number;
  readonly cpuidSetNs: number;
  readonly registersSetNs: number;
  readonly readyNs: number;
  readonly tscKhz: number;
  readonly guestTsc: readonly number[];
}

export interface NativeImage {
  readonly nativeImage: unique symbol;
  /** Sealed memory file that VMs map, for other processes; it stays this object's. */
  readonly fd: number;
}

export interface NativeVm {
  /** `limits`: see limits.ts. `true`: ready. */
  bootSync(limits: Float64Array): true | NativeOutcome;
  boot(limits: Float64Array): Promise<true | NativeOutcome>;
  /** Results are written to `slots`. `true`: done. */
  callSync(
    index: number,
    slots: Uint8Array,
    argumentCount: number,
    resultCount: number,
    limits: Float64Array,
  ): true | NativeOutcome;
  call(
    index: number,
    slots: Uint8Array,
    argumentCount: number,
    resultCount: number,
    limits: Float64Array,
  ): Promise<true | NativeOutcome>;
  /** From within a host function; `timeoutMs` 0: the outer call's limits only. */
  callInnerSync(
    token: number,
    index: number,
    slots: Uint8Array,
    argumentCount: number,
    resultCount: number,
    timeoutMs: number,
  ): true | NativeOutcome;
  callInner(
    token: number,
    index: number,
    slots: Uint8Array,
    argumentCount: number,
    resultCount: number,
    timeoutMs: number,
  ): Promise<true | NativeOutcome>;
  answerHostCall(token: number, succeeded: boolean, slots: Uint8Array): void;
  /** Stops the run that goes on. */
  cancelRun(): void;
  /** Stops it and all later ones. */
  cancel(): void;
  /** `true`: as after the boot. */
  resetSync(limits: Float64Array): true | NativeOutcome;
  reset(limits: Float64Array): Promise<true | NativeOutcome>;
  /** On the calling thread, if that is a matter of microseconds. `false`: nothing was done. */
  resetQuickly(limits: Float64Array): boolean;
  dispose(): void;
  linearBytes(memory: number): number;
  readLinear(memory: number, offset: number, length: number): Uint8Array<ArrayBuffer> | null;
  writeLinear(memory: number, offset: number, bytes: Uint8Array): boolean;
  readStack(rsp: bigint): Uint8Array;
  readImage(address: bigint, length: number): Uint8Array;
  exits(): { readonly io: number; readonly mmio: number; readonly other: number };
  hostCalls(): readonly number[];
  growthRefusals(): number;
  /** Calls of each import, then growth refused: as they are whenever one looks. To be asked for once. */
  counts(): BigUint64Array;
  usage(): NativeUsage;
  /** By name; empty where KVM counts nothing. */
  kvmStats(): Readonly<Record<string, number>>;
  /** Delivers what `trace.deliver` has not got yet. */
  drainTrace(): void;
  timeline(): NativeTimeline;
  takeOutput(stream: "stdout" | "stderr"): Uint8Array<ArrayBuffer>;
  /** What each boot or call from now on may use; from 0 to 2^63 - 1. */
  setFuel(fuel: bigint): void;
  /** What the last boot or call left of it; any number, if the guest is hostile. */
  fuelLeft(): bigint;
  /** `obstacle`: why there can be no snapshot, or "". */
  prepareSnapshot(): { readonly obstacle: string; readonly monotonicNs: number };
  /** All of the VM. */
  vcpuState(): NativeVcpuState;
  memoryRanges(): readonly { readonly gpa: number; readonly sizeBytes: number }[];
  readPhysical(gpa: number, length: number): Uint8Array<ArrayBuffer>;
}

/** Bytes of KVM's structures. */
export interface NativeVcpuState {
  readonly regs: Uint8Array;
  readonly sregs: Uint8Array;
  readonly xsave: Uint8Array;
  readonly debugregs: Uint8Array;
  readonly events: Uint8Array;
  readonly msrs: readonly { readonly number: number; readonly value: bigint }[];
}

/** What KVM offers on this host. */
export interface NativeProbe {
  readonly apiVersion: number;
  readonly memorySlots: number;
  readonly maxVcpus: number;
  readonly syncRegs: number;
  readonly hasXsave: boolean;
  readonly cr4: number;
  readonly efer: number;
  readonly emulatedSvm: boolean;
}

export interface Addon {
  readonly abiVersion: number;
  readonly Image: new (plan: NativeImagePlan) => NativeImage;
  readonly Pipe: new (direction: "input" | "output") => NativePipe;
  readonly Vm: new (image: NativeImage, options: NativeVmOptions) => NativeVm;
  probe(): NativeProbe;
  /** The kernel kills this process when the thread that started it ends. False if `parentPid` is not its parent any more. */
  endWithParent(parentPid: number): boolean;
  wasiSignatures(): readonly { readonly name: string; readonly params: string; readonly results: string }[];
}

/** Where the binary may be: built here, or shipped in the package. `BARECELL_ADDON` names another (sanitizer builds). */
function candidates(): string[] {
  const named = process.env["BARECELL_ADDON"];
  const inPackage = ["build/Release/barecell.node", `prebuilds/linux-${process.arch}/barecell.node`];
  return named ? [named] : inPackage.map((path) => fileURLToPath(new URL(`../../${path}`, import.meta.url)));
}

let loaded: Addon | undefined;

/** @throws BARECELL_ADDON_MISSING */
export function addon(): Addon {
  if (loaded) return loaded;
  const places = candidates();
  const path = places.find((place) => existsSync(place));
  if (path === undefined) {
    throw new BarecellError(
      "BARECELL_ADDON_MISSING",
      `the native addon was not found (looked at ${places.join(", ")}); build it with: npm run build:native`,
    );
  }
  let binding: Addon;
  try {
    binding = createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    throw new BarecellError(
      "BARECELL_ADDON_MISSING",
      `the native addon ${path} does not load: ${errorText(cause)}; build it anew with: npm run build:native`,
      { cause },
    );
  }
  if (binding.abiVersion !== BC_ABI_VERSION) {
    throw new BarecellError(
      "BARECELL_ADDON_MISSING",
      `the native addon ${path} is of ABI version ${binding.abiVersion}, and this barecell of ${BC_ABI_VERSION}; build it anew with: npm run build:native`,
    );
  }
  loaded = binding;
  return binding;
}

/** Native code throws plain errors with a `code` of the table; callers get the one error class. */
export function fromNative(error: unknown): unknown {
  if (error instanceof BarecellError || !(error instanceof Error)) return error;
  const code = "code" in error ? error.code : undefined;
  if (typeof code !== "string" || !Object.hasOwn(errorTable, code)) return error;
  return new BarecellError(code as ErrorCode, error.message, { cause: error });
}
