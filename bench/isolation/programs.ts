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
  };
}

export async function buildProgram(
  workload: Workload,
  { scratch }: Setting,
  quick: boolean,
): Promise<Program> {
  const folder = join(scratch, "native");
  mkdirSync(folder, { recursive: true });
  const source = inProject("bench", workload.source);
  const defines = (workload.defines ?? []).map((define) => `-D${define}`);
  const program = join(folder, workload.name);
  const library = `${program}.so`;
  const amount = quick ? (workload.quick ?? workload) : workload;
  let problem: string | null = null;
  try {
    await compileC(program, ["-static", ...defines, inProject("bench", "native", "main.c"), source]);
    const exchange = workload.input === undefined ? [] : [inProject("bench", "native", "library.c")];
    await compileC(library, ["-shared", "-fPIC", ...defines, ...exchange, source]);
  } catch (error) {
    problem = reasonOf(error);
  }
  return {
    name: workload.name,
    n: amount.n,
    expected: amount.expected,
    wasmPath: inProject("bench", workload.wasm),
    programPath: problem === null ? program : null,
    libraryPath: problem === null ? library : null,
    nativeProblem: problem,
    input: workload.input ?? null,
    output: workload.output ?? null,
    callsHost: workload.callsHost ?? false,
  };
}
