/** The least that the kernel lets a VM cost: a C program that makes the bare system calls on the same image (bench/floor). */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  type Peer,
  type Prepared,
  type Program,
  type Sample,
  type Setting,
  Stopped,
  Unavailable,
} from "./peer.ts";
import { imageOf, vmAvailable } from "./support/microvm.ts";

/** The parts of what `floor --json` prints. */
interface FloorReport {
  readonly slot: string;
  readonly samples: Readonly<Record<string, readonly number[]>>;
  readonly steps: Readonly<Record<string, readonly number[]>>;
}

const BEFORE_CALL = ["map memory", "create VM", "memory slots", "create vCPU", "CPUID", "registers", "boot"];
const LOOP_RUNS = 100;

async function prepare(program: Program, setting: Setting): Promise<Prepared> {
  const image = await imageOf(program, setting);
  const path = join(setting.scratch, `${program.name}.${process.pid}.cell`);
  if (!existsSync(path)) await image.save(path);
  // The program takes the place among what can be called: functions, and globals (which have a getter).
  const callable = image.exports.filter(({ kind }) => kind === "func" || kind === "global");
  const place = callable.findIndex(({ name }) => name === "kernel_run");
  const run = async (runs: number, limitMs = 0): Promise<FloorReport> => {
    const words = ["--boot", "direct", "--runs", String(runs), "--steps", "--json"];
    const call = ["--call", String(place), String(program.n)];
    try {
      const { stdout } = await promisify(execFile)(setting.floorPath ?? "", [path, ...words, ...call], {
        maxBuffer: 2 ** 28,
        timeout: limitMs,
        killSignal: "SIGKILL",
      });
      return JSON.parse(stdout) as FloorReport;
    } catch (error) {
      if (error instanceof Error && "killed" in error && error.killed === true) throw new Stopped("killed");
      const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
      throw said === "" ? error : new Error(said);
    }
  };
  return {
    async request(limitMs): Promise<Sample> {
      const { slot, samples, steps } = await run(1, limitMs);
      const resultUs = samples["boot to result"]?.[0] ?? Number.NaN;
      const readyUs = BEFORE_CALL.reduce((sum, name) => sum + (steps[name]?.[0] ?? 0), 0);
      const endUs = resultUs + (samples["close"]?.[0] ?? 0);
      return { readyUs, resultUs, endUs, result: Number(BigInt(slot) & 0xffff_ffffn), output: null };
    },
    async loop(forMs) {
      let [requests, elapsedUs] = [0, 0];
      while (elapsedUs < forMs * 1000) {
        const { samples } = await run(LOOP_RUNS);
        const all = [...(samples["boot to result"] ?? []), ...(samples["close"] ?? [])];
        requests += LOOP_RUNS;
        elapsedUs += all.reduce((sum, us) => sum + us, 0);
      }
      return { requests, elapsedUs };
    },
    async dispose() {},
  };
}

export const peer: Peer = {
  name: "floor",
  title: "bare system calls from C (the floor)",
  order: 0,
  wall: "vm",
  includes:
    "the KVM calls that a VM needs, on barecell's image, in ring 3 at once; the call. Five boots warm up before each",
  leavesOut:
    "Node, checks, limits, deadlines, imports, large pages for large memories: it is no product, but what one could cost at least",
  async available(setting) {
    if (setting.floorPath === null) throw new Unavailable("no C compiler was found", "apt-get install gcc");
    await vmAvailable(setting);
    return { version: "bench/floor", settings: "boot: direct" };
  },
  unsuited({ callsHost, input }) {
    if (callsHost) return "the floor program answers no imports";
    return input === null ? null : "the floor program hands over no input";
  },
  prepare,
};
