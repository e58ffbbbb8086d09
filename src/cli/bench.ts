/**
 * `barecell bench`. The measuring itself is built apart, from bench/ to dist/bench, and loaded only here: nobody else should pay for it.
 */
import { resolve } from "node:path";
import { BarecellError, errorText } from "../errors.ts";
import { EXIT, printJson, usageError } from "./report.ts";
import type { Invocation, OptionsOf } from "./table.ts";
import { columns, printable, stderr, stdout } from "./terminal.ts";

type Options = OptionsOf<"bench">;

/** What this needs of bench/isolation/command.ts; tests/bench/contract.test.ts holds the two together. */
export interface BenchModule {
  runIsolation(request: {
    readonly quick: boolean;
    readonly peers: readonly string[] | undefined;
    readonly workloads: readonly string[] | undefined;
    readonly samples: number | undefined;
    readonly command: string;
    readonly folder: string;
    readonly signal: AbortSignal;
    readonly progress: (text: string) => void;
  }): Promise<{
    readonly interrupted: boolean;
    readonly files: readonly string[];
    /** For people. */
    readonly lines: readonly string[];
    /** For programs: without the samples. */
    readonly summary: object;
  }>;
  compareReports(
    beforePath: string,
    afterPath: string,
    failAbovePercent: number | undefined,
  ): Promise<{ readonly ok: boolean; readonly lines: readonly string[]; readonly summary: object }>;
  listNames(): Promise<{
    readonly peers: readonly { readonly name: string; readonly title: string; readonly wall: string }[];
    readonly workloads: readonly { readonly name: string; readonly title: string }[];
  }>;
}

const MODULE = new URL("../bench/isolation/command.js", import.meta.url);

async function load(): Promise<BenchModule> {
  try {
    return (await import(MODULE.href)) as BenchModule;
  } catch (error) {
    throw new BarecellError(
      "BARECELL_INTERNAL",
      `the benchmark's own files cannot be loaded: ${errorText(error)}`,
      { cause: error },
    );
  }
}

/** Runs the command. @returns the exit status */
export async function bench({ operands, options }: Invocation<"bench">): Promise<number> {
  const [what = "", ...reports] = operands;
  if (what === "compare") return compare(reports, options);
  if (what !== "isolation") throw usageError(`'${what}' is neither isolation nor compare`);
  if (reports.length > 0) throw usageError(`isolation takes no operand, and there is '${reports[0] ?? ""}'`);
  if (options.failAbove !== undefined) throw usageError("--fail-above is for compare");
  return options.list ? list(options) : isolation(options);
}

async function list(options: Options): Promise<number> {
  const { peers, workloads } = await (await load()).listNames();
  if (options.json) {
    printJson({
      ok: true,
      peers: peers.map(({ name, title, wall }) => ({ name, title, wall })),
      workloads: workloads.map(({ name, title }) => ({ name, title })),
    });
    return EXIT.ok;
  }
  stdout.line("peers:");
  for (const line of columns(peers.map(({ name, title }) => [`  ${name}`, title]))) stdout.line(line);
  stdout.line("workloads:");
  for (const line of columns(workloads.map(({ name, title }) => [`  ${name}`, title]))) stdout.line(line);
  return EXIT.ok;
}

async function isolation(options: Options): Promise<number> {
  if (options.samples === 0) throw usageError("--samples must be at least 1");
  const { runIsolation } = await load();
  const interruption = new AbortController();
  // Once in good order; whoever presses it again wants it to end at once.
  const interrupt = (): void => interruption.abort();
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  const progress = showStatus();
  try {
    const { interrupted, files, lines, summary } = await runIsolation({
      quick: options.quick ?? false,
      peers: options.peers,
      workloads: options.workload,
      samples: options.samples,
      command: commandLine(options),
      folder: resolve(options.out ?? "isolation-report"),
      signal: interruption.signal,
      progress: progress.say,
    });
    progress.end();
    if (options.json) printJson({ ok: !interrupted, interrupted, files, ...summary });
    else for (const line of [...lines, "", ...files]) stdout.line(printable(line));
    return interrupted ? EXIT.interrupted : EXIT.ok;
  } finally {
    progress.end();
    process.removeListener("SIGINT", interrupt);
    process.removeListener("SIGTERM", interrupt);
  }
}

async function compare(reports: readonly string[], options: Options): Promise<number> {
  const [before, after, ...more] = reports;
  if (before === undefined || after === undefined || more.length > 0) {
    throw usageError(`compare takes two report.json files, not ${reports.length}`);
  }
  const { ok, lines, summary } = await (await load()).compareReports(before, after, options.failAbove);
  if (options.json) printJson({ ok, ...summary });
  else for (const line of lines) stdout.line(printable(line));
  return ok ? EXIT.ok : EXIT.error;
}

/** For the report: how to do it again. */
function commandLine({ quick, peers, workload, samples }: Options): string {
  return [
    "barecell bench isolation",
    ...(quick ? ["--quick"] : []),
    ...(peers ? [`--peers ${peers.join(",")}`] : []),
    ...(workload ? [`--workload ${workload.join(",")}`] : []),
    ...(samples === undefined ? [] : [`--samples ${samples}`]),
  ].join(" ");
}

/** One line on a terminal that says what is being measured. Nothing where nobody looks. */
function showStatus(): { say: (text: string) => void; end: () => void } {
  if (!stderr.isTerminal) return { say: () => {}, end: () => {} };
  const began = performance.now();
  let isShown = false;
  return {
    say(text) {
      const seconds = Math.floor((performance.now() - began) / 1000);
      stderr.write(`\r${stderr.style("cyan", `${seconds} s`)} ${printable(text)}\x1b[K`);
      isShown = true;
    },
    end() {
      if (isShown) stderr.write("\r\x1b[K");
      isShown = false;
    },
  };
}
