/** `barecell run`. */
import { basename } from "node:path";
import { BarecellError, type ErrorCode, isBarecellError } from "../errors.ts";
import type { Image } from "../image/image.ts";
import type { Signature } from "../image/manifest.ts";
import { type ExitCounts, MicroVM } from "../vm/micro-vm.ts";
import type { BootOptions } from "../vm/options.ts";
import type { VmStats } from "../vm/stats.ts";
import type { Timeline } from "../vm/timeline.ts";
import type { CallResult, WasmValue } from "../vm/values.ts";
import type { DirectoryGrant } from "../vm/wasi-options.ts";
import { jsonValue, parseArguments, spellValue } from "./guest-values.ts";
import { obtainImage } from "./input.ts";
import { spellSignature } from "./inspect.ts";
import { describeError, EXIT, exitStatusOf, isTrap, printError, printJson, usageError } from "./report.ts";
import { describeStats, printStats } from "./stats-view.ts";
import type { Invocation, OptionsOf } from "./table.ts";
import { printableName, stderr, stdout } from "./terminal.ts";
import { printTimeline } from "./timeline-view.ts";
import { openTrace, type TraceOutput } from "./trace-output.ts";

type RunOptions = OptionsOf<"run">;

/** How the guest ended: by itself, or by an error that ends a guest that did run (a trap or a limit). */
type Ending =
  | { readonly results: readonly WasmValue[]; readonly exitCode: number }
  | { readonly error: BarecellError };

/** What is known of the VM; nothing if the guest ended while it started. */
interface Observed {
  readonly timeline: Timeline;
  readonly exits: ExitCounts;
  readonly linearBytes: number;
  readonly fuelUsed: bigint | undefined;
  /** With --stats. */
  readonly stats: VmStats | undefined;
  readonly captured: { readonly stdout: string; readonly stderr: string } | undefined;
}

interface Run {
  readonly ending: Ending;
  readonly observed: Observed | undefined;
  readonly callUs: number | undefined;
}

/** What to call in the guest. */
interface Target {
  /** Undefined: `_start`. */
  readonly invoke: string | undefined;
  readonly type: Signature | undefined;
  readonly values: readonly WasmValue[];
}

/** Runs the command. @returns the exit status */
export async function run({ operands, options }: Invocation<"run">): Promise<number> {
  const [file = "", ...rest] = operands;
  const args = rest[0] === "--" ? rest.slice(1) : rest;
  if (options.capture && !options.json)
    throw usageError("--capture needs --json, which shows what was captured");
  const started = performance.now();
  // An image says by itself whether it counts fuel.
  const { image, compileUs } = await obtainImage(file, options, {
    wantsMetering: options.fuel !== undefined,
  });
  const target = findTarget(image, options.invoke, args);
  const trace = openTrace(options.trace, options.traceOut);
  const { ending, observed, callUs } = await runGuest(image, target, bootOptions(file, args, options, trace));
  trace.end();
  const times = { compileUs, callUs, totalUs: (performance.now() - started) * 1000 };
  if (options.json) {
    // The guest may have left its last line open; the object has to stand on its own.
    if (!options.capture && canWrite(image)) stdout.line();
    printJson(describeRun(ending, observed, times));
  } else if ("error" in ending) {
    printError(ending.error);
  } else {
    ending.results.forEach((value, i) => {
      stdout.line(spellValue(target.type?.results[i], value));
    });
  }
  if (options.timeline && observed) printTimeline(stderr, options.boot ?? "staged", observed.timeline, times);
  if (!options.json && observed?.stats) printStats(stderr, observed.stats);
  return "error" in ending ? exitStatusOf(ending.error) : processStatus(ending.exitCode);
}

/** A process has 8 bits for its status, a guest 32: what is not 0 must not become 0. */
function processStatus(exitCode: number): number {
  if (exitCode === 0) return EXIT.ok;
  return exitCode & 0xff || EXIT.error;
}

/** @throws BARECELL_EXPORT_NOT_FOUND with what there is, BARECELL_ARGUMENT_INVALID */
function findTarget(image: Image, invoke: string | undefined, args: readonly string[]): Target {
  const name = invoke ?? "_start";
  const found = image.exports.find((entry) => entry.name === name);
  if (found?.kind !== "func") {
    const module = printableName(image.name);
    const what =
      invoke === undefined
        ? `'${module}' has no \`_start\` to run; call one of its exports with --invoke`
        : `'${module}' exports no function '${invoke}'`;
    throw new BarecellError("BARECELL_EXPORT_NOT_FOUND", `${what}; it exports: ${listExports(image)}`);
  }
  if (invoke === undefined) return { invoke, type: undefined, values: [] };
  return { invoke, type: found.type, values: parseArguments(name, found.type, args) };
}

const SHOWN_EXPORTS = 20;

function listExports(image: Image): string {
  const functions = image.exports.flatMap((entry) =>
    entry.kind === "func" ? [`${printableName(entry.name)} ${spellSignature(entry.type)}`] : [],
  );
  if (functions.length === 0) return "no function";
  const more = functions.length - SHOWN_EXPORTS;
  return functions.slice(0, SHOWN_EXPORTS).join(", ") + (more > 0 ? `, and ${more} more` : "");
}

