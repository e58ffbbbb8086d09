/** What a function that misbehaves does to its host: tried out, in measuring processes of their own. */
import { oneLine } from "../peers/support/error-text.ts";
import { PeerFailed, PeerProcessEnded } from "./peer-process.ts";
import type { CrashResult, StopResult } from "./result.ts";
import type { Contender, Run, Task } from "./run.ts";

/** The functions that misbehave, and one that does not, to see whether the host still works. */
export interface FaultTasks {
  readonly crash: Task;
  readonly spin: Task;
  readonly nothing: Task;
}

/** How long a host may take for what it should do at once, before it counts as lost. */
const LOST_AFTER_MS = 8000;

export async function tryCrash(
  run: Run,
  { crash, nothing }: FaultTasks,
  contender: Contender,
): Promise<CrashResult> {
  run.progress(`crash: ${contender.peer.name}`);
  const unsuited = contender.peer.unsuited?.(crash.program) ?? null;
  if (unsuited !== null) return { verdict: "not tested", detail: unsuited };
  const process = run.startProcess(contender.peer);
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
  } finally {
    await run.endProcess(process);
    await run.sweep(contender.peer);
  }
}

export async function tryStop(
  run: Run,
  { spin, nothing }: FaultTasks,
  contender: Contender,
): Promise<StopResult> {
  const unsuited = contender.peer.unsuited?.(spin.program) ?? null;
  if (unsuited !== null) return { verdict: "not tested", detail: unsuited, lateMs: [] };
  const { stopAfterMs, stopRounds, deadlineMs } = run.plan;
  const process = run.startProcess(contender.peer);
  const lateMs: number[] = [];
  try {
    await process.order<"open">({ op: "open", program: spin.program }, deadlineMs);
    for (let round = 0; round < stopRounds; round++) {
      run.progress(`stop: ${contender.peer.name}, ${round + 1} of ${stopRounds}`);
      const answer = await process.order<"stop">(
        { op: "stop", limitMs: stopAfterMs },
        stopAfterMs + LOST_AFTER_MS,
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
        detail: `the host had no way to end it; after ${LOST_AFTER_MS / 1000} s the whole host process was killed`,
        lateMs,
      };
    }
    if (error instanceof PeerProcessEnded || error instanceof PeerFailed) {
      return { verdict: "not stopped", detail: oneLine(error.message), lateMs };
    }
    throw error;
  } finally {
    await run.endProcess(process);
    await run.sweep(contender.peer);
  }
}
