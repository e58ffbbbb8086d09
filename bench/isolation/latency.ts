/** Time from request to result: all peers take turns with the same workload. */
import type { Sample } from "../peers/peer.ts";
import { availableBytes } from "./process-memory.ts";
import type { CellResult } from "./result.ts";
import type { Contender, Run, Task } from "./run.ts";
import type { Summarizer } from "./statistics.ts";

type Samples = CellResult["samples"];

/** A peer while it is measured with one workload. */
interface Lane {
  readonly contender: Contender;
  readonly samples: Samples[number][];
  /** Of one request, about. */
  requestMs: number;
  spentMs: number;
  turn: number;
  trouble: { readonly status: CellResult["status"]; readonly reason: string } | undefined;
}

/** Instances may be more than one at a time: for what ends late. */
const MEMORY_MARGIN = 4;
const MOST_PER_TURN = 50;
const WARM_UP_BUDGET_MS = 500;

export async function measureLatency(
  run: Run,
  task: Task,
  contenders: readonly Contender[],
  summarize: Summarizer,
): Promise<CellResult[]> {
  const lanes: Lane[] = contenders.map((contender) => ({
    contender,
    samples: [],
    requestMs: 0,
    spentMs: 0,
    turn: 0,
    trouble: unsuited(contender, task),
  }));
  try {
    for (const lane of lanes) await attempt(run, lane, () => open(run, lane, task));
    for (let round = 0; lanes.some((lane) => isWaiting(run, lane)); round++) {
      for (let i = 0; i < lanes.length; i++) {
        // Each round begins with another, so that nobody always follows the same neighbour's rest.
        const lane = lanes[(i + round) % lanes.length];
        if (lane === undefined || !isWaiting(run, lane)) continue;
        run.progress(
          `${task.workload.name}: ${lane.contender.peer.name}, ${lane.samples.length} of ${run.plan.samples}`,
        );
        await attempt(run, lane, () => takeTurn(run, lane));
      }
    }
  } catch (error) {
    if (!run.signal.aborted) throw error;
  }
  return lanes.map((lane) => describe(run, lane, task, summarize));
}

function unsuited({ peer }: Contender, { workload, program }: Task): Lane["trouble"] {
  const reason = peer.unsuited?.(program) ?? null;
  if (reason !== null) return { status: "unsuited", reason };
  const needed = (workload.touchesBytes ?? 0) * MEMORY_MARGIN;
  if (needed > availableBytes()) {
    return {
      status: "failed",
      reason: `the machine has not enough free memory for it (${needed / 2 ** 20} MiB)`,
    };
  }
  return undefined;
}

function isWaiting(run: Run, lane: Lane): boolean {
  const { plan } = run;
  if (lane.trouble !== undefined || lane.samples.length >= plan.samples) return false;
  if (run.elapsedMs > plan.hurryAfterMs) return lane.samples.length === 0;
  return lane.samples.length < plan.leastSamples || lane.spentMs < plan.budgetMs;
}

async function attempt(run: Run, lane: Lane, act: () => Promise<void>): Promise<void> {
  if (lane.trouble !== undefined) return;
  try {
    await act();
  } catch (error) {
    const { kind, reason } = await run.failure(error, lane.contender);
    lane.trouble = { status: kind === "hung" ? "hung" : "failed", reason };
  }
}

async function open(run: Run, lane: Lane, task: Task): Promise<void> {
  run.progress(`${task.workload.name}: ${lane.contender.peer.name}, preparing`);
  await run.order(lane.contender, { op: "open", program: task.program });
  const [first] = await run.order(lane.contender, { op: "batch", count: 1, warmUp: 0 });
  lane.requestMs = (first?.endUs ?? 0) / 1000;
  // So slow that a cold start is lost in it.
  if (lane.requestMs > WARM_UP_BUDGET_MS / 2) return;
  const warmUp = Math.min(run.plan.warmUp, Math.floor(WARM_UP_BUDGET_MS / Math.max(lane.requestMs, 0.001)));
  const [second] = await run.order(lane.contender, { op: "batch", count: 1, warmUp });
  lane.requestMs = (second?.endUs ?? 0) / 1000;
}

async function takeTurn(run: Run, lane: Lane): Promise<void> {
  const { plan } = run;
  const fitting = Math.floor(plan.turnMs / Math.max(lane.requestMs, 0.001));
  const count = Math.max(1, Math.min(fitting, MOST_PER_TURN, plan.samples - lane.samples.length));
  const began = performance.now();
  // What takes as long as a turn needs no warming up for it.
  const warmUp = fitting > plan.warmUpPerTurn ? plan.warmUpPerTurn : 0;
  const taken: readonly Sample[] = await run.order(lane.contender, { op: "batch", count, warmUp });
  lane.spentMs += performance.now() - began;
  for (const { readyUs, resultUs, endUs } of taken) {
    lane.samples.push({ turn: lane.turn, readyUs, resultUs, endUs });
  }
  lane.turn++;
}

function describe(run: Run, lane: Lane, task: Task, summarize: Summarizer): CellResult {
  const { samples, trouble } = lane;
  const isShort = run.signal.aborted && isWaiting(run, lane);
  const ready = samples.flatMap(({ readyUs }) => (readyUs === null ? [] : [readyUs]));
  const of = (values: readonly number[]): CellResult["result"] =>
    values.length === 0 ? null : summarize(values);
  return {
    peer: lane.contender.peer.name,
    workload: task.workload.name,
    status: trouble?.status ?? (isShort ? "interrupted" : "measured"),
    reason: trouble?.reason ?? null,
    ready: ready.length < samples.length ? null : of(ready),
    result: of(samples.map(({ resultUs }) => resultUs)),
    end: of(samples.map(({ endUs }) => endUs)),
    samples,
  };
}
