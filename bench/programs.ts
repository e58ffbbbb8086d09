/** Programs of third parties, for scenarios that run what others wrote. They are no part of the project, and may be absent. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type BootOptions, compile, type Image, MicroVM } from "barecell";
import { inProject, testData } from "./paths.ts";

/** An entry of the test data's manifest. */
interface ManifestEntry {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly stdin?: string;
}

export interface Program {
  /** File and arguments. */
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  /** The folder that it finds as its working directory, or undefined if it gets none. */
  readonly folder: string | undefined;
  readonly stdinPath: string | undefined;
}

export interface ProgramRun {
  readonly exitCode: number;
  readonly exits: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

const bench = (...parts: string[]): string => testData("bench", ...parts);

/** The example of the project itself, and those of `names` (file and arguments, as the manifest has them) that are there. */
export function findPrograms(names: readonly string[]): Program[] {
  const manifest = bench("manifest.json");
  const entries = existsSync(manifest) ? (JSON.parse(readFileSync(manifest, "utf8")) as ManifestEntry[]) : [];
  const found = entries.map(({ file, args, cwd, stdin }) => ({
    name: [file, ...args].join(" "),
    path: bench(file),
    args: [file, ...args],
    folder: bench(cwd),
    stdinPath: stdin === undefined ? undefined : bench(stdin),
  }));
  const hello = inProject("examples", "hello", "hello.wasm");
  return [
    {
      name: "examples/hello/hello.wasm",
      path: hello,
      args: ["hello"],
      folder: undefined,
      stdinPath: undefined,
    },
    ...names.flatMap((name) => found.find((program) => program.name === name) ?? []),
  ];
}

/** Not for measuring speed: the C compiler's lowest level, which is done soonest. */
export function compileProgram(program: Program): Promise<Image> {
  return compile(readFileSync(program.path), { cache: false, optimize: 0 });
}

/** @param scratch for a copy of the program's folder, since programs write in it */
export async function runProgram(
  program: Program,
  image: Image,
  scratch: string,
  wasi: BootOptions["wasi"],
  answersInGuest: boolean,
): Promise<ProgramRun> {
  const work = mkdtempSync(join(scratch, "work-"));
  if (program.folder !== undefined) {
    cpSync(program.folder, work, { recursive: true, filter: (path) => !path.endsWith(".wasm") });
    execFileSync("chmod", ["-R", "u+rwX", work]);
  }
  const grant = { host: work, writable: true };
  // By all the names under which C libraries, old and new, look for the working directory.
  const preopens = program.folder === undefined ? {} : { "./": grant, "/": grant, ".": grant };
  const stdin = program.stdinPath === undefined ? "ignore" : new Uint8Array(readFileSync(program.stdinPath));
  try {
    using vm = await MicroVM.boot(image, {
      wasi: { args: program.args, stdin, preopens, ...wasi },
      answersInGuest,
      // Marks of the benchmarks' timed part (bench.start, bench.end).
      unknownImports: "default",
      timeoutMs: Number.POSITIVE_INFINITY,
    });
    const exitCode = await vm.start();
    return { exitCode, exits: vm.exits.io, stdout: vm.stdout(), stderr: vm.stderr() };
  } finally {
    rmSync(work, { recursive: true });
  }
}
