/** What a guest is granted of WASI, checked and completed. */
import { resolve } from "node:path";
import type { ImageBundle } from "../image/bundle.ts";
import type { NativePreopen, NativeStream, NativeWasiOptions } from "./addon.ts";
import { invalid, oneOf, wholeNumber } from "./option-checks.ts";
import { type InputStream, isInputStream, isOutputStream, type OutputStream } from "./streams/kinds.ts";
import type { CheckedInput, CheckedOutput, CheckedStreams } from "./streams/standard-streams.ts";

/** Where a guest's standard input comes from. A stream is read while calls run, and is not closed. */
export type InputSource = "ignore" | "inherit" | string | Uint8Array | { readonly fd: number } | InputStream;
/** Where a guest's output goes. `capture` keeps it for `vm.stdout()`. A stream is written to while calls run, and is not ended. */
export type OutputTarget = "ignore" | "inherit" | "capture" | { readonly fd: number } | OutputStream;

/**
 * A directory for a guest: the path of one of the host's, which it may then only read; one that it may write too; or an empty one
 * in memory, of at most so many bytes, that is gone with the VM.
 */
export type DirectoryGrant =
  | string
  | { readonly host: string; readonly writable?: boolean }
  | { readonly memoryBytes: number };

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
  /** Directories, by the path under which the guest finds them, in this order from descriptor 3 on. Default: none. */
  readonly preopens?: Readonly<Record<string, DirectoryGrant>>;
  /**
   * Whether the guest finds the directories that are packed into its image, only to read, after those of `preopens`; one of `preopens` with the
   * same path takes a packed one's place. Default true.
   */
  readonly bundles?: boolean;
  /** Descriptors of sockets, listening (made non-blocking) or connected; the guest finds them after the directories. Default: none. */
  readonly sockets?: readonly number[];
  /**
   * "fixed": begins at 2000-01-01T00:00:00Z in every run, or at `startMs` (milliseconds since 1970), and moves by what the guest does. Waiting takes no
   * time. Default "host".
   */
  readonly clock?: "host" | "fixed" | { readonly startMs: number };
  /** "fixed": the same bytes in every run, which are no secret; others for each seed, a whole number of up to 53 bits. Default "host". */
  readonly random?: "host" | "fixed" | { readonly seed: number };
  /** The same as `clock: "fixed"` and `random: "fixed"`. Default false. */
  readonly deterministic?: boolean;
  readonly limits?: WasiLimits;
}

/** What a guest may take of the host. Over a limit the guest gets the error that is named here. */
export interface WasiLimits {
  /** Descriptors open at once, the standard streams among them (EMFILE). Default 256. */
  readonly openFiles?: number;
  /** Bytes in directories of the host, in the VM's whole life, with 4 KiB for each new name (EDQUOT). Default 1 GiB. */
  readonly writeBytes?: number;
  /** Directories below one another (ENAMETOOLONG). Default 128. */
  readonly directoryDepth?: number;
}

/** What the addon gets, but for streams that are still to be connected. */
export type CheckedWasiOptions = Omit<NativeWasiOptions, keyof CheckedStreams | "elapsedNs"> & CheckedStreams;

/**
 * @param packed directories of the image
 * @throws BARECELL_ARGUMENT_INVALID
 */
export function checkWasiOptions(
  wasi: WasiOptions,
  packed: readonly ImageBundle[],
  maxOutputBytes: number,
): CheckedWasiOptions {
  const { limits = {}, deterministic = false, sockets = [], bundles = true } = wasi;
  if (typeof limits !== "object" || limits === null) throw invalid("wasi.limits must be an object");
  if (typeof deterministic !== "boolean") throw invalid("wasi.deterministic must be true or false");
  if (!Array.isArray(sockets)) throw invalid("wasi.sockets must be an array of descriptors");
  if (typeof bundles !== "boolean") throw invalid("wasi.bundles must be true or false");
  const granted = preopens(wasi.preopens ?? {});
  const source = deterministic ? "fixed" : "host";
  return {
    args: strings("wasi.args", wasi.args ?? []),
    env: environment(wasi.env ?? {}),
    stdin: inputStream(wasi.stdin ?? "ignore"),
    stdout: outputStream("wasi.stdout", wasi.stdout ?? "ignore", 1),
    stderr: outputStream("wasi.stderr", wasi.stderr ?? "ignore", 2),
    maxOutputBytes,
    preopens: bundles ? [...granted, ...bundlePreopens(packed, granted)] : granted,
    sockets: sockets.map((fd) => wholeNumber("wasi.sockets", fd, 0, 2 ** 31 - 1)),
    ...clock(wasi.clock ?? source),
    ...random(wasi.random ?? source),
    maxOpenFiles: wholeNumber("wasi.limits.openFiles", limits.openFiles ?? 256, 3, 2 ** 16),
    maxWriteBytes: wholeNumber("wasi.limits.writeBytes", limits.writeBytes ?? 2 ** 30, 0, 2 ** 50),
    maxDirectoryDepth: wholeNumber("wasi.limits.directoryDepth", limits.directoryDepth ?? 128, 0, 1024),
  };
}

