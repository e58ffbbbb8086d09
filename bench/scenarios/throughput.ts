/** Fresh-state calls in a row on one processor and on two: cleaning counts, wherever it is done. */
import { execFile } from "node:child_process";
import { cpus } from "node:os";
import { promisify } from "node:util";
import type { FloorReport } from "../floor.ts";
import { HelperProcess, onProcessors } from "../helper-process.ts";
import type { Loop, LoopTask } from "../loop-calls.ts";
import type { Measurement, Samples, Scenario, Settings } from "../scenario.ts";
import { percentile } from "../statistics.ts";
import { addSubject, check, type Subject } from "../subject.ts";

const MOST_CORES = 2;
const ROUNDS = 20;
const STRETCH_MS = 250;
const QUICK_STRETCH_MS = 40;
/** About as long for the floor program. */
const RESETS_PER_MS = 15;
/** In flight for each processor, so that the pool's thread finds answers while VMs run. */
const POOL_VMS_PER_CORE = 2;

const WAYS = ["threads", "pool"] as const;
const TITLES = { threads: "VMs in worker threads", pool: "pool, asynchronous" };

interface Contest {
  readonly cores: number;
  readonly helpers: readonly { readonly way: LoopTask["way"]; readonly helper: HelperProcess }[];
  /** Microseconds for a call, in each stretch. */
  readonly own: Record<LoopTask["way"], number[]>;
  readonly floor: number[];
}

const processors = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

function startContest({ path, call }: Subject, cores: number): Contest {
  const start = (way: LoopTask["way"]): HelperProcess => {
    const count = way === "pool" ? POOL_VMS_PER_CORE * cores : cores;
    const task: LoopTask = { path, call, way, count };
    return HelperProcess.ofScript("loop-calls.js", [JSON.stringify(task)], processors(cores));
  };
  const helpers = WAYS.map((way) => ({ way, helper: start(way) }));
  return { cores, helpers, own: { threads: [], pool: [] }, floor: [] };
}

/** Of several that ran at the same time, together. */
function usPerCall(loops: readonly Loop[]): number {
  return 1 / loops.reduce((sum, { calls, elapsedUs }) => sum + calls / elapsedUs, 0);
}

async function runFloors(
  settings: Settings,
  { path, call, floorCall }: Subject,
  cores: number,
  ms: number,
): Promise<number> {
  const resets = String(ms * RESETS_PER_MS);
  const program = [
    settings.floor,
    path,
    "--boot",
    "direct",
    "--spare",
    ...floorCall,
    "--reset",
    resets,
    "--json",
  ];
  const loops = processors(cores).map(async (processor): Promise<Loop> => {
    const [command = "", ...words] = onProcessors([processor], program);
    const { stdout } = await promisify(execFile)(command, words, { maxBuffer: 2 ** 28 });
    const report = JSON.parse(stdout) as FloorReport;
    check(call, Number(report.slot));
    const samples = report.samples["reset and call"] ?? [];
    return { calls: samples.length, elapsedUs: samples.reduce((sum, us) => sum + us, 0) };
  });
  return usPerCall(await Promise.all(loops));
}

async function measure(settings: Settings): Promise<Measurement> {
  const subject = await addSubject(settings);
  const rounds = settings.runs ?? (settings.quick ? 1 : ROUNDS);
  const ms = settings.quick ? QUICK_STRETCH_MS : STRETCH_MS;
  const contests = processors(Math.min(MOST_CORES, cpus().length)).map((i) => startContest(subject, i + 1));
  try {
    // The first one warms up.
    for (let round = -1; round < rounds; round++) {
      settings.progress(`${round + 1} of ${rounds}`);
      for (const { cores, helpers, own, floor } of contests) {
        for (const { way, helper } of helpers) {
          const took = usPerCall(JSON.parse(await helper.ask(String(ms))) as Loop[]);
          if (round >= 0) own[way].push(took);
        }
        const took = await runFloors(settings, subject, cores, ms);
        if (round >= 0) floor.push(took);
      }
    }
  } finally {
    await Promise.all(contests.flatMap(({ helpers }) => helpers.map(({ helper }) => helper.end())));
  }
  return describe(subject, ms, contests);
}

function describe({ title }: Subject, ms: number, contests: readonly Contest[]): Measurement {
  const rows = contests.toReversed().flatMap(({ cores, own, floor }) =>
    WAYS.map((way) => {
      const samples: Samples = { unit: "us/call", samples: own[way], floor };
      return { name: `${TITLES[way]}, ${cores === 1 ? "1 core" : `${cores} cores`}`, samples };
    }),
  );
  const [first, ...others] = rows;
  if (!first) throw new RangeError("no processors");
  const rate = (samples: readonly number[]): number => Math.round(1e6 / percentile(samples, 0.5));
  const perSecond = rows.map(({ name, samples }) => ({
    name,
    barecell: rate(samples.samples),
    floor: rate(samples.floor ?? []),
  }));
  return {
    ...first.samples,
    parts: Object.fromEntries(others.map(({ name, samples }) => [name, samples])),
    details: { image: title, main: first.name, stretchMs: ms, callsPerSecond: perSecond },
    notes: perSecond.map(
      ({ name, barecell, floor }) =>
        `${name}: ${barecell.toLocaleString("en")} calls per second, floor in as many processes as cores ${floor.toLocaleString("en")}`,
    ),
  };
}

export const throughput: Scenario = {
  name: "throughput",
  title:
    "time for each of many fresh-state calls (reset and call) in a row, by VMs in 2 worker threads on 2 cores; 1 core, and a pool",
  measure,
};
