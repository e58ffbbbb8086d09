/** WebAssembly runtimes as commands that print what an export returns. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { Peer, Prepared, Program, Setting } from "../peer.ts";
import { prepareLaunched } from "./launched.ts";

export interface WasmCommand {
  /** Compiles ahead of time: the arguments, with the module's path and where to write. */
  readonly compile: (wasmPath: string, outputPath: string) => readonly string[];
  /** Runs what was compiled. */
  readonly run: (compiledPath: string, program: Program) => readonly string[];
}

const PATIENCE_MS = 60_000;

export async function prepareWasmCommand(
  name: string,
  command: WasmCommand,
  program: Program,
  setting: Setting,
): Promise<Prepared> {
  const compiled = join(setting.scratch, `${program.name}.${process.pid}.${name}`);
  const [path = "", ...words] = command.compile(program.wasmPath, compiled);
  execFileSync(path, words, { stdio: ["ignore", "ignore", "pipe"], timeout: PATIENCE_MS });
  return prepareLaunched(program, setting, {
    start: command.run(compiled, program),
    printsNumber: true,
    canHold: false,
  });
}

export const WASM_COMMAND: Pick<Peer, "wall" | "includes" | "leavesOut" | "unsuited"> = {
  wall: "process",
  includes:
    "starting the runtime as a process, loading code that it compiled before, the call, printing the result",
  leavesOut: "compiling the module; a program that embeds the runtime is spared the process",
  unsuited: ({ input }) => (input === null ? null : "the command has no way to hand over input and output"),
};
