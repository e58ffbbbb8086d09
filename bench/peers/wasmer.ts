import type { Peer } from "./peer.ts";
import { requireProgram, versionOf } from "./support/find-program.ts";
import { requireLauncher } from "./support/native.ts";
import { prepareWasmCommand, WASM_COMMAND } from "./support/wasm-command.ts";

const find = (): string => requireProgram("wasmer", "see https://docs.wasmer.io/install");

export const peer: Peer = {
  ...WASM_COMMAND,
  name: "wasmer",
  title: "wasmer (command)",
  order: 11,
  async available(setting) {
    requireLauncher(setting);
    return { version: versionOf(find()), settings: "code compiled ahead of time by Cranelift" };
  },
  prepare: (program, setting) =>
    prepareWasmCommand(
      "wasmer",
      {
        compile: (wasm, output) => [find(), "compile", "--cranelift", wasm, "-o", output],
        run: (compiled, { n }) => [find(), "run", "--invoke", "kernel_run", compiled, "--", String(n)],
      },
      program,
      setting,
    ),
};
