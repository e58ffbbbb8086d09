/** Tells of what one VM does: its runs, host functions, traps and kills; to channels where somebody listens, to the counters always. */
import type { TracingChannel } from "node:diagnostics_channel";
// The global of that name is a getter.
import { performance } from "node:perf_hooks";
import { BarecellError } from "../errors.ts";
import type { ImageImport } from "../image/manifest.ts";
import {
  type BootMessage,
  bootChannel,
  type CallMessage,
  callChannel,
  type GrowthRefusedMessage,
  growthRefusedChannel,
  type HostCallMessage,
  hostCallChannel,
  type KillMessage,
  killChannel,
  observed,
  type ResetMessage,
  resetChannel,
  type TrapMessage,
  trapChannel,
} from "./channels.ts";
import {
  addCounts,
  countEnd,
  countError,
  countReset,
  foldCounts,
  growthRefusals,
  hostCallsOf,
  isKill,
  type VmCounts,
} from "./metrics.ts";

type RunMessage = BootMessage | CallMessage;

/** Sums over a VM's life. */
export interface RunTotals {
  /** Of exports, those made by host functions included. */
  readonly calls: number;
  /** The boot's and all calls', from their beginning to their end, microseconds. */
  readonly wallUs: number;
  readonly resets: number;
  readonly growthRefusals: number;
  /** By `module.name` of granted imports; others under `(unknown imports)`. */
  readonly hostCalls: Readonly<Record<string, number>>;
}

/** What is going to run. `name` is undefined for what is no call of an export: globals, instantiation. */
export interface RunSubject {
  /** Resets are told of in another way. */
  readonly kind: "boot" | "call" | "reset";
  readonly name: string | undefined;
  /** Within a host function, which `within` tells of if somebody listens. */
  readonly isInner?: true;
  readonly within?: HostCallMessage | undefined;
}

const BOOT: RunSubject = { kind: "boot", name: "boot" };

const NO_COUNTS: VmCounts = { names: [], counts: new BigUint64Array(1) };

let lastId = 0;

export class VmObserver {
  readonly id: number = ++lastId;
  readonly #image: string;
  /** Of the runs that go on, where somebody listens; the innermost last. */
  readonly #messages: RunMessage[] = [];
  #counts: VmCounts = NO_COUNTS;
  /** How many runs reached the guest. */
  #begun = 0;
  #calls = 0;
  #wallMs = 0;
  #resets = 0;
  #refusalsTold = 0;

  constructor(image: string) {
    this.#image = image;
  }

  /** Once, when the native VM is there. @param owner what goes when the VM goes */
  attach(owner: object, counts: VmCounts): void {
    this.#counts = counts;
    addCounts(owner, counts);
  }

  boot<Result>(boot: () => Promise<Result>): Promise<Result> {
    this.began();
    return this.run(BOOT, boot);
  }

  bootSync<Result>(boot: () => Result): Result {
    this.began();
    return this.runSync(BOOT, boot, undefined);
  }

  /** A run was not refused, and begins. */
  began(): void {
    this.#begun++;
  }

