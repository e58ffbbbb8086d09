/** barecell's own ways to start: everything but the options of the boot is the same. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type BootOptions, compile, isBarecellError, MicroVM } from "barecell";
import {
  type Availability,
  type Peer,
  type Prepared,
  type Program,
  type Setting,
  Stopped,
  Unavailable,
} from "../peer.ts";
import { type LocalInstance, prepareLocal } from "./in-process.ts";

/** The host's process gets a VM that works, or the reason why not, in barecell's own words. */
export async function vmAvailable(): Promise<Availability> {
  // An empty module: checks KVM, the addon and the compiler at once.
  const empty = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
  try {
    const vm = MicroVM.bootSync(await compile(empty, { name: "empty", cache: false }));
    vm.dispose();
  } catch (error) {
    if (!isBarecellError(error)) throw error;
    throw new Unavailable(`${error.message} (${error.code})`, error.cure);
  }
  return { version: "barecell", settings: "default limits: 256 MiB of memory, 10 s, 1 MiB of stack" };
}

/** The image of a program; all ways to start share one folder, so it is compiled once. */
export function imageOf(program: Program, setting: Setting): ReturnType<typeof compile> {
  return compile(readFileSync(program.wasmPath), {
    name: program.name,
    cache: join(setting.scratch, "images"),
  });
}

export async function prepareMicroVm(
  program: Program,
  setting: Setting,
  boot: "staged" | "direct",
): Promise<Prepared> {
  const image = await imageOf(program, setting);
  const options: BootOptions = { boot, ...(program.callsHost ? { wasi: {} } : {}) };
  const dataAt = program.input === null ? 0 : addressOfData(image, options);
  const create = (limitMs: number | undefined): LocalInstance => {
    const vm = MicroVM.bootSync(image, limitMs === undefined ? options : { ...options, timeoutMs: limitMs });
    return { run: () => runIn(vm, program, dataAt), dispose: () => vm.dispose() };
  };
  return prepareLocal({
    create,
    details: async () => {
      using vm = MicroVM.bootSync(image, options);
      vm.callSync("kernel_run", program.n);
      return { timeline: vm.timeline, exits: vm.exits };
    },
  });
}

/** A constant of the module, so it need not be asked for again. */
function addressOfData(image: Awaited<ReturnType<typeof compile>>, options: BootOptions): number {
  using vm = MicroVM.bootSync(image, options);
  return Number(vm.global("kernel_data"));
}

function runIn(
  vm: MicroVM,
  { n, input }: Program,
  dataAt: number,
): { result: number; output: Uint8Array | null } {
  if (input !== null) vm.memory.write(dataAt, input);
  try {
    const result = Number(vm.callSync("kernel_run", n)) >>> 0;
    return { result, output: input === null ? null : vm.memory.read(dataAt, result) };
  } catch (error) {
    if (isBarecellError(error) && error.code === "BARECELL_TIMEOUT") throw new Stopped(error.message);
    throw error;
  }
}

/** What the peers of this kind have in common. */
export const MICROVM: Pick<Peer, "wall" | "isOwn" | "leavesOut"> = {
  wall: "vm",
  isOwn: true,
  leavesOut: "compiling the module to an image, once for each module",
};