function bootOptions(
  file: string,
  args: readonly string[],
  options: RunOptions,
  trace: TraceOutput,
): BootOptions {
  const output = options.capture ? "capture" : "inherit";
  return {
    ...(options.boot === undefined ? {} : { boot: options.boot }),
    ...(options.maxMemory === undefined ? {} : { maxMemoryBytes: options.maxMemory }),
    ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout || Number.POSITIVE_INFINITY }),
    ...(options.cpuTime === undefined ? {} : { cpuTimeMs: options.cpuTime || Number.POSITIVE_INFINITY }),
    ...(options.maxHostCalls === undefined ? {} : { maxHostCalls: options.maxHostCalls }),
    ...(options.fuel === undefined ? {} : { fuel: options.fuel }),
    ...(options.unknownImports === undefined ? {} : { unknownImports: options.unknownImports }),
    ...(trace.listener === undefined ? {} : { trace: trace.listener, answersInGuest: false }),
    usage: options.stats ?? false,
    wasi: {
      args: [basename(file), ...(options.invoke === undefined ? args : [])],
      env: Object.fromEntries(options.env ?? []),
      stdin: "inherit",
      stdout: output,
      stderr: output,
      preopens: preopensOf(options),
      bundles: options.bundles ?? true,
      sockets: options.socket ?? [],
      deterministic: options.deterministic ?? false,
      limits: {
        ...(options.maxOpenFiles === undefined ? {} : { openFiles: options.maxOpenFiles }),
        ...(options.maxWrite === undefined ? {} : { writeBytes: options.maxWrite }),
      },
    },
  };
}

/** @throws if two directories have one path in the guest */
function preopensOf({ dir = [], tmpfs = [] }: RunOptions): Record<string, DirectoryGrant> {
  const grants: [string, DirectoryGrant][] = [
    ...dir.map(({ guest, host, writable }): [string, DirectoryGrant] => [guest, { host, writable }]),
    ...tmpfs.map(({ guest, memoryBytes }): [string, DirectoryGrant] => [guest, { memoryBytes }]),
  ];
  const names = grants.map(([guest]) => guest);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw usageError(`two directories have the path '${twice}' in the guest`);
  return Object.fromEntries(grants);
}

/** @throws what keeps a guest from running; what ends one that runs is in the result */
async function runGuest(image: Image, target: Target, options: BootOptions): Promise<Run> {
  let vm: MicroVM;
  try {
    vm = await MicroVM.boot(image, options);
  } catch (error) {
    return { ending: endingOf(error), observed: undefined, callUs: undefined };
  }
  try {
    const started = performance.now();
    const ending = await callGuest(vm, target).catch(endingOf);
    const callUs = (performance.now() - started) * 1000;
    const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
    const observed = {
      timeline: vm.timeline,
      exits: vm.exits,
      linearBytes: vm.memory.byteLength,
      fuelUsed: image.manifest.metering ? vm.fuelUsed : undefined,
      stats: options.usage ? vm.stats() : undefined,
      captured:
        options.wasi?.stdout === "capture"
          ? { stdout: decode(vm.stdout()), stderr: decode(vm.stderr()) }
          : undefined,
    };
    return { ending, observed, callUs };
  } finally {
    vm.dispose();
  }
}

async function callGuest(vm: MicroVM, { invoke, values }: Target): Promise<Ending> {
  if (invoke === undefined) return { results: [], exitCode: await vm.start() };
  // A WASI reactor sets itself up there, and its other exports rely on it (WASI application ABI). A snapshot may have that behind it.
  if (invoke !== "_initialize" && vm.modules.at(-1)?.needsInitialize) await vm.call("_initialize");
  return { results: listOf(await vm.call(invoke, ...values)), exitCode: 0 };
}

function listOf(result: CallResult): readonly WasmValue[] {
  if (result === undefined) return [];
  return Array.isArray(result) ? result : [result];
}

/** What ends a guest that runs, and is no fault of the host's. */
const LIMITS: ReadonlySet<ErrorCode> = new Set([
  "BARECELL_TIMEOUT",
  "BARECELL_FUEL_EXHAUSTED",
  "BARECELL_OUTPUT_LIMIT",
]);

/** Tells what ended a guest from what kept it from running, which is thrown again. */
function endingOf(error: unknown): Ending {
  if (!isBarecellError(error)) throw error;
  if (error.code === "BARECELL_GUEST_EXIT") return { results: [], exitCode: error.exitCode ?? 0 };
  const hasRun = isTrap(error) || LIMITS.has(error.code);
  if (!hasRun) throw error;
  return { error };
}

/** Whether the guest has a way to write to standard output. */
function canWrite(image: Image): boolean {
  return image.imports.some(({ module, name }) => module.startsWith("wasi_") && /^fd_p?write$/.test(name));
}

const tenths = (us: number): number => Math.round(us * 10) / 10;

function describeRun(
  ending: Ending,
  observed: Observed | undefined,
  times: { readonly compileUs: number; readonly callUs: number | undefined; readonly totalUs: number },
): object {
  const error = "error" in ending ? ending.error : undefined;
  const trap = error && isTrap(error) ? { ...describeError(error), backtrace: error.backtrace } : null;
  return {
    ok: error === undefined,
    results: "error" in ending ? [] : ending.results.map(jsonValue),
    exitCode: "error" in ending ? null : ending.exitCode,
    trap,
    ...(error && !trap ? { error: describeError(error) } : {}),
    ...observed?.captured,
    timings: {
      compileUs: tenths(times.compileUs),
      createUs: observed ? tenths(createUs(observed.timeline)) : null,
      bootUs: observed ? tenths(observed.timeline.totalUs) : null,
      callUs: times.callUs === undefined ? null : tenths(times.callUs),
      totalUs: tenths(times.totalUs),
    },
    exits: observed?.exits ?? { io: null, mmio: null, other: null },
    memory: { linearBytes: observed?.linearBytes ?? null },
    fuelUsed: observed?.fuelUsed?.toString() ?? null,
    ...(observed?.stats === undefined ? {} : { stats: describeStats(observed.stats) }),
  };
}

/** The host's steps up to the one that enters the guest. */
function createUs(timeline: Timeline): number {
  return timeline.steps.find(({ name }) => name === "enter the guest")?.startUs ?? timeline.totalUs;
}
