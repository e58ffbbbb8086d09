/** A workload in V8's WebAssembly, for the peers that use it in one way or another. */
import type { Program } from "../peer.ts";

export interface Instance {
  run(): { result: number; output: Uint8Array | null };
}

/** What a host function costs is the way out of WebAssembly and back; this one does as little as its meaning allows. */
export function plainImports(memory: () => WebAssembly.Memory): WebAssembly.Imports {
  let view: DataView | undefined;
  const clock_res_get = (_id: number, at: number): number => {
    const { buffer } = memory();
    // A memory that grew has another buffer.
    if (view?.buffer !== buffer) view = new DataView(buffer);
    view.setBigUint64(at, 1n, true);
    return 0;
  };
  return { wasi_snapshot_preview1: { clock_res_get } };
}

export function instantiate(
  module: WebAssembly.Module,
  program: Pick<Program, "n" | "input" | "callsHost">,
): Instance {
  let memory: WebAssembly.Memory | undefined;
  const imports = program.callsHost ? plainImports(() => memory as WebAssembly.Memory) : {};
  const instance = new WebAssembly.Instance(module, imports);
  memory = instance.exports["memory"] as WebAssembly.Memory;
  return callable(instance, program);
}

/** @param instance of a workload's module */
export function callable(
  instance: WebAssembly.Instance,
  { n, input }: Pick<Program, "n" | "input">,
): Instance {
  const run = instance.exports["kernel_run"] as (n: number) => number;
  if (input === null) return { run: () => ({ result: run(n) >>> 0, output: null }) };
  const memory = instance.exports["memory"] as WebAssembly.Memory;
  const at = Number((instance.exports["kernel_data"] as { value: number }).value);
  return {
    run: () => {
      new Uint8Array(memory.buffer).set(input, at);
      const result = run(n) >>> 0;
      return { result, output: new Uint8Array(memory.buffer).slice(at, at + result) };
    },
  };
}
