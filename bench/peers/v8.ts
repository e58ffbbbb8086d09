/** What most people run WebAssembly with: V8, in the process. */
import { readFileSync } from "node:fs";
import type { Peer, Prepared, Program } from "./peer.ts";
import { prepareLocal, withWatchdog } from "./support/in-process.ts";
import { instantiate } from "./support/wasm-instance.ts";

async function prepare(program: Program): Promise<Prepared> {
  const module = new WebAssembly.Module(readFileSync(program.wasmPath));
  return prepareLocal({
    create(limitMs) {
      const instance = instantiate(module, program);
      const run = limitMs === undefined ? instance.run : () => withWatchdog(instance.run, limitMs);
      return { run, dispose: () => {} };
    },
  });
}

export const peer: Peer = {
  name: "v8",
  title: "V8 WebAssembly in the process",
  order: 0,
  wall: "language",
  includes: "a new WebAssembly.Instance with memory of its own, and the call",
  leavesOut:
    "compiling the module; V8 compiles hot functions better later on, and warm-up has done that. Memory of instances that ended is freed by the collector, at some later time",
  async available() {
    return {
      version: `V8 ${process.versions.v8} (Node ${process.versions.node})`,
      settings: "a host call is a JavaScript function in the same process",
    };
  },
  prepare,
};
