/**
 * The bridge to OpenTelemetry: spans for what barecell does, made from its channels. Imported as `barecell/opentelemetry`; needs `@opentelemetry/api`, which the rest
 * of barecell does not.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, type TracingChannel, unsubscribe } from "node:diagnostics_channel";
import {
  type Attributes,
  type Context,
  context,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { isBarecellError } from "./errors.ts";
import {
  type BootMessage,
  bootChannel,
  type CallMessage,
  type CompileMessage,
  callChannel,
  compileChannel,
  type HostCallMessage,
  hostCallChannel,
  type LastingMessage,
  type VmMessage,
} from "./observe/channels.ts";
import type { HostCallRecord } from "./observe/trace-record.ts";

export interface InstrumentOptions {
  /** Default: the global provider's, by the name `barecell`. */
  readonly tracer?: Tracer;
  /**
   * "functions" (default): a span for each call of a host function in TypeScript. "all": for WASI's too; VMs that are booted from then on are traced (see
   * docs/observability.md for what that costs). "none": for none.
   */
  readonly hostCalls?: "functions" | "all" | "none";
}

/**
 * Makes spans from now on: `barecell.compile`, `barecell.boot`, `barecell.call`, `barecell.host_call`. A call's parent is the span that is active where it is made; a host
 * call's parent is the call's. While a host function runs its span is the active one.
 * @returns ends it
 */
export function instrument(options: InstrumentOptions = {}): () => void {
  const { tracer = trace.getTracer("barecell"), hostCalls = "functions" } = options;
  const spans = new Spans(tracer);
  const ends = [
    spans.follow(compileChannel, () => ({ name: "barecell.compile", attributes: {} })),
    spans.follow(bootChannel, (message: BootMessage) => ({
      name: "barecell.boot",
      attributes: vmAttributes(message),
    })),
    spans.follow(callChannel, (message: CallMessage) => ({
      name: "barecell.call",
      attributes: { ...vmAttributes(message), "barecell.export": message.name },
      parent: message.within,
    })),
  ];
  if (hostCalls !== "none") {
    const describe = (message: HostCallMessage): SpanStart => ({
      name: "barecell.host_call",
      attributes: { ...vmAttributes(message), ...importAttributes(message) },
      parent: message.during,
    });
    ends.push(spans.follow(hostCallChannel, describe));
  }
  if (hostCalls === "all") {
    const onRecord = (record: unknown): void => spans.addRecord(record as HostCallRecord);
    subscribe("barecell:trace", onRecord);
    ends.push(() => unsubscribe("barecell:trace", onRecord));
  }
  return () => {
    for (const end of ends) end();
  };
}

interface SpanStart {
  readonly name: string;
  readonly attributes: Attributes;
  /** The message of what it is a part of. */
  readonly parent?: object | undefined;
}

/** Makes an OpenTelemetry context the active one for what a channel runs: `runStores` calls `run`. */
class ActiveContext extends AsyncLocalStorage<Context> {
  override run<Result>(store: Context, callback: () => Result): Result;
  override run<Result, Args extends unknown[]>(
    store: Context,
    callback: (...args: Args) => Result,
    ...args: Args
  ): Result {
    return context.with(store, callback, undefined, ...args);
  }
}

class Spans {
  readonly #tracer: Tracer;
  readonly #active = new ActiveContext();
  /** By message, which is one object from start to end. */
  readonly #spans = new WeakMap<object, Span>();
  /** Of the call or boot that goes on in each VM, the outermost, for records. */
  readonly #running = new Map<number, Span>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  follow<Message extends LastingMessage>(
    channel: TracingChannel<unknown, Message>,
    describe: (message: Message) => SpanStart,
  ): () => void {
    const listeners = {
      start() {},
      end: (message: Message) => {
        if (!message.isAsync) this.#end(message);
      },
      asyncStart() {},
      asyncEnd: (message: Message) => this.#end(message),
      error() {},
    };
    // The span begins here, before any listener of `start` is called.
    const active = this.#active as AsyncLocalStorage<unknown>;
    channel.start.bindStore(active, (message) =>
      this.#start(message as Message, describe(message as Message)),
    );
    channel.subscribe(listeners);
    return () => {
      channel.start.unbindStore(active);
      channel.unsubscribe(listeners);
    };
  }

  #start(message: object, { name, attributes, parent }: SpanStart): Context {
    const parentSpan = parent === undefined ? undefined : this.#spans.get(parent);
    const around = parentSpan === undefined ? context.active() : trace.setSpan(context.active(), parentSpan);
    const span = this.#tracer.startSpan(name, { kind: SpanKind.INTERNAL, attributes }, around);
    this.#spans.set(message, span);
    if (isRun(message) && !this.#running.has(message.vm)) this.#running.set(message.vm, span);
    return trace.setSpan(around, span);
  }

  #end(message: LastingMessage): void {
    const span = this.#spans.get(message);
    // It began before this did.
    if (span === undefined) return;
    if (isRun(message) && this.#running.get(message.vm) === span) this.#running.delete(message.vm);
    if (isCompile(message)) {
      span.setAttributes({ "barecell.modules": [...message.modules], "barecell.cached": message.isCached });
    }
    if (message.error !== undefined) fail(span, message.error);
    span.end();
  }

  /** WASI's functions run without JavaScript: their spans are made when they are over. Those of functions in TypeScript there are already. */
  addRecord(record: HostCallRecord): void {
    if (record.kind === "host") return;
    const parent = this.#running.get(record.vm);
    const around = parent === undefined ? context.active() : trace.setSpan(context.active(), parent);
    const startTime = performance.timeOrigin + record.startMs;
    const attributes = {
      "barecell.vm": record.vm,
      ...importAttributes(record),
      ...(record.errno === undefined ? {} : { "barecell.errno": record.errno }),
    };
    const span = this.#tracer.startSpan(
      "barecell.host_call",
      { kind: SpanKind.INTERNAL, startTime, attributes },
      around,
    );
    span.end(startTime + record.durationUs / 1000);
  }
}

function isRun(message: object): message is BootMessage | CallMessage {
  return "kind" in message;
}

function isCompile(message: object): message is CompileMessage {
  return "modules" in message;
}

function vmAttributes({ vm, image }: VmMessage): Attributes {
  return { "barecell.vm": vm, "barecell.image": image };
}

function importAttributes({ module, name }: { readonly module: string; readonly name: string }): Attributes {
  return { "barecell.import": `${module}.${name}` };
}

function fail(span: Span, error: unknown): void {
  // A guest that ends itself is no failure.
  if (isBarecellError(error) && error.code === "BARECELL_GUEST_EXIT") {
    span.setAttribute("barecell.exit_code", error.exitCode ?? 0);
    return;
  }
  if (isBarecellError(error)) span.setAttribute("error.type", error.code);
  span.recordException(error instanceof Error ? error : String(error));
  span.setStatus({
    code: SpanStatusCode.ERROR,
    message: error instanceof Error ? error.message : String(error),
  });
}
