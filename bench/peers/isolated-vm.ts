/** A V8 isolate without Node in it, by the package isolated-vm. */
import { readFileSync } from "node:fs";
import { type Peer, type Prepared, type Program, type Sample, Stopped } from "./peer.ts";
import { nowUs } from "./support/clock.ts";
import { optionalPackage, packageVersionOf } from "./support/optional-package.ts";

/** The part of the package that is used. */
interface IsolatedVm {
  Isolate: new (options: { memoryLimit: number }) => Isolate;
  ExternalCopy: new (value: unknown) => { copyInto(): unknown };
  Callback: new (run: (...values: never[]) => unknown) => unknown;
}
interface Isolate {
  createContextSync(): Context;
  dispose(): void;
}
interface Context {
  readonly global: { setSync(name: string, value: unknown): void };
  evalSync(code: string, options?: { timeout?: number; copy?: boolean }): unknown;
}

const INSTALL = "npm install isolated-vm (a version that fits this Node)";
const MEMORY_LIMIT_MIB = 128;

/** Runs in the isolate. `bytes`, `n`, `input` and `ask` are set by the host. */
const SETUP = `
  let memory;
  const clock_res_get = (id, at) => {
    new DataView(memory.buffer).setBigUint64(at, BigInt(ask(id)), true);
    return 0;
  };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { wasi_snapshot_preview1: { clock_res_get } });
  memory = exports.memory;
`;
const RUN = `(() => {
  if (input === null) return { result: exports.kernel_run(n) >>> 0, output: null };
  const at = exports.kernel_data.value;
  new Uint8Array(memory.buffer).set(new Uint8Array(input), at);
  const result = exports.kernel_run(n) >>> 0;
  return { result, output: memory.buffer.slice(at, at + result) };
})()`;

async function prepare(program: Program): Promise<Prepared> {
  const ivm = await optionalPackage<IsolatedVm>("isolated-vm", INSTALL);
  const wasm = readFileSync(program.wasmPath);
  const bytes = new ivm.ExternalCopy(wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.length));
  const { input } = program;
  const inputCopy = input === null ? null : new ivm.ExternalCopy(Uint8Array.from(input).buffer);
  const create = (): { isolate: Isolate; context: Context } => {
    const isolate = new ivm.Isolate({ memoryLimit: MEMORY_LIMIT_MIB });
    const context = isolate.createContextSync();
    context.global.setSync("bytes", bytes.copyInto());
    context.global.setSync("n", program.n);
    context.global.setSync("input", inputCopy === null ? null : inputCopy.copyInto());
    context.global.setSync("ask", new ivm.Callback(() => 1));
    context.evalSync(SETUP);
    return { isolate, context };
  };
  return {
    async request(limitMs): Promise<Sample> {
      const begin = nowUs();
      const { isolate, context } = create();
      try {
        const readyUs = nowUs() - begin;
        const options = { copy: true, ...(limitMs === undefined ? {} : { timeout: limitMs }) };
        const { result, output } = context.evalSync(RUN, options) as {
          result: number;
          output: ArrayBuffer | null;
        };
        const resultUs = nowUs() - begin;
        isolate.dispose();
        const bytesOut = output === null ? null : new Uint8Array(output);
        return { readyUs, resultUs, endUs: nowUs() - begin, result, output: bytesOut };
      } catch (error) {
        isolate.dispose();
        if (error instanceof Error && /timed out/.test(error.message)) throw new Stopped(error.message);
        throw error;
      }
    },
    async hold(count) {
      const all = Array.from({ length: count }, create);
      for (const { context } of all) context.evalSync(RUN, { copy: true });
      return async () => {
        for (const { isolate } of all) isolate.dispose();
      };
    },
    async dispose() {},
  };
}

export const peer: Peer = {
  name: "isolated-vm",
  title: "isolated-vm, a new isolate for each request",
  order: 1,
  wall: "thread",
  includes:
    "making isolate and context; compiling the module in it (compiled code cannot be handed over); the call; copying the result out",
  leavesOut: "nothing that a request needs",
  async available() {
    await optionalPackage<IsolatedVm>("isolated-vm", INSTALL);
    return {
      version: `isolated-vm ${packageVersionOf("isolated-vm")}`,
      settings: `${MEMORY_LIMIT_MIB} MiB limit; a host call crosses to the host's isolate`,
    };
  },
  prepare,
};
