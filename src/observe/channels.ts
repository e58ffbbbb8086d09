/**
 * The channels of `node:diagnostics_channel` on which barecell says what it does. What lasts has a tracing channel (`tracing:barecell:call:start` and so on), what
 * happens at one moment a plain one. A message is one object from the start to the end of what it tells of.
 */
import { type Channel, channel, type TracingChannel, tracingChannel } from "node:diagnostics_channel";
import type { BarecellError } from "../errors.ts";
import type { HostCallRecord } from "./trace-record.ts";

/** What every message of a VM has. */
export interface VmMessage {
  /** `MicroVM.id`. */
  readonly vm: number;
  /** The image's name, which may be the tenant's choice. */
  readonly image: string;
}

/** What the message of something that lasts gets on the way. */
export interface LastingMessage {
  /** Whether it goes on after `end`, until `asyncEnd`. Known from `end` on. */
  isAsync?: boolean;
  /** Why it failed. Known from `error` on. */
  error?: unknown;
}

export interface CompileMessage extends LastingMessage {
  /** Names of the modules; empty until they are read. */
  modules: readonly string[];
  /** Whether the cache had the image. */
  isCached: boolean;
}

export interface BootMessage extends VmMessage, LastingMessage {
  readonly kind: "boot";
}

export interface CallMessage extends VmMessage, LastingMessage {
  readonly kind: "call";
  /** The export. */
  readonly name: string;
  /** The host function that called back into the guest, if it is known: see `HostCallMessage.during`. */
  readonly within: HostCallMessage | undefined;
}

/** A call of a host function in TypeScript. */
export interface HostCallMessage extends VmMessage, LastingMessage {
  /** Of the import. */
  readonly module: string;
  readonly name: string;
  /** Whose guest called it. Undefined if nobody listened to this channel or `barecell:call` when that began. */
  readonly during: BootMessage | CallMessage | undefined;
}

/** The guest did what WebAssembly or the processor forbids. */
export interface TrapMessage extends VmMessage {
  readonly error: BarecellError;
}

/** The guest was ended by its host. */
export interface KillMessage extends VmMessage {
  readonly reason: "timeout" | "cancelled" | "disposed" | "limit";
  readonly error: BarecellError;
}

export interface ResetMessage extends VmMessage {
  readonly durationUs: number;
}

/** memory.grow was refused by a limit, in the run that just ended. */
export interface GrowthRefusedMessage extends VmMessage {
  /** How often, in this run. */
  readonly count: number;
}

export const compileChannel: TracingChannel<unknown, CompileMessage> = tracingChannel("barecell:compile");
export const bootChannel: TracingChannel<unknown, BootMessage> = tracingChannel("barecell:boot");
export const callChannel: TracingChannel<unknown, CallMessage> = tracingChannel("barecell:call");
export const hostCallChannel: TracingChannel<unknown, HostCallMessage> = tracingChannel("barecell:host-call");
export const trapChannel: Channel = channel("barecell:trap");
export const killChannel: Channel = channel("barecell:kill");
export const resetChannel: Channel = channel("barecell:reset");
export const growthRefusedChannel: Channel = channel("barecell:growth-refused");
/** Every host call, WASI's included: `HostCallRecord`. VMs that are booted while somebody listens make records. */
export const traceChannel: Channel = channel("barecell:trace");

/** For typed listeners of the plain channels. */
export interface PlainMessages {
  readonly "barecell:trap": TrapMessage;
  readonly "barecell:kill": KillMessage;
  readonly "barecell:reset": ResetMessage;
  readonly "barecell:growth-refused": GrowthRefusedMessage;
  readonly "barecell:trace": HostCallRecord;
}

/**
 * Does something and tells a tracing channel of it. Where the result is a promise it lasts until that settles.
 * A listener that throws is Node's to report ('uncaughtException'), and breaks nothing here.
 */
export function observed<Message extends LastingMessage, Result>(
  channels: TracingChannel<unknown, Message>,
  message: Message,
  act: () => Result,
): Result {
  return channels.start.runStores(message, () => {
    try {
      const result = act();
      message.isAsync = isThenable(result);
      if (isThenable(result)) {
        result.then(
          () => endLater(channels, message),
          (error: unknown) => {
            message.error = error;
            channels.error.publish(message);
            endLater(channels, message);
          },
        );
      }
      return result;
    } catch (error) {
      message.isAsync = false;
      message.error = error;
      channels.error.publish(message);
      throw error;
    } finally {
      channels.end.publish(message);
    }
  }) as Result;
}

function endLater<Message extends object>(
  channels: TracingChannel<unknown, Message>,
  message: Message,
): void {
  channels.asyncStart.publish(message);
  channels.asyncEnd.publish(message);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** A listener's failure, reported as Node reports that of a channel's listener. */
export function reportUncaught(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
