/** Memory of an instance: how much more there is with several that have answered and stay. */
import { median } from "./median.ts";
import { kernelBytes, processTree, proportionalBytes } from "./process-memory.ts";
import type { MemoryResult } from "./result.ts";
import type { Contender, Run, Task } from "./run.ts";

/** The kernel frees some of what is gone only a moment later. */
const SETTLE_MS = 100;

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

/** @returns null if the peer cannot keep instances */
export async function measureMemory(
  run: Run,
  task: Task,
  contender: Contender,
): Promise<MemoryResult | null> {
  const { heldInstances: count, holdRounds, holdWarmUp } = run.plan;
  run.progress(`memory: ${contender.peer.name}`);
  await run.order(contender, { op: "open", program: task.program });
  const rounds: { proportionalBytes: number; kernelBytes: number }[] = [];
  for (let round = -holdWarmUp; round < holdRounds; round++) {
    run.progress(`memory: ${contender.peer.name}, ${count} instances`);
    await settle();
    const before = look(run, contender);
    if (!(await run.order(contender, { op: "hold", count }))) return null;
    await settle();
    const with_ = look(run, contender);
    await run.order(contender, { op: "release" });
    if (round < 0) continue;
    rounds.push({
      proportionalBytes: (with_.proportionalBytes - before.proportionalBytes) / count,
      kernelBytes: (with_.kernelBytes - before.kernelBytes) / count,
    });
  }
  return {
    instances: count,
    proportionalBytes: median(rounds.map((round) => round.proportionalBytes)),
    kernelBytes: median(rounds.map((round) => round.kernelBytes)),
    rounds,
  };
}

function look(run: Run, contender: Contender): { proportionalBytes: number; kernelBytes: number } {
  return {
    proportionalBytes: proportionalBytes(processTree(run.processOf(contender).pid)),
    kernelBytes: kernelBytes(),
  };
}
