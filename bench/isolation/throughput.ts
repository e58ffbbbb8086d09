/** Requests per second on one processor and on two: as many measuring processes, each pinned to one. */
import { cpus } from "node:os";
import { findProgram } from "../peers/support/find-program.ts";
import type { Throughput } from "./messages.ts";
import type { ThroughputResult } from "./result.ts";
import type { Contender, Run, Task } from "./run.ts";

const MOST_CORES = 2;

/** @returns why it cannot be measured, or null */
export function throughputProblem(): string | null {
  return findProgram("taskset") === undefined
    ? "throughput was not measured: taskset is not installed (apt-get install util-linux)"
    : null;
}

export async function measureThroughput(
  run: Run,
  task: Task,
  contender: Contender,
): Promise<ThroughputResult[]> {
  if ((contender.peer.unsuited?.(task.program) ?? null) !== null) return [];
  const results: ThroughputResult[] = [];
  for (let cores = 1; cores <= Math.min(MOST_CORES, cpus().length); cores++) {
    run.progress(
      `throughput: ${contender.peer.name}, ${task.workload.name}, ${cores} core${cores === 1 ? "" : "s"}`,
    );
    const parts = await atTheSameTime(run, task, contender, cores);
    const perSecond = parts.reduce((sum, { requests, elapsedUs }) => sum + requests / (elapsedUs / 1e6), 0);
    results.push({ workload: task.workload.name, cores, requestsPerSecond: perSecond });
  }
  return results;
}

async function atTheSameTime(
  run: Run,
  task: Task,
  { peer }: Contender,
  cores: number,
): Promise<Throughput[]> {
  const { plan } = run;
  const processes = Array.from({ length: cores }, (_, core) => run.startProcess(peer, core));
  const all = <T>(act: (process: (typeof processes)[number]) => Promise<T>): Promise<T[]> =>
    Promise.all(processes.map(act));
  try {
    await all((process) => process.order<"open">({ op: "open", program: task.program }, plan.deadlineMs));
    // Warms up; and nobody begins before all are there.
    await all((process) =>
      process.order<"loop">({ op: "loop", forMs: plan.throughputMs / 4 }, plan.deadlineMs),
    );
    return await all((process) =>
      process.order<"loop">({ op: "loop", forMs: plan.throughputMs }, plan.throughputMs + plan.deadlineMs),
    );
  } finally {
    await Promise.all(processes.map((process) => run.endProcess(process)));
  }
}
