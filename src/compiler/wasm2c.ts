/** Translates modules to C with npm wabt's wasm2c, in a child process with a deadline. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BarecellError } from "../errors.ts";
import { throwIfCancelled } from "./cancel.ts";
import { moduleName } from "./canonical-module.ts";
import { type LeveledOptions, toolLimits } from "./options.ts";
import { isDivided } from "./parts.ts";
import { mostStackBytes, runTool } from "./process.ts";
import { unsupported } from "./validate.ts";

const CHILD = fileURLToPath(new URL("./wasm2c-child.js", import.meta.url));

/** For V8 on the child's first thread; of the process a little more, for what is below the tool. */
const TOOL_STACK_BYTES = 512 * 2 ** 20;
const PROCESS_STACK_BYTES = TOOL_STACK_BYTES + 32 * 2 ** 20;

/** Proposals that wasm2c knows and barecell leaves off, by its switch and by the name people know. */
const PROPOSALS: readonly (readonly [string, string])[] = [
  ["--enable-exceptions", "exception handling"],
  ["--enable-threads", "threads and atomics"],
  ["--enable-tail-call", "tail calls"],
  ["--enable-memory64", "64-bit memory (memory64)"],
  ["--enable-multi-memory", "several memories (multi-memory)"],
  ["--enable-extended-const", "extended constant expressions"],
  ["--enable-relaxed-simd", "relaxed SIMD"],
  ["--enable-function-references", "typed function references"],
  ["--enable-custom-page-sizes", "custom page sizes"],
  ["--enable-gc", "garbage collection"],
];

/** What wasm2c made of a module. */
export interface Translation {
  /** Of a large module several files (see `joinFiles`). */
  readonly source: string;
  /** Left in the folder too, as `m0.h` and so on, since the source includes it. */
  readonly header: string;
}

/** A module to translate. */
export interface CanonicalModule {
  /** For messages. */
  readonly name: string;
  /** Under harmless names (see canonical-module.ts). */
  readonly bytes: Uint8Array;
}

/** wasm2c's files of a module that is divided (parts.ts), which writes more in more files. */
const DIVIDED_FILES = 2;

/** Cannot be part of what wasm2c writes: all names in that are ours. */
const FILE_MARK = "\n/* barecell: the next file */\n";

/** Several files as one text, so that what is changed in it is looked for in all. The first is the header that the others include. */
const joinFiles = (files: readonly string[]): string => files.join(FILE_MARK);

/** The files of a text by `joinFiles`. */
export const filesOf = (source: string): string[] => source.split(FILE_MARK);

type RunWasm2c = (modules: readonly number[], ...switches: string[]) => Promise<unknown>;

/**
 * @returns one translation for each module
 * @throws BARECELL_MODULE_UNSUPPORTED naming the proposal, BARECELL_MODULE_INVALID, BARECELL_COMPILE_FAILED, BARECELL_COMPILE_LIMIT
 */
export async function translateToC(
  modules: readonly CanonicalModule[],
  folder: string,
  options: LeveledOptions,
): Promise<Translation[]> {
  // Of several modules each has a thread of its own in the child; a single one can do without, if it may have the stack.
  const isAlone = modules.length === 1 && mostStackBytes() >= PROCESS_STACK_BYTES;
  // V8 reserves far more address space than it uses.
  const limits = {
    ...toolLimits(options, undefined),
    ...(isAlone ? { stackBytes: PROCESS_STACK_BYTES } : {}),
  };
  await Promise.all(modules.map(({ bytes }, i) => writeFile(join(folder, `${moduleName(i)}.wasm`), bytes)));
  const sizeOf = (module: number): number => modules[module]?.bytes.length ?? 0;
  const wasm2c: RunWasm2c = (indexes, ...switches) => {
    const jobs = indexes.map((i) => {
      const name = moduleName(i);
      const split = isDivided(sizeOf(i), options.level) ? ["--num-outputs", String(DIVIDED_FILES)] : [];
      return [`${name}.wasm`, "-o", `${name}.c`, "-n", name, ...split, ...switches];
    });
    const words = jobs.flatMap((job, i) => (i === 0 ? job : ["--next", ...job]));
    const stack = isAlone ? [`--stack-size=${TOOL_STACK_BYTES / 1024}`] : [];
    return runTool("wasm2c", [process.execPath, ...stack, CHILD, ...words], folder, limits);
  };
  const all = modules.map((_, i) => i);
  try {
    await wasm2c(all);
  } catch (error) {
    if (!(error instanceof BarecellError) || error.code !== "BARECELL_COMPILE_FAILED") throw error;
    const guilty = Number(/^--next (\d+)$/m.exec(outputOf(error))?.[1] ?? 0);
    const name = modules.length === 1 ? "the module" : `the module '${modules[guilty]?.name}'`;
    await nameProposal(guilty, name, error, wasm2c);
    // The attempts of naming it take any failure for an answer.
    throwIfCancelled(options.signal);
    throw describe(error, name);
  }
  return Promise.all(
    all.map(async (i) => {
      const read = (file: string): Promise<string> => readFile(join(folder, file), "utf8");
      const name = moduleName(i);
      const files = isDivided(sizeOf(i), options.level)
        ? [`${name}-impl.h`, ...Array.from({ length: DIVIDED_FILES }, (_, part) => `${name}_${part}.c`)]
        : [`${name}.c`];
      return { source: joinFiles(await Promise.all(files.map(read))), header: await read(`${name}.h`) };
    }),
  );
}

/** V8 took the module and wasm2c did not: most likely a proposal. The one that makes wasm2c take it is the one to name. */
async function nameProposal(
  module: number,
  name: string,
  error: BarecellError,
  wasm2c: RunWasm2c,
): Promise<void> {
  // Atomic instructions on a memory that is not shared: V8 takes them, wasm2c does not with any switch.
  if (/unexpected opcode: 0xfe/.test(outputOf(error))) {
    throw unsupported("the proposal 'threads and atomics'", undefined, name);
  }
  for (const [enable, proposal] of PROPOSALS) {
    try {
      await wasm2c([module], enable);
    } catch {
      continue;
    }
    throw unsupported(`the proposal '${proposal}'`, undefined, name);
  }
  try {
    await wasm2c([module], "--enable-all");
  } catch {
    return;
  }
  throw unsupported("several proposals beyond WebAssembly 2.0", undefined, name);
}

const outputOf = (error: BarecellError): string =>
  error.cause instanceof Error ? error.cause.message : error.message;

/** wasm2c says `m0.wasm:0000023: error: …` for what it finds wrong with a module; anything else is its own failure. */
function describe(error: BarecellError, name: string): BarecellError {
  const found = /error: (?:.\[0m)?(.*)/.exec(outputOf(error))?.[1];
  if (found === undefined) return error;
  return new BarecellError("BARECELL_MODULE_INVALID", `${name} is not valid WebAssembly 2.0: ${found}`, {
    cause: error.cause,
  });
}
