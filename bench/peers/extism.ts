/** Extism: plug-ins in WebAssembly, by the makers' package for JavaScript, which runs them in V8. */
import { readFileSync } from "node:fs";
import { type Peer, type Prepared, type Program, type Sample, Unavailable } from "./peer.ts";
import { nowUs } from "./support/clock.ts";
import { ENTRY, makePlugin } from "./support/extism-plugin.ts";
import { optionalPackage, packageVersionOf } from "./support/optional-package.ts";

/** The part of the package that is used. */
interface Extism {
  createPlugin?(
    manifest: { wasm: readonly { module: WebAssembly.Module; name: string }[] },
    options: { useWasi: boolean; runInWorker: boolean },
  ): Promise<Plugin>;
}
interface Plugin {
  call(name: string, input: Uint8Array): Promise<DataView | null>;
  close(): Promise<void>;
}

const NAME = "@extism/extism";
const INSTALL = `npm install ${NAME} (1.0 or later)`;

type CreatePlugin = NonNullable<Extism["createPlugin"]>;

/** @throws Unavailable */
async function load(): Promise<CreatePlugin> {
  const { createPlugin } = await optionalPackage<Extism>(NAME, INSTALL);
  if (typeof createPlugin !== "function") {
    throw new Unavailable(
      `the package ${NAME} ${packageVersionOf(NAME)} is not one that is known here: it has no createPlugin()`,
      INSTALL,
    );
  }
  return createPlugin;
}

async function prepare(program: Program): Promise<Prepared> {
  const createPlugin = await load();
  const module = new WebAssembly.Module(
    await makePlugin(readFileSync(program.wasmPath), program.input !== null),
  );
  const manifest = { wasm: [{ module, name: "main" }] };
  const options = { useWasi: program.callsHost, runInWorker: false };
  const create = (): Promise<Plugin> => createPlugin(manifest, options);
  const run = async (plugin: Plugin): Promise<Pick<Sample, "result" | "output">> =>
    read(await plugin.call(ENTRY, inputOf(program)), program);
  return {
    async request() {
      const begin = nowUs();
      const plugin = await create();
      const readyUs = nowUs() - begin;
      try {
        const { result, output } = await run(plugin);
        const resultUs = nowUs() - begin;
        await plugin.close();
        return { readyUs, resultUs, endUs: nowUs() - begin, result, output };
      } catch (error) {
        await plugin.close();
        throw error;
      }
    },
    async hold(count) {
      const plugins: Plugin[] = [];
      for (let i = 0; i < count; i++) {
        const plugin = await create();
        plugins.push(plugin);
        await run(plugin);
      }
      return async () => {
        for (const plugin of plugins) await plugin.close();
      };
    },
    async dispose() {},
  };
}

/** New each time: the package keeps the buffer that it is given. */
function inputOf({ n, input }: Program): Uint8Array {
  return input === null ? new Uint8Array(BigUint64Array.of(BigInt(n)).buffer) : Uint8Array.from(input);
}

function read(view: DataView | null, { input }: Program): Pick<Sample, "result" | "output"> {
  if (view === null) throw new Error("the plug-in gave no output");
  if (input === null) return { result: Number(view.getBigUint64(0, true)), output: null };
  const output = new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
  return { result: output.length, output };
}

export const peer: Peer = {
  name: "extism",
  title: "Extism plug-in (JavaScript package)",
  order: 2,
  wall: "language",
  includes:
    "making a plug-in of compiled code: an instance with memory of its own, Extism's host functions and store of blocks; input and output through these functions, 8 bytes at a time, as a plug-in kit does it; the call",
  leavesOut:
    "compiling the module; a time limit: the package has none for plug-ins on the calling thread. What calls them is added to the same module, some 30 instructions (bench/peers/support/extism-plugin.ts). Memory of plug-ins that ended is freed by the collector, at some later time",
  async available() {
    await load();
    return {
      version: `${NAME} ${packageVersionOf(NAME)}, V8 ${process.versions.v8} (Node ${process.versions.node})`,
      settings: "no worker thread, nothing allowed; WASI (node:wasi) only where the workload calls it",
    };
  },
  prepare,
};
