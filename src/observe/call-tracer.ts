/** Hands the records of one VM's host calls to whoever asked for them. */
import type { BoundImport, Grant } from "../host/imports.ts";
import type { ImageImport } from "../image/manifest.ts";
import { reportUncaught, traceChannel } from "./channels.ts";
import { capturesOf, type NativeTrace, readBatch } from "./trace-batch.ts";
import { describeRecord, type HostCallKind, type HostCallRecord, type TracedImport } from "./trace-record.ts";
import { wasiArguments } from "./wasi-signatures.ts";

export type TraceListener = (record: HostCallRecord) => void;

const KINDS: Readonly<Record<Grant, HostCallKind>> = {
  host: "host",
  wasi: "wasi",
  zero: "zero",
  closed: "zero",
};

export class CallTracer {
  /** For the addon, which holds `deliver` weakly: this object must live as long as the VM. */
  readonly native: NativeTrace;
  readonly #vm: number;
  readonly #imports: readonly TracedImport[];
  readonly #listener: TraceListener | undefined;

  constructor(
    vm: number,
    imports: readonly ImageImport[],
    bound: readonly BoundImport[],
    listener: TraceListener | undefined,
  ) {
    this.#vm = vm;
    this.#listener = listener;
    const planned = imports.map((entry, i) => {
      const kind = KINDS[bound[i]?.grant ?? "closed"];
      const signature = (kind === "wasi" ? wasiArguments(entry.name) : undefined) ?? [];
      return { kind, entry, signature, ...capturesOf(signature) };
    });
    this.#imports = planned;
    this.native = {
      deliver: this.#deliver,
      imports: planned.map(({ entry, captures }) => ({
        argumentCount: entry.type.params.length,
        resultCount: entry.type.results.length,
        captures,
      })),
    };
  }

  /** Never throws: a listener that does must not end the guest's call. */
  readonly #deliver = (batch: Uint8Array): void => {
    try {
      for (const raw of readBatch(batch)) {
        const traced = this.#imports[raw.importIndex];
        if (traced === undefined) continue;
        const record = describeRecord(this.#vm, traced, raw);
        this.#tell(record);
        if (traceChannel.hasSubscribers) traceChannel.publish(record);
      }
    } catch (error) {
      reportUncaught(error);
    }
  };

  #tell(record: HostCallRecord): void {
    try {
      this.#listener?.(record);
    } catch (error) {
      reportUncaught(error);
    }
  }
}
