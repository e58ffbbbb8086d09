/** Translates a module to C with npm wabt's wasm2c, in a child process with a deadline. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BarecellError } from "../errors.ts";
import { MODULE } from "./glue.ts";
import type { CheckedCompileOptions } from "./options.ts";
import { runTool, type ToolLimits } from "./process.ts";
import { unsupported } from "./validate.ts";

const CHILD = fileURLToPath(new URL("./wasm2c-child.js", import.meta.url));

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

/**
 * @param module the canonical module (see canonical-module.ts)
 * @returns the C source; its header is left in `folder` as module.h
 * @throws BARECELL_MODULE_UNSUPPORTED naming the proposal, BARECELL_MODULE_INVALID, BARECELL_COMPILE_FAILED, BARECELL_COMPILE_LIMIT
 */
export async function translateToC(
  module: Uint8Array,
  folder: string,
  options: CheckedCompileOptions,
): Promise<string> {
  const limits: ToolLimits = {
    timeoutMs: options.compileTimeoutMs,
    // V8 reserves far more address space than it uses.
    memoryBytes: undefined,
    fileBytes: options.compileOutputBytes,
  };
  await writeFile(join(folder, "module.wasm"), module);
  const wasm2c = (...switches: string[]) =>
    runTool(
      "wasm2c",
      [process.execPath, CHILD, "module.wasm", "-o", "module.c", "-n", MODULE, ...switches],
      folder,
      limits,
    );
  try {
    await wasm2c();
  } catch (error) {
    if (!(error instanceof BarecellError) || error.code !== "BARECELL_COMPILE_FAILED") throw error;
    await nameProposal(wasm2c);
    throw describe(error);
  }
  return readFile(join(folder, "module.c"), "utf8");
}

/** V8 took the module and wasm2c did not: most likely a proposal. The one that makes wasm2c take it is the one to name. */
async function nameProposal(wasm2c: (...switches: string[]) => Promise<unknown>): Promise<void> {
  for (const [enable, name] of PROPOSALS) {
    try {
      await wasm2c(enable);
    } catch {
      continue;
    }
    throw unsupported(`the proposal '${name}'`);
  }
  try {
    await wasm2c("--enable-all");
  } catch {
    return;
  }
  throw unsupported("several proposals beyond WebAssembly 2.0");
}

/** wasm2c says `module.wasm:0000023: error: …` for what it finds wrong with a module; anything else is its own failure. */
function describe(error: BarecellError): BarecellError {
  const output = error.cause instanceof Error ? error.cause.message : error.message;
  const found = /error: (?:.\[0m)?(.*)/.exec(output)?.[1];
  if (found === undefined) return error;
  return new BarecellError("BARECELL_MODULE_INVALID", `the module is not valid WebAssembly 2.0: ${found}`, {
    cause: error.cause,
  });
}
