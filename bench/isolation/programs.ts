/** Builds what peers run: the workloads natively, the launcher, the floor. Only what is there can be measured; the rest says why not. */
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { inProject } from "../paths.ts";
import type { Program, Setting } from "../peers/peer.ts";
import { errorText } from "../peers/support/error-text.ts";
import type { Workload } from "../workloads/workload.ts";

/** As for bench/kernels: no more than WebAssembly's arithmetic allows, no more of the processor than the module gets. */
const FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno"];
const BUILD_PATIENCE_MS = 60_000;

const run = promisify(execFile);
const compiler = (): string => process.env["CC"] ?? "cc";

async function compileC(output: string, words: readonly string[]): Promise<void> {
  await run(compiler(), [...FLAGS, "-o", output, ...words], { timeout: BUILD_PATIENCE_MS });
}

/** @returns the reason in one line */
function reasonOf(error: unknown): string {
  const said = error instanceof Error && "stderr" in error ? String(error.stderr) : "";
  const line = said.split("\n").find((text) => /error|cannot find/.test(text)) ?? errorText(error);
  return `it could not be compiled natively: ${line.trim()}`;
}

/** The tools that more than one peer needs. */
export async function buildTools(scratch: string): Promise<Setting> {
  const launcher = join(scratch, "launcher");
  const floor = join(scratch, "floor");
  const floorSources = inProject("bench", "floor");
  const build = async (output: string, words: readonly string[]): Promise<string | null> => {
    try {
      await compileC(output, words);
      return output;
    } catch {
      return null;
    }
  };
  return {
    scratch,
    launcherPath: await build(launcher, [inProject("bench", "native", "launcher.c")]),
    floorPath: await build(floor, [
      "-I",
      inProject("guest-stubs"),
      ...readdirSync(floorSources)
        .filter((name) => name.endsWith(".c"))
        .map((name) => join(floorSources, name)),
    ]),
    guestInitPath: await build(join(scratch, "guest-init"), [
      "-static",
      inProject("bench", "native", "guest-init.c"),
    ]),
  };
}

/** @throws Unavailable if the workload is a program that is no part of the project, and is not present */
export async function buildProgram(
  workload: Workload,
  { scratch }: Setting,
  quick: boolean,
): Promise<Program> {
  const folder = join(scratch, "native");
  mkdirSync(folder, { recursive: true });
  const amount = quick ? (workload.quick ?? workload) : workload;
  const { wasm } = workload;
  return {
    name: workload.name,
    n: amount.n,
    expected: amount.expected,
    wasmPath: typeof wasm === "string" ? inProject("bench", wasm) : await wasm(folder),
    ...(await buildNatively(workload, join(folder, workload.name))),
    input: workload.input ?? null,
    output: workload.output ?? null,
    callsHost: workload.callsHost ?? false,
  };
}

type Native = Pick<Program, "programPath" | "libraryPath" | "nativeProblem">;

async function buildNatively(workload: Workload, programPath: string): Promise<Native> {
  if (workload.source === null) return noNative("there is no C source of it here, only the module");
  const source = inProject("bench", workload.source);
  const defines = (workload.defines ?? []).map((define) => `-D${define}`);
  const libraryPath = `${programPath}.so`;
  const exchange = workload.input === undefined ? [] : [inProject("bench", "native", "library.c")];
  try {
    await Promise.all([
      compileC(programPath, ["-static", ...defines, inProject("bench", "native", "main.c"), source]),
      compileC(libraryPath, ["-shared", "-fPIC", ...defines, ...exchange, source]),
    ]);
    return { programPath, libraryPath, nativeProblem: null };
  } catch (error) {
    return noNative(reasonOf(error));
  }
}

const noNative = (nativeProblem: string): Native => ({ programPath: null, libraryPath: null, nativeProblem });
