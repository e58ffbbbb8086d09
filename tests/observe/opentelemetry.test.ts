/** The bridge to OpenTelemetry, with its own SDK. */
import { context, type HrTime, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { instrument } from "../../dist/opentelemetry.js";
import { compile, type HostContext } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { CACHE_FOLDER, wat, withVm } from "../support/modules.ts";
import { echo, observedGuest as guest } from "../support/observed-guest.ts";

const exporter = new InMemorySpanExporter();
const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).getTracer(
  "test",
);
let end: () => void = () => {};

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});
afterAll(() => context.disable());
afterEach(() => {
  end();
  exporter.reset();
});

const spans = (name: string): ReadableSpan[] =>
  exporter.getFinishedSpans().filter((span) => span.name === name);
const one = (name: string): ReadableSpan => {
  const found = spans(name);
  expect(found.length, name).toBe(1);
  return found[0] as ReadableSpan;
};
const isWithin = (inner: ReadableSpan, outer: ReadableSpan): void => {
  expect(inner.parentSpanContext?.spanId).toBe(outer.spanContext().spanId);
  expect(inner.spanContext().traceId).toBe(outer.spanContext().traceId);
};
const ms = ([seconds, nanoseconds]: HrTime): number => seconds * 1000 + nanoseconds / 1e6;

it("compile, boot, call and host call, each within what it belongs to", async () => {
  end = instrument({ tracer });
  await tracer.startActiveSpan("request", async (request) => {
    await compile(wat("tiny", `(module (func (export "f")))`), { name: "tiny", cache: CACHE_FOLDER });
    await withVm(guest, { imports: echo, wasi: {} }, async (vm) => {
      await vm.call("host", 1, 2n, 3);
      request.end();
      expect(one("barecell.boot").attributes).toEqual({ "barecell.vm": vm.id, "barecell.image": "observed" });
    });
  });
  const request = one("request");
  for (const name of ["barecell.compile", "barecell.boot", "barecell.call"]) isWithin(one(name), request);
  isWithin(one("barecell.host_call"), one("barecell.call"));
  expect(one("barecell.compile").attributes).toMatchObject({ "barecell.modules": ["tiny"] });
  expect(one("barecell.call").attributes).toMatchObject({ "barecell.export": "host" });
  expect(one("barecell.host_call").attributes).toMatchObject({ "barecell.import": "env.host" });
  const [outer, inner] = [one("barecell.call"), one("barecell.host_call")];
  // Not their times of day: the SDK reads those of a clock that may be set while they run. Lengths are of one that is not.
  expect(ms(inner.duration)).toBeLessThanOrEqual(ms(outer.duration));
  const ended = exporter.getFinishedSpans();
  expect(ended.indexOf(inner)).toBeLessThan(ended.indexOf(outer));
});

for (const mode of ["sync", "async"] as const) {
  it(`what a host function does is within its span, ${mode}`, async () => {
    end = instrument({ tracer });
    const imports = {
      env: {
        host: (vm: HostContext, depth: number): bigint | Promise<bigint> => {
          tracer.startSpan(`query ${depth}`).end();
          if (depth === 0) return 0n;
          if (mode === "sync") return vm.callSync("host", depth - 1, 0n, 0) as bigint;
          return (async () => {
            await vm.call("host", depth - 1, 0n, 0);
            tracer.startSpan("later").end();
            return 0n;
          })();
        },
      },
    };
    await withVm(guest, { imports, wasi: {} }, async (vm) => {
      if (mode === "sync") vm.callSync("host", 1, 0n, 0);
      else await vm.call("host", 1, 0n, 0);
    });
    // In the order in which they end: the inner ones first.
    const [innerHost, outerHost] = spans("barecell.host_call") as [ReadableSpan, ReadableSpan];
    const [innerCall, outerCall] = spans("barecell.call") as [ReadableSpan, ReadableSpan];
    isWithin(outerHost, outerCall);
    isWithin(innerCall, outerHost);
    isWithin(innerHost, innerCall);
    isWithin(one("query 1"), outerHost);
    isWithin(one("query 0"), innerHost);
    if (mode === "async") isWithin(one("later"), outerHost);
  });
}

it("an error is in the span; a guest's exit is none", async () => {
  end = instrument({ tracer });
  await withVm(guest, { imports: echo, wasi: {} }, (vm) =>
    failure(() => vm.call("trap"), "BARECELL_TRAP_UNREACHABLE"),
  );
  expect(one("barecell.call")).toMatchObject({
    status: { code: SpanStatusCode.ERROR },
    attributes: { "error.type": "BARECELL_TRAP_UNREACHABLE" },
  });
  exporter.reset();
  await withVm(guest, { imports: echo, wasi: {} }, (vm) =>
    failure(() => vm.callSync("exit", 3), "BARECELL_GUEST_EXIT"),
  );
  expect(one("barecell.call")).toMatchObject({
    status: { code: SpanStatusCode.UNSET },
    attributes: { "barecell.exit_code": 3 },
  });
});

it("WASI's functions too, if that is asked for", async () => {
  end = instrument({ tracer, hostCalls: "all" });
  await withVm(guest, { imports: echo, wasi: {} }, async (vm) => {
    await vm.call("clock");
    await vm.call("host", 1, 2n, 3);
  });
  const [clock, host, ...rest] = spans("barecell.host_call") as [ReadableSpan, ReadableSpan];
  const [first] = spans("barecell.call") as [ReadableSpan];
  expect(rest).toEqual([]);
  expect(clock.attributes).toMatchObject({
    "barecell.import": "wasi_snapshot_preview1.clock_time_get",
    "barecell.errno": "success",
  });
  expect(host.attributes).toMatchObject({ "barecell.import": "env.host" });
  isWithin(clock, first);
  // Two clocks of the host are compared here, hence the millisecond.
  expect(ms(clock.startTime)).toBeGreaterThanOrEqual(ms(first.startTime) - 1);
  expect(ms(clock.endTime)).toBeLessThanOrEqual(ms(first.endTime) + 1);
});

it("nothing when it has ended, and no host calls where none are wanted", async () => {
  end = instrument({ tracer, hostCalls: "none" });
  await withVm(guest, { imports: echo, wasi: {} }, (vm) => {
    vm.callSync("host", 1, 2n, 3);
    expect(spans("barecell.host_call")).toEqual([]);
    expect(spans("barecell.call").length).toBe(1);
    end();
    vm.callSync("host", 1, 2n, 3);
    expect(spans("barecell.call").length).toBe(1);
  });
  expect(trace.getActiveSpan()).toBe(undefined);
});
