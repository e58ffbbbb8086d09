/** Records of host calls as the addon delivers them: the form is that of native/call_trace.cc. */
import { BC_SLOT_BYTES } from "../abi.ts";
import type { ArgumentSignature } from "./wasi-signatures.ts";

/** `CallCapture` of native/call_trace.h. Places of arguments; -1: none. */
export interface NativeCapture {
  readonly vectors: boolean;
  readonly after: boolean;
  readonly pointer: number;
  readonly length: number;
  readonly limit: number;
  readonly fixedBytes: number;
}

export interface NativeTrace {
  /** Held weakly. */
  readonly deliver: (batch: Uint8Array) => void;
  readonly imports: readonly {
    readonly argumentCount: number;
    readonly resultCount: number;
    readonly captures: readonly NativeCapture[];
  }[];
}

/** What memory an argument shows. */
export interface Captured {
  /** Place in the import's list of captures. */
  readonly plan: number;
  /** A copy, of the first bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly totalBytes: number;
}

export interface RawRecord {
  readonly importIndex: number;
  /** `HostCallAction` of native/host_call.h. */
  readonly action: number;
  /** CLOCK_MONOTONIC, nanoseconds. */
  readonly startNs: bigint;
  readonly durationNs: bigint;
  /** 16 bytes each. At most 32. */
  readonly argumentSlots: Uint8Array;
  readonly resultSlots: Uint8Array;
  readonly captures: readonly Captured[];
}

const HEADER_BYTES = 40;
const CAPTURE_HEADER_BYTES = 16;

/** @returns for each argument that shows memory its place in the captures, which are in order */
export function capturesOf(signature: readonly ArgumentSignature[]): {
  readonly captures: readonly NativeCapture[];
  readonly places: readonly number[];
} {
  const captures: NativeCapture[] = [];
  const places = signature.map(({ kind, after, resultBytes, limit }, pointer) => {
    if (kind !== "text" && kind !== "data" && kind !== "result") return -1;
    captures.push({
      vectors: kind === "data",
      after,
      pointer,
      length: kind === "result" ? -1 : pointer + 1,
      limit: limit === undefined ? -1 : signature.findIndex(({ name }) => name === limit),
      fixedBytes: resultBytes,
    });
    return captures.length - 1;
  });
  return { captures, places };
}

export function* readBatch(batch: Uint8Array): Generator<RawRecord> {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  for (let start = 0; start < batch.length; start += view.getUint32(start, true)) {
    const argumentBytes = view.getUint16(start + 12, true) * BC_SLOT_BYTES;
    const resultBytes = view.getUint16(start + 14, true) * BC_SLOT_BYTES;
    const captureCount = view.getUint32(start + 32, true);
    let at = start + HEADER_BYTES;
    const take = (bytes: number): Uint8Array<ArrayBuffer> => {
      at += bytes;
      return Uint8Array.from(batch.subarray(at - bytes, at));
    };
    yield {
      importIndex: view.getUint32(start + 4, true),
      action: view.getUint32(start + 8, true),
      startNs: view.getBigInt64(start + 16, true),
      durationNs: view.getBigInt64(start + 24, true),
      argumentSlots: take(argumentBytes),
      resultSlots: take(resultBytes),
      captures: Array.from({ length: captureCount }, () => {
        const plan = view.getUint32(at, true);
        const keptBytes = view.getUint32(at + 4, true);
        const totalBytes = Number(view.getBigUint64(at + 8, true));
        at += CAPTURE_HEADER_BYTES;
        return { plan, bytes: take(keptBytes), totalBytes };
      }),
    };
  }
}
