/** Requests per second on one processor and on two: as many measuring processes, each pinned to one. */
import { cpus } from "node:os";
import { findProgram } from "../peers/support/find-program.ts";
import type { PeerProcess } from "./peer-process.ts";
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
  { workload, program }: Task,
  { peer }: Contender,
): Promise<ThroughputResult[]> {
  if ((peer.unsuited?.(program) ?? null) !== null) return [];
  const { throughputMs, deadlineMs } = run.plan;
  const results: ThroughputResult[] = [];
  const processes: PeerProcess[] = [];
  try {
    for (let cores = 1; cores <= Math.min(MOST_CORES, cpus().length); cores++) {
      run.progress(`throughput: ${peer.name}, ${workload.name}, ${cores} core${cores === 1 ? "" : "s"}`);
      const process = run.startProcess(peer, cores - 1);
      processes.push(process);
      await process.order<"open">({ op: "open", program }, deadlineMs);
      await process.order<"loop">({ op: "loop", forMs: throughputMs / 4 }, deadlineMs);
      // Nobody begins before all are there and warm.
      const parts = await Promise.all(
        processes.map((each) =>
          each.order<"loop">({ op: "loop", forMs: throughputMs }, throughputMs + deadlineMs),
        ),
      );
      const perSecond = parts.reduce((sum, { requests, elapsedUs }) => sum + requests / (elapsedUs / 1e6), 0);
      results.push({ workload: workload.name, cores, requestsPerSecond: perSecond });
    }
    return results;
  } finally {
    await Promise.all(processes.map((process) => run.endProcess(process)));
  }
}
