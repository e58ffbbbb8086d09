/** One host call, as a trace shows it. */
import { BC_SLOT_BYTES } from "../abi.ts";
import type { ImageImport, ValueType } from "../image/manifest.ts";
import type { RawRecord } from "./trace-batch.ts";
import { type ArgumentKind, type ArgumentSignature, errnoName } from "./wasi-signatures.ts";

/** What stands behind an import: a function in TypeScript, one of WASI's, or one that returns zeros. */
export type HostCallKind = "host" | "wasi" | "zero";

/** `exited`: the guest ended itself by it. `interrupted`: a limit or a cancel came while it waited. `failed`: it threw. */
export type HostCallEnding = "returned" | "exited" | "interrupted" | "output-limit" | "failed";

export interface TracedValue {
  readonly type: ValueType;
  /** As it came, hostile: i32 and f32 and f64 as numbers (unsigned for WASI), i64 and references as bigint, v128 as bytes. */
  readonly value: number | bigint | Uint8Array;
  /** Of WASI's functions. */
  readonly name?: string;
  readonly kind?: ArgumentKind;
  /** What lay in the guest's memory where the argument points; absent if it points outside, or the function failed that was to fill it. */
  readonly memory?: {
    /** The first bytes, at most 64: a copy, taken as the call was made (of what the function filled in: when it returned). */
    readonly bytes: Uint8Array<ArrayBuffer>;
    readonly totalBytes: number;
  };
  /** The number at a `result`. */
  readonly pointsTo?: bigint;
}

export interface HostCallRecord {
  /** `MicroVM.id`. */
  readonly vm: number;
  readonly kind: HostCallKind;
  /** Of the import. */
  readonly module: string;
  readonly name: string;
  /** At most 32. */
  readonly args: readonly TracedValue[];
  /** Whether there were more arguments. */
  readonly isCut: boolean;
  /** Empty unless it returned. */
  readonly results: readonly TracedValue[];
  /** The name of WASI's error number, `success` included. */
  readonly errno: string | undefined;
  readonly ending: HostCallEnding;
  /** When it began, of performance.now(), milliseconds. */
  readonly startMs: number;
  /** From the moment that the host has the arguments until it has the result, all waiting included; not the way out of the VM and back. Microseconds. */
  readonly durationUs: number;
}

/** In the order of `HostCallAction` in native/host_call.h. */
const ENDINGS: readonly HostCallEnding[] = ["returned", "exited", "interrupted", "output-limit", "failed"];

/** performance.now() counts from another point than CLOCK_MONOTONIC, which process.hrtime() reads. */
const ORIGIN_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** What is known of an import. */
export interface TracedImport {
  readonly kind: HostCallKind;
  readonly entry: ImageImport;
  /** Of WASI's functions. */
  readonly signature: readonly ArgumentSignature[];
  /** For each argument its place among the captures, or -1. */
  readonly places: readonly number[];
}

export function describeRecord(vm: number, traced: TracedImport, raw: RawRecord): HostCallRecord {
  const { kind, entry, signature } = traced;
  const ending = ENDINGS[raw.action] ?? "failed";
  const isWasi = kind === "wasi";
  const count = raw.argumentSlots.length / BC_SLOT_BYTES;
  const results = entry.type.results
    .slice(0, raw.resultSlots.length / BC_SLOT_BYTES)
    .map((type, i): TracedValue => ({ type, value: readSlot(raw.resultSlots, i, type, isWasi) }));
  return {
    vm,
    kind,
    module: entry.module,
    name: entry.name,
    args: entry.type.params.slice(0, count).map((type, i): TracedValue => {
      const value = readSlot(raw.argumentSlots, i, type, isWasi);
      const known = signature[i];
      return { type, value, ...(known === undefined ? {} : describeArgument(known, traced.places[i], raw)) };
    }),
    isCut: count < entry.type.params.length,
    results,
    errno: isWasi && results.length === 1 ? errnoName(Number(results[0]?.value)) : undefined,
    ending,
    startMs: Number(raw.startNs) / 1e6 - ORIGIN_MS,
    durationUs: Number(raw.durationNs) / 1000,
  };
}

function describeArgument(
  { name, kind }: ArgumentSignature,
  place: number | undefined,
  raw: RawRecord,
): Partial<TracedValue> {
  const found = raw.captures.find(({ plan }) => plan === place);
  if (found === undefined) return { name, kind };
  const { bytes, totalBytes } = found;
  if (kind !== "result") return { name, kind, memory: { bytes, totalBytes } };
  return { name, kind, pointsTo: bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) };
}

function readSlot(
  slots: Uint8Array,
  index: number,
  type: ValueType,
  isWasi: boolean,
): number | bigint | Uint8Array {
  const view = new DataView(slots.buffer, slots.byteOffset + index * BC_SLOT_BYTES, BC_SLOT_BYTES);
  switch (type) {
    case "i32":
      return isWasi ? view.getUint32(0, true) : view.getInt32(0, true);
    case "i64":
      return isWasi ? view.getBigUint64(0, true) : view.getBigInt64(0, true);
    case "f32":
      return view.getFloat32(0, true);
    case "f64":
      return view.getFloat64(0, true);
    case "v128":
      return slots.slice(index * BC_SLOT_BYTES, (index + 1) * BC_SLOT_BYTES);
    default:
      return view.getBigUint64(0, true);
  }
}
