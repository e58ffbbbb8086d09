/** How fast whole programs of others run: the part that each marks as its work, in a VM and in V8, in turns. */
import {
  closeSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { compile, type Image, isBarecellError, MicroVM } from "barecell";
import { inProject } from "../paths.ts";
import {
  exampleProgram,
  findTimedPrograms,
  type Program,
  type ProgramFiles,
  wasiOptions,
  withFiles,
} from "../programs.ts";
import { type Measurement, nowUs, type Scenario, type Settings, sampleCount } from "../scenario.ts";
import { geometricMean, percentile } from "../statistics.ts";

/** Below, a run is mostly its beginning and its end; above, no round would end. Milliseconds in Node 20, by the data's manifest. */
const [LEAST_MS, MOST_MS] = [5, 2000];
/** V8 compiles twice, fast first and well later; the first run of a program may be done by then or not. */
const WARM_UP_ROUNDS = 2;

interface Run {
  readonly ms: number;
  readonly exitCode: number;
  readonly stdout: string;
}

/** @param output path of a file for standard output; standard error goes to /dev/null */
type Side = (files: ProgramFiles, output: string, timer: Timer) => number;

interface Samples {
  readonly vm: number[];
  readonly v8: number[];
}

/** Times what is between the program's marks, or all of it if it has none. */
class Timer {
  #beginUs = 0;
  #endUs = 0;
  readonly marks = {
    start: (): void => {
      this.#beginUs = nowUs();
    },
    end: (): void => {
      this.#endUs = nowUs();
    },
  };
  get ms(): number {
    return (this.#endUs - this.#beginUs) / 1000;
  }
}

async function measureProgram(program: Program, rounds: number, settings: Settings): Promise<Samples> {
  const module = readFileSync(program.path);
  const sides: Readonly<Record<keyof Samples, Side>> = {
    vm: vmSide(program, await compile(module, { cache: false })),
    v8: await v8Side(program, module),
  };
  const taken: Samples = { vm: [], v8: [] };
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const vm = await run(program, sides.vm, settings);
    const v8 = await run(program, sides.v8, settings);
    if (vm.exitCode !== v8.exitCode || (program.isRepeatable && vm.stdout !== v8.stdout)) {
      throw new Error(`${program.name} ends otherwise in a VM than in V8`);
    }
    if (round < 0) continue;
    taken.vm.push(vm.ms);
    taken.v8.push(v8.ms);
  }
  return taken;
}

function run(program: Program, side: Side, settings: Settings): Promise<Run> {
  return withFiles(program, settings.scratch, async (files) => {
    const output = join(settings.scratch, "output");
    writeFileSync(output, "");
    const timer = new Timer();
    const exitCode = await side(files, output, timer);
    return { ms: timer.ms, exitCode, stdout: readFileSync(output, "latin1") };
  });
}

/** Closes a file that the program may have closed already: then its number may be that of another file by now. */
function closeIfOpen(fd: number, path: string): void {
  if (
    lstatSync(`/proc/self/fd/${fd}`, { throwIfNoEntry: false }) &&
    readlinkSync(`/proc/self/fd/${fd}`) === path
  ) {
    closeSync(fd);
  }
}

/** Each run in a fresh VM, as in V8 it is in a fresh instance. */
function vmSide(program: Program, image: Image): Side {
  return (files, output, timer) => {
    const [fd, stderr] = [openSync(output, "w"), openSync("/dev/null", "w")];
    try {
      using vm = MicroVM.bootSync(image, {
        wasi: { ...wasiOptions(program, files), stdout: { fd }, stderr: { fd: stderr } },
        ...(program.isMarked ? { imports: { bench: timer.marks } } : {}),
        timeoutMs: Number.POSITIVE_INFINITY,
      });
      return timed(program, timer, () => exitCodeOf(() => vm.callSync("_start")));
    } finally {
      closeSync(fd);
      closeSync(stderr);
    }
  };
}

/** What a program returns by ending, or by an exit in the middle. */
function exitCodeOf(start: () => unknown): number {
  try {
    start();
    return 0;
  } catch (error) {
    if (!isBarecellError(error) || error.exitCode === undefined) throw error;
    return error.exitCode;
  }
}

async function v8Side(program: Program, bytes: Uint8Array<ArrayBuffer>): Promise<Side> {
  // Node 20's WASI asks V8 for memory in the middle of a fast call, in which V8 must not collect garbage but does: one in four of these programs ends it by SIGSEGV.
  setFlagsFromString("--no-turbo-fast-api-calls");
  // Not at the top of the file: importing it prints a warning, in every scenario.
  const { WASI } = await import("node:wasi");
  const module = new WebAssembly.Module(bytes);
  return ({ folder, folderNames }, output, timer) => {
    const paths = [
      realpathSync(program.stdinPath ?? "/dev/null"),
      realpathSync(output),
      "/dev/null",
    ] as const;
    const [stdin, stdout, stderr] = [
      openSync(paths[0], "r"),
      openSync(paths[1], "w"),
      openSync(paths[2], "w"),
    ];
    try {
      const wasi = new WASI({
        version: "preview1",
        args: [...program.args],
        preopens: Object.fromEntries(folderNames.map((name) => [name, folder])),
        ...{ stdin, stdout, stderr },
        returnOnExit: true,
      });
      const imports = { wasi_snapshot_preview1: wasi.wasiImport, bench: timer.marks };
      const instance = new WebAssembly.Instance(module, imports as unknown as WebAssembly.Imports);
      return timed(program, timer, () => wasi.start(instance) ?? 0);
    } finally {
      // What the program closes, Node closes on the host.
      for (const [i, fd] of [stdin, stdout, stderr].entries()) closeIfOpen(fd, paths[i] ?? "");
    }
  };
}

/** @returns what `start` returns; it sets the marks itself where the program does not */
function timed(program: Program, timer: Timer, start: () => number): number {
  if (!program.isMarked) timer.marks.start();
  const exitCode = start();
  if (!program.isMarked) timer.marks.end();
  return exitCode;
}

/** It counts the words of a text. */
const example = (): Program => exampleProgram("words", inProject("ARCHITECTURE.md"));

async function measure(settings: Settings): Promise<Measurement> {
  const found = findTimedPrograms(LEAST_MS, MOST_MS);
  // The test data is no part of the project, and not everybody has it.
  const programs = found.length === 0 || settings.quick ? [example()] : found;
  const rounds = sampleCount(settings, 5, 1);
  const samples = new Map<string, Samples>();
  for (const [i, program] of programs.entries()) {
    settings.progress(`${program.name} (${i + 1} of ${programs.length})`);
    samples.set(program.name, await measureProgram(program, rounds, settings));
  }
  return describe(samples, rounds, found.length > 0);
}

function describe(samples: ReadonlyMap<string, Samples>, rounds: number, hasData: boolean): Measurement {
  const all = [...samples.values()];
  // One sample is one round over all programs, as in the scenario `compute`.
  const perRound = (side: keyof Samples): number[] =>
    Array.from({ length: rounds }, (_, round) =>
      geometricMean(all.map((program) => program[side][round] ?? 0)),
    );
  const speed = ({ vm, v8 }: Samples, figure: (list: readonly number[]) => number): number =>
    figure(v8) / figure(vm);
  const median = (list: readonly number[]): number => percentile(list, 0.5);
  const best = (list: readonly number[]): number => Math.min(...list);
  const speedOfV8 = geometricMean(all.map((program) => speed(program, median)));
  const bestSpeedOfV8 = geometricMean(all.map((program) => speed(program, best)));
  const rows = [...samples].map(([name, program]) => ({
    name,
    vmMs: median(program.vm),
    v8Ms: median(program.v8),
    speedOfV8: speed(program, median),
  }));
  rows.sort((a, b) => a.speedOfV8 - b.speedOfV8);
  return {
    unit: "ms (geometric mean)",
    samples: perRound("vm"),
    floor: perRound("v8"),
    details: {
      warmUpRounds: WARM_UP_ROUNDS,
      speedOfV8,
      best: { speedOfV8: bestSpeedOfV8 },
      programs: rows,
      programSamples: Object.fromEntries(samples),
    },
    notes: [
      ...(hasData ? [] : ["THE TEST DATA IS MISSING: only the project's own example was measured"]),
      `${speedOfV8.toFixed(2)} times the speed of V8 (geometric mean of ${all.length} programs), best rounds ${bestSpeedOfV8.toFixed(2)}`,
      ...rows.map(
        ({ name, vmMs, v8Ms, speedOfV8: ratio }) =>
          `${ratio.toFixed(2).padStart(6)} ${vmMs.toFixed(1).padStart(8)} ms ${v8Ms.toFixed(1).padStart(8)} ms in V8  ${name}`,
      ),
    ],
  };
}

export const programs: Scenario = {
  name: "programs",
  title: "the work of others' programs in a VM; the floor is the same module in V8 (node:wasi)",
  measure,
};