  /** @param run gets `argument`: a caller in a hurry needs no closure then */
  runSync<Argument, Result>(
    subject: RunSubject,
    run: (argument: Argument) => Result,
    argument: Argument,
  ): Result {
    const message = this.#begin(subject);
    const before = this.#beginsBefore(subject);
    const startMs = performance.now();
    try {
      if (message === undefined) return run(argument);
      return observed(channelOf(subject), message, () => run(argument));
    } catch (error) {
      if (this.#begun !== before) this.#failed(error);
      throw error;
    } finally {
      this.#end(subject, message, startMs, this.#begun !== before);
    }
  }

  async run<Result>(subject: RunSubject, run: () => Promise<Result>): Promise<Result> {
    const message = this.#begin(subject);
    const before = this.#beginsBefore(subject);
    const startMs = performance.now();
    const running = message === undefined ? run() : observed(channelOf(subject), message, run);
    // A run is refused before anything is awaited.
    const hasBegun = this.#begun !== before;
    try {
      return await running;
    } catch (error) {
      if (hasBegun) this.#failed(error);
      throw error;
    } finally {
      this.#end(subject, message, startMs, hasBegun);
    }
  }

  /** Calls a host function, where somebody listens. @param frame gets the message, for calls back into the guest */
  hostCall<Result>(
    frame: { readonly import: ImageImport; message: HostCallMessage | undefined },
    call: () => Result,
  ): Result {
    const { module, name } = frame.import;
    const message: HostCallMessage = { ...this.#vm, module, name, during: this.#messages.at(-1) };
    frame.message = message;
    return observed(hostCallChannel, message, call);
  }

  /** The VM was reset. @param startMs when that began, of performance.now() */
  didReset(startMs: number): void {
    this.#resets++;
    countReset();
    if (!resetChannel.hasSubscribers) return;
    const durationUs = (performance.now() - startMs) * 1000;
    resetChannel.publish({ ...this.#vm, durationUs } satisfies ResetMessage);
  }

  /** The VM is over. */
  dispose(): void {
    foldCounts(this.#counts);
  }

  totals(): RunTotals {
    return {
      calls: this.#calls,
      wallUs: this.#wallMs * 1000,
      resets: this.#resets,
      growthRefusals: growthRefusals(this.#counts),
      hostCalls: hostCallsOf(this.#counts),
    };
  }

  get #vm(): { readonly vm: number; readonly image: string } {
    return { vm: this.id, image: this.#image };
  }

  /** `began()` of a boot comes before. */
  #beginsBefore({ kind }: RunSubject): number {
    return kind === "boot" ? this.#begun - 1 : this.#begun;
  }

  #begin({ kind, name, isInner, within }: RunSubject): RunMessage | undefined {
    if (!isInner && growthRefusedChannel.hasSubscribers) this.#refusalsTold = growthRefusals(this.#counts);
    if (name === undefined) return undefined;
    const isHeard = kind === "boot" ? bootChannel.hasSubscribers : callChannel.hasSubscribers;
    if (!isHeard && !hostCallChannel.hasSubscribers) return undefined;
    const message: RunMessage =
      kind === "boot" ? { kind, ...this.#vm } : { kind: "call", ...this.#vm, name, within };
    this.#messages.push(message);
    return message;
  }

  #end(
    { kind, name, isInner }: RunSubject,
    message: RunMessage | undefined,
    startMs: number,
    hasBegun: boolean,
  ): void {
    if (message !== undefined) this.#messages.splice(this.#messages.indexOf(message), 1);
    if (!hasBegun) return;
    const ms = performance.now() - startMs;
    if (name !== undefined) {
      countEnd(kind === "boot" ? "boots" : "calls", ms);
      if (kind === "call") this.#calls++;
    }
    if (!isInner) this.#wallMs += ms;
    if (growthRefusedChannel.hasSubscribers) this.#tellRefusals();
  }

  #tellRefusals(): void {
    const refusals = growthRefusals(this.#counts);
    const count = refusals - this.#refusalsTold;
    this.#refusalsTold = refusals;
    if (count > 0) growthRefusedChannel.publish({ ...this.#vm, count } satisfies GrowthRefusedMessage);
  }

  #failed(error: unknown): void {
    if (!(error instanceof BarecellError)) return;
    countError(error.code);
    if (error.kind === "trap") {
      if (trapChannel.hasSubscribers) trapChannel.publish({ ...this.#vm, error } satisfies TrapMessage);
    } else if (isKill(error.code) && killChannel.hasSubscribers) {
      killChannel.publish({ ...this.#vm, reason: killReason(error), error } satisfies KillMessage);
    }
  }
}

function channelOf({ kind }: RunSubject): TracingChannel<unknown, RunMessage> {
  return (kind === "boot" ? bootChannel : callChannel) as TracingChannel<unknown, RunMessage>;
}

function killReason({ code }: BarecellError): KillMessage["reason"] {
  if (code === "BARECELL_TIMEOUT") return "timeout";
  if (code === "BARECELL_CANCELLED") return "cancelled";
  return code === "BARECELL_DISPOSED" ? "disposed" : "limit";
}
