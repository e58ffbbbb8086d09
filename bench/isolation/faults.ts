/** What a function that misbehaves does to its host: tried out, in a measuring process of its own. */
import { oneLine } from "../peers/support/error-text.ts";
import { PeerFailed, type PeerProcess, PeerProcessEnded } from "./peer-process.ts";
import type { CrashResult, StopResult } from "./result.ts";
import type { Contender, Run, Task } from "./run.ts";

/** The functions that misbehave, and one that does not, to see whether the host still works. */
export interface FaultTasks {
  readonly crash: Task;
  readonly spin: Task;
  readonly nothing: Task;
}

/** First the one that hosts may be lost by without a crash; one that is as before serves for the crash too. */
export async function tryFaults(
  run: Run,
  tasks: FaultTasks,
  contender: Contender,
): Promise<{ readonly stop: StopResult; readonly crash: CrashResult }> {
  let process = run.startProcess(contender.peer);
  const clear = async (): Promise<void> => {
    await run.endProcess(process);
    await run.sweep(contender.peer);
  };
  try {
    const stop = await tryStop(run, tasks, contender, process);
    if (stop.verdict === "not stopped") {
      await clear();
      process = run.startProcess(contender.peer);
    }
    return { stop, crash: await tryCrash(run, tasks, contender, process) };
  } finally {
    await clear();
  }
}

async function tryCrash(
  run: Run,
  { crash, nothing }: FaultTasks,
  contender: Contender,
  process: PeerProcess,
): Promise<CrashResult> {
  run.progress(`crash: ${contender.peer.name}`);
  const unsuited = contender.peer.unsuited?.(crash.program) ?? null;
  if (unsuited !== null) return { verdict: "not tested", detail: unsuited };
  try {
    await process.order<"open">({ op: "open", program: crash.program }, run.plan.deadlineMs);
    let said = "";
    try {
      await process.order<"batch">({ op: "batch", count: 1, warmUp: 0 }, run.plan.deadlineMs);
      return { verdict: "not noticed", detail: "the request succeeded" };
    } catch (error) {
      if (!(error instanceof PeerFailed)) throw error;
      said = error.message;
    }
    await process.order<"open">({ op: "open", program: nothing.program }, run.plan.deadlineMs);
    await process.order<"batch">({ op: "batch", count: 1, warmUp: 0 }, run.plan.deadlineMs);
    return { verdict: "contained", detail: `the request fails (${oneLine(said)}); the next one works` };
  } catch (error) {
    if (run.signal.aborted) throw error;
    if (error instanceof PeerProcessEnded)
      return { verdict: "takes the host with it", detail: oneLine(error.message) };
    if (error instanceof PeerFailed)
      return {
        verdict: "takes the host with it",
        detail: `no request works afterwards: ${oneLine(error.message)}`,
      };
    throw error;
  }
}

async function tryStop(
  run: Run,
  { spin, nothing }: FaultTasks,
  contender: Contender,
  process: PeerProcess,
): Promise<StopResult> {
  const unsuited = contender.peer.unsuited?.(spin.program) ?? null;
  if (unsuited !== null) return { verdict: "not tested", detail: unsuited, lateMs: [] };
  const { stopAfterMs, stopRounds, deadlineMs, lostAfterMs } = run.plan;
  const lateMs: number[] = [];
  try {
    await process.order<"open">({ op: "open", program: spin.program }, deadlineMs);
    for (let round = 0; round < stopRounds; round++) {
      run.progress(`stop: ${contender.peer.name}, ${round + 1} of ${stopRounds}`);
      const answer = await process.order<"stop">(
        { op: "stop", limitMs: stopAfterMs },
        stopAfterMs + lostAfterMs,
      );
      if (answer.how !== "stopped") {
        return { verdict: "not stopped", detail: `${answer.how}: ${oneLine(answer.message)}`, lateMs };
      }
      lateMs.push(answer.elapsedMs - stopAfterMs);
    }
    await process.order<"open">({ op: "open", program: nothing.program }, deadlineMs);
    await process.order<"batch">({ op: "batch", count: 1, warmUp: 0 }, deadlineMs);
    return { verdict: "stopped", detail: "by its own means; the next request works", lateMs };
  } catch (error) {
    if (run.signal.aborted) throw error;
    if (error instanceof PeerProcessEnded && error.how === "hung") {
      return {
        verdict: "not stopped",
        detail: `the host had no way to end it; after ${lostAfterMs / 1000} s the whole host process was killed`,
        lateMs,
      };
    }
    if (error instanceof PeerProcessEnded || error instanceof PeerFailed) {
      return { verdict: "not stopped", detail: oneLine(error.message), lateMs };
    }
    throw error;
  }
}
