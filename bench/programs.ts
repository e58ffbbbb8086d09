/** Programs of third parties, for scenarios that run what others wrote. They are no part of the project, and may be absent. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type BootOptions, compile, type Image, MicroVM, type WasiOptions } from "barecell";
import { inProject, testData } from "./paths.ts";

/** An entry of the test data's manifest. */
interface ManifestEntry {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly stdin?: string;
  readonly imports: Readonly<Record<string, readonly string[]>>;
  /** What it took in Node 20 when the data was made: the part that the program marks (0 if it marks none), and all of it. */
  readonly node20_ms?: { readonly bench_ms: number; readonly total_ms: number };
  readonly nondeterministic_stdout?: boolean;
  readonly verified_with_node_wasi: boolean;
}

export interface Program {
  /** File and arguments. */
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  /** The folder that it finds as its working directory, or undefined if it gets none. */
  readonly folder: string | undefined;
  readonly stdinPath: string | undefined;
  /** Whether it marks the part to be timed, by calls of `bench.start` and `bench.end`. */
  readonly isMarked: boolean;
  /** Whether it writes the same each time. */
  readonly isRepeatable: boolean;
}

export interface ProgramRun {
  readonly exitCode: number;
  readonly exits: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

const bench = (...parts: string[]): string => testData("bench", ...parts);

function manifest(): readonly ManifestEntry[] {
  const path = bench("manifest.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as ManifestEntry[]) : [];
}

function programOf({ file, args, cwd, stdin, imports, nondeterministic_stdout }: ManifestEntry): Program {
  return {
    name: [file, ...args].join(" "),
    path: bench(file),
    args: [file, ...args],
    folder: bench(cwd),
    stdinPath: stdin === undefined ? undefined : bench(stdin),
    isMarked: imports["bench"] !== undefined,
    isRepeatable: nondeterministic_stdout !== true,
  };
}

/** An example of the project itself. */
export function exampleProgram(name: "hello" | "words", stdinPath?: string): Program {
  return {
    name: `examples/${name}/${name}.wasm`,
    path: inProject("examples", name, `${name}.wasm`),
    args: [name],
    folder: undefined,
    stdinPath,
    isMarked: false,
    // The first prints the time.
    isRepeatable: name !== "hello",
  };
}

/** An example of the project, and those of `names` (file and arguments, as the manifest has them) that are there. */
export function findPrograms(names: readonly string[]): Program[] {
  const found = manifest().map(programOf);
  return [
    exampleProgram("hello"),
    ...names.flatMap((name) => found.find((program) => program.name === name) ?? []),
  ];
}

/** All programs that ran in Node when the data was made, and whose timed part took so long there; none if the data is absent. */
export function findTimedPrograms(leastMs: number, mostMs: number): Program[] {
  return manifest()
    .filter(({ verified_with_node_wasi, imports, node20_ms }) => {
      const ms = (imports["bench"] === undefined ? node20_ms?.total_ms : node20_ms?.bench_ms) ?? 0;
      return verified_with_node_wasi && ms >= leastMs && ms <= mostMs;
    })
    .map(programOf);
}

/** Not for measuring speed: the C compiler's lowest level, which is done soonest. */
export function compileProgram(program: Program): Promise<Image> {
  return compile(readFileSync(program.path), { cache: false, optimize: 0 });
}

/** What a program gets from its host, whoever runs it. */
export interface ProgramFiles {
  /** A copy of the program's folder, since programs write in it; empty if it has none. */
  readonly folder: string;
  /** Names under which C libraries, old and new, look for the working directory; none if the program has no folder. */
  readonly folderNames: readonly string[];
}

/** @param scratch for the copy, which is gone after `body` */
export async function withFiles<T>(
  program: Program,
  scratch: string,
  body: (files: ProgramFiles) => T | Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(scratch, "work-"));
  try {
    if (program.folder !== undefined) {
      cpSync(program.folder, folder, { recursive: true, filter: (path) => !path.endsWith(".wasm") });
      execFileSync("chmod", ["-R", "u+rwX", folder]);
    }
    return await body({ folder, folderNames: program.folder === undefined ? [] : ["./", "/", "."] });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** WASI for a program in a VM. */
export function wasiOptions(program: Program, { folder, folderNames }: ProgramFiles): WasiOptions {
  return {
    args: program.args,
    stdin: program.stdinPath === undefined ? "ignore" : new Uint8Array(readFileSync(program.stdinPath)),
    preopens: Object.fromEntries(folderNames.map((name) => [name, { host: folder, writable: true }])),
  };
}

export function runProgram(
  program: Program,
  image: Image,
  scratch: string,
  wasi: BootOptions["wasi"],
  answersInGuest: boolean,
): Promise<ProgramRun> {
  return withFiles(program, scratch, async (files) => {
    using vm = await MicroVM.boot(image, {
      wasi: { ...wasiOptions(program, files), ...wasi },
      answersInGuest,
      // Marks of the benchmarks' timed part (bench.start, bench.end).
      unknownImports: "default",
      timeoutMs: Number.POSITIVE_INFINITY,
    });
    const exitCode = await vm.start();
    return { exitCode, exits: vm.exits.io, stdout: vm.stdout(), stderr: vm.stderr() };
  });
}
