/** Node's own WASI, for functions that ask the host for something. */
import { readFileSync } from "node:fs";
import type { Peer, Prepared, Program } from "./peer.ts";
import { prepareLocal, withWatchdog } from "./support/in-process.ts";
import { callable } from "./support/wasm-instance.ts";

async function prepare(program: Program): Promise<Prepared> {
  // Here and not at the top: importing it prints a warning.
  const { WASI } = await import("node:wasi");
  const module = new WebAssembly.Module(readFileSync(program.wasmPath));
  return prepareLocal({
    create(limitMs) {
      const wasi = new WASI({ version: "preview1", args: [], env: {} });
      const instance = new WebAssembly.Instance(module, {
        wasi_snapshot_preview1: wasi.wasiImport as Record<string, unknown>,
      });
      wasi.initialize(instance);
      const { run } = callable(instance, program);
      return {
        run: limitMs === undefined ? run : () => withWatchdog(run, limitMs),
        dispose: () => {},
      };
    },
  });
}

export const peer: Peer = {
  name: "node-wasi",
  title: "node:wasi in the process",
  order: 1,
  wall: "language",
  includes: "a new WASI context and WebAssembly.Instance, and the call",
  leavesOut: "compiling the module. Node says itself that its WASI is no sandbox for untrusted code",
  async available() {
    return { version: `Node ${process.versions.node}`, settings: "host calls go to its native uvwasi" };
  },
  prepare,
};
