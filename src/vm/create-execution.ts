/** Puts together what runs an image: the native VM, and what it needs on the JavaScript side. */
import { type BoundImport, bindImports, type KnownFunction } from "../host/imports.ts";
import type { Image } from "../image/image.ts";
import { CallTracer } from "../observe/call-tracer.ts";
import type { VmObserver } from "../observe/vm-observer.ts";
import { WASI_MODULES } from "../wasi-modules.ts";
import { addon, fromNative, GRANT_NUMBERS, type NativePipe } from "./addon.ts";
import { Execution } from "./execution.ts";
import { type GuestSide, HostCalls } from "./host-calls.ts";
import { nativeImage } from "./native-image.ts";
import { type BootOptions, checkBootOptions } from "./options.ts";
import type { References } from "./references.ts";
import { type CheckedStreams, StandardStreams } from "./streams/standard-streams.ts";

/** @throws what `MicroVM.boot` says of options, imports and the host */
export function createExecution(
  image: Image,
  options: BootOptions,
  references: References,
  guest: GuestSide,
  observer: VmObserver,
): Execution {
  const checked = checkBootOptions(image, options);
  const known = checked.wasi === undefined ? undefined : wasiFunctions();
  const bound = bindImports(image, checked.imports, known, checked.unknownImports);
  const memories = image.modules.map(({ memory }) => memory);
  const hostCalls = new HostCalls({
    imports: image.imports,
    bound,
    memories,
    references,
    maxDepth: checked.maxCallDepth,
    guest,
    observer,
  });
  const tracer = checked.isTraced
    ? new CallTracer(observer.id, image.imports, bound, checked.trace)
    : undefined;
  const streams = new StandardStreams(checked.wasi ?? NO_STREAMS, newPipe);
  try {
    const native = new (addon().Vm)(nativeImage(image), {
      staged: checked.staged,
      maxLinearBytes: checked.maxLinearBytes,
      answersInGuest: checked.answersInGuest && !isMixed(bound),
      grants: grantNumbers(bound),
      wasi: checked.wasi && { ...checked.wasi, ...streams.native },
      hostCalls: hostCalls.isNeeded ? hostCalls : undefined,
      trace: tracer?.native,
      usage: checked.usage,
    });
    hostCalls.attach(native);
    observer.attach(native, { names: countedNames(bound), counts: native.counts() });
    return new Execution({ image, native, options: checked, hostCalls, streams, observer, tracer });
  } catch (error) {
    streams.dispose();
    throw fromNative(error);
  }
}

const NO_STREAMS: CheckedStreams = {
  stdin: { kind: "none" },
  stdout: { kind: "none" },
  stderr: { kind: "none" },
};

let knownFunctions: ReadonlyMap<string, KnownFunction> | undefined;

/** The WASI functions that the addon has, by name. */
export function wasiFunctions(): ReadonlyMap<string, KnownFunction> {
  knownFunctions ??= new Map(
    addon()
      .wasiSignatures()
      .map((entry, place) => [entry.name, { ...entry, place }]),
  );
  return knownFunctions;
}

/** Numbers, because reading an object's properties one by one is what the addon takes longest for. */
export function grantNumbers(bound: readonly BoundImport[]): Int32Array {
  const numbers = new Int32Array(3 * bound.length);
  bound.forEach(({ grant, module, argumentCount, resultCount, wasiFunction }, i) => {
    numbers[3 * i] = GRANT_NUMBERS[grant];
    if (wasiFunction !== undefined) {
      numbers[3 * i + 1] = wasiFunction;
      numbers[3 * i + 2] = [...WASI_MODULES].indexOf(module);
    } else if (grant === "host") {
      numbers[3 * i + 1] = argumentCount;
      numbers[3 * i + 2] = resultCount;
    }
  });
  return numbers;
}

/** Whether a WASI function comes from the addon for one dialect and from the user for the other: what the guest may answer is granted by name. */
function isMixed(bound: readonly BoundImport[]): boolean {
  const ofUser = bound.filter(({ grant, module }) => grant === "host" && WASI_MODULES.has(module));
  return ofUser.some(({ name }) => bound.some((other) => other.grant === "wasi" && other.name === name));
}

function newPipe(direction: "input" | "output"): NativePipe {
  try {
    return new (addon().Pipe)(direction);
  } catch (error) {
    throw fromNative(error);
  }
}

/** Names of imports that nobody granted are the tenant's choice; as many counters as a tenant likes there shall not be. */
function countedNames(bound: readonly BoundImport[]): string[] {
  return bound.map(({ grant, module, name }) =>
    grant === "host" || grant === "wasi" ? `${module}.${name}` : "(unknown imports)",
  );
}