/** 2000-01-01T00:00:00Z */
const CLOCK_START_MS = 946_684_800_000;
/** In the year 2248; nanoseconds of WASI's clocks end in 2554. */
const MAX_CLOCK_START_MS = 2 ** 43;

function clock(
  value: NonNullable<WasiOptions["clock"]>,
): Pick<NativeWasiOptions, "fixedClock" | "clockStartMs"> {
  if (typeof value === "object" && value !== null)
    return {
      fixedClock: true,
      clockStartMs: wholeNumber("wasi.clock.startMs", value.startMs, 0, MAX_CLOCK_START_MS),
    };
  return {
    fixedClock: oneOf("wasi.clock", value, ["host", "fixed"]) === "fixed",
    clockStartMs: CLOCK_START_MS,
  };
}

function random(
  value: NonNullable<WasiOptions["random"]>,
): Pick<NativeWasiOptions, "fixedRandom" | "randomSeed"> {
  if (typeof value === "object" && value !== null)
    return {
      fixedRandom: true,
      randomSeed: wholeNumber("wasi.random.seed", value.seed, 0, Number.MAX_SAFE_INTEGER),
    };
  return { fixedRandom: oneOf("wasi.random", value, ["host", "fixed"]) === "fixed", randomSeed: 0 };
}

function preopens(grants: Readonly<Record<string, DirectoryGrant>>): readonly NativePreopen[] {
  if (typeof grants !== "object" || grants === null) throw invalid("wasi.preopens must be an object");
  return Object.entries(grants).map(([guest, grant]) => {
    if (guest === "" || guest.includes("\0") || Buffer.byteLength(guest) > 4095)
      throw invalid("wasi.preopens must name paths of 1 to 4095 bytes without the character NUL");
    const where = `wasi.preopens['${guest}']`;
    if (typeof grant === "string")
      return { guest, host: hostPath(where, grant), writable: false, memoryBytes: 0, bundleRoot: null };
    if (typeof grant !== "object" || grant === null) throw invalid(`${where} must be a path or an object`);
    if ("memoryBytes" in grant) {
      const memoryBytes = wholeNumber(`${where}.memoryBytes`, grant.memoryBytes, 0, 2 ** 40);
      return { guest, host: "", writable: true, memoryBytes, bundleRoot: null };
    }
    const { host, writable = false } = grant;
    if (typeof writable !== "boolean") throw invalid(`${where}.writable must be true or false`);
    return { guest, host: hostPath(where, host), writable, memoryBytes: 0, bundleRoot: null };
  });
}

/** Who boots an image knows better than who made it, so a directory of theirs hides one of the image's, as a mount would. */
function bundlePreopens(
  packed: readonly ImageBundle[],
  granted: readonly NativePreopen[],
): readonly NativePreopen[] {
  const spelled = (path: string): string => path.replace(/(?<=.)\/+$/, "");
  const hidden = new Set(granted.map(({ guest }) => spelled(guest)));
  return packed.flatMap(({ guest }, bundleRoot) =>
    hidden.has(spelled(guest)) ? [] : [{ guest, host: "", writable: false, memoryBytes: 0, bundleRoot }],
  );
}

/** Absolute, because another thread may change the process's directory before the addon opens it. */
function hostPath(where: string, path: unknown): string {
  if (typeof path !== "string" || path === "") throw invalid(`${where} must be the path of a directory`);
  if (path.includes("\0")) throw invalid(`${where} must not hold the character NUL`);
  return resolve(path);
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

function inputStream(source: InputSource): CheckedInput {
  if (source === "ignore") return { kind: "none" };
  if (source === "inherit") return { kind: "fd", fd: 0 };
  if (typeof source === "string") return { kind: "bytes", bytes: new TextEncoder().encode(source) };
  if (source instanceof Uint8Array) return { kind: "bytes", bytes: source };
  // Before descriptors: streams over files and sockets have one too, and bytes of it in their buffers.
  if (isInputStream(source)) return { kind: "stream", stream: source };
  return descriptor("wasi.stdin", source);
}

function outputStream(name: string, target: OutputTarget, inherited: number): CheckedOutput {
  if (target === "ignore") return { kind: "none" };
  if (target === "inherit") return { kind: "fd", fd: inherited };
  if (target === "capture") return { kind: "capture" };
  if (isOutputStream(target)) return { kind: "stream", stream: target };
  return descriptor(name, target);
}
