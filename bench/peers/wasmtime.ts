import type { Peer } from "./peer.ts";
import { requireProgram, versionOf } from "./support/find-program.ts";
import { requireLauncher } from "./support/native.ts";
import { prepareWasmCommand, WASM_COMMAND } from "./support/wasm-command.ts";

const find = (): string => requireProgram("wasmtime", "see https://wasmtime.dev/");

export const peer: Peer = {
  ...WASM_COMMAND,
  name: "wasmtime",
  title: "wasmtime (command)",
  order: 10,
  async available(setting) {
    requireLauncher(setting);
    return { version: versionOf(find()), settings: "code compiled ahead of time" };
  },
  prepare: (program, setting) =>
    prepareWasmCommand(
      "wasmtime",
      {
        compile: (wasm, output) => [find(), "compile", "-o", output, wasm],
        run: (compiled, { n }) => [
          find(),
          ...["run", "--allow-precompiled", "--invoke", "kernel_run", compiled, String(n)],
        ],
      },
      program,
      setting,
    ),
};
