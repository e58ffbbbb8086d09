/** barecell's own ways to start: everything but the options of the boot is the same. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type BootOptions, compile, type Image, isBarecellError, MicroVM } from "barecell";
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
export async function vmAvailable(setting: Setting): Promise<Availability> {
  // An empty module: checks KVM, the addon and the compiler at once.
  const empty = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
  try {
    const vm = MicroVM.bootSync(await compile(empty, { name: "empty", cache: cacheOf(setting) }));
    vm.dispose();
  } catch (error) {
    if (!isBarecellError(error)) throw error;
    throw new Unavailable(`${error.message} (${error.code})`, error.cure);
  }
  return { version: "barecell", settings: "default limits: 256 MiB of memory, 10 s, 1 MiB of stack" };
}

/** The image of a program; all ways to start share one folder, so it is compiled once. */
export function imageOf(program: Program, setting: Setting): Promise<Image> {
  return compile(readFileSync(program.wasmPath), {
    name: program.name,
    cache: cacheOf(setting),
  });
}

const cacheOf = ({ scratch }: Setting): string => join(scratch, "images");

/** How a program's VMs are booted; all else is as barecell has it by default. */
export function bootOptions({ callsHost }: Program, boot: "staged" | "direct"): BootOptions {
  return { boot, ...(callsHost ? { wasi: {} } : {}) };
}

/** A new VM for each request. @param image of the program, or of a snapshot of it */
export async function prepareMicroVm(
  image: Image,
  program: Program,
  boot: "staged" | "direct",
): Promise<Prepared> {
  const options = bootOptions(program, boot);
  const dataAt = addressOfData(image, program);
  const create = (limitMs: number | undefined): LocalInstance => {
    const vm = MicroVM.bootSync(image, options);
    return { run: () => callIn(vm, program, dataAt, limitMs), dispose: () => vm.dispose() };
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

/** Where a program takes its input; a constant of the module, so it need not be asked for again. */
export function addressOfData(image: Image, program: Program): number {
  if (program.input === null) return 0;
  using vm = MicroVM.bootSync(image, bootOptions(program, "direct"));
  return Number(vm.global("kernel_data"));
}

/** What a request does in a VM that is there: input, call, result. @throws Stopped */
export function callIn(
  vm: MicroVM,
  { n, input }: Program,
  dataAt: number,
  limitMs: number | undefined,
): { result: number; output: Uint8Array | null } {
  if (input !== null) vm.memory.write(dataAt, input);
  try {
    const limits = limitMs === undefined ? [] : [{ timeoutMs: limitMs }];
    const result = Number(vm.callSync("kernel_run", n, ...limits)) >>> 0;
    return { result, output: input === null ? null : vm.memory.read(dataAt, result) };
  } catch (error) {
    if (isBarecellError(error) && error.code === "BARECELL_TIMEOUT") throw new Stopped(error.message);
    throw error;
  }
}

/** What the peers of this kind have in common. */
export const MICROVM: Pick<Peer, "wall" | "isOwn" | "available" | "leavesOut"> = {
  wall: "vm",
  isOwn: true,
  available: vmAvailable,
  leavesOut: "compiling the module to an image, once for each module",
};
