/** Finds the C compiler and says exactly which one it is. */
import { accessSync, constants, existsSync, realpathSync, statSync } from "node:fs";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { BarecellError } from "../errors.ts";
import { runTool } from "./process.ts";

export interface CCompiler {
  /** Absolute path. */
  readonly path: string;
  /** Changes whenever another compiler stands at the path: the file behind it, its size and time. Cheap; no process is started. */
  readonly identity: string;
}

/** Environment variables, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** @throws BARECELL_COMPILER_MISSING with the package to install */
export function findCCompiler(environment: Environment = process.env): CCompiler {
  const wanted = environment["CC"]?.trim();
  for (const name of wanted ? [wanted] : ["cc", "gcc", "clang"]) {
    const path = findProgram(name, environment);
    if (path === undefined) continue;
    const real = realpathSync(path);
    const { size, mtimeMs } = statSync(real);
    return { path, identity: `${real} ${size} ${mtimeMs}` };
  }
  throw new BarecellError(
    "BARECELL_COMPILER_MISSING",
    wanted
      ? `the C compiler '${wanted}' that the environment variable CC names was not found; unset CC or name another`
      : "no C compiler was found (looked for cc, gcc, clang in PATH); on Debian or Ubuntu: apt-get install gcc",
  );
}

export function findProgram(name: string, environment: Environment = process.env): string | undefined {
  const executable = (path: string): boolean => {
    try {
      accessSync(path, constants.X_OK);
      return statSync(path).isFile();
    } catch {
      return false;
    }
  };
  if (isAbsolute(name) || name.includes("/")) return executable(name) ? resolve(name) : undefined;
  return (environment["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find(executable);
}

/** First line of `cc --version`. */
export async function compilerVersion(compiler: CCompiler): Promise<string> {
  const limits = { timeoutMs: 10_000, memoryBytes: undefined, fileBytes: 2 ** 20 };
  const run = await runTool("the C compiler", [compiler.path, "--version"], "/", limits);
  return run.stdout.split("\n")[0]?.trim() ?? "unknown";
}

/** The compiler's own headers (stddef.h, stdint.h, immintrin.h), which a freestanding build uses. */
export async function compilerIncludeFolder(compiler: CCompiler): Promise<string> {
  const limits = { timeoutMs: 10_000, memoryBytes: undefined, fileBytes: 2 ** 20 };
  const run = await runTool("the C compiler", [compiler.path, "-print-file-name=include"], "/", limits);
  return run.stdout.trim();
}

/** Where Debian's libsimde-dev puts its headers; SIMD code includes `<simde/wasm/simd128.h>`. */
const SIMDE_FOLDERS = ["/usr/include", "/usr/local/include"];

const SIMDE_HEADER = "simde/wasm/simd128.h";

/** Changes whenever other headers are installed; empty if there are none. */
export function simdeIdentity(): string {
  for (const folder of SIMDE_FOLDERS) {
    const stats = statSync(join(folder, SIMDE_HEADER), { throwIfNoEntry: false });
    if (stats) return `${folder} ${stats.size} ${stats.mtimeMs}`;
  }
  return "";
}

/** @throws BARECELL_COMPILER_MISSING with the package to install */
export function findSimde(): string {
  const folder = SIMDE_FOLDERS.find((candidate) => existsSync(join(candidate, SIMDE_HEADER)));
  if (folder !== undefined) return folder;
  throw new BarecellError(
    "BARECELL_COMPILER_MISSING",
    "the module uses SIMD, which needs the SIMDe headers; on Debian or Ubuntu: apt-get install libsimde-dev",
  );
}
