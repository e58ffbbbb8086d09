/** One whole measurement, from what is there to what was found. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BarecellError } from "barecell";
import { describeMachine } from "../machine.ts";
import { type Peer, Unavailable } from "../peers/peer.ts";
import { errorText } from "../peers/support/error-text.ts";
import { crash, spin } from "../workloads/faults.ts";
import type { Workload } from "../workloads/workload.ts";
import { type FaultTasks, tryFaults } from "./faults.ts";
import { measureLatency } from "./latency.ts";
import { measureMemory } from "./memory.ts";
import { PeerFailed } from "./peer-process.ts";
import type { Plan } from "./plan.ts";
import { buildProgram, buildTools } from "./programs.ts";
import {
  type CellResult,
  type IsolationReport,
  type PeerResult,
  SCHEMA,
  type TimelineResult,
} from "./result.ts";
import { type Contender, Interrupted, Run, type Task } from "./run.ts";
import { severalAtOnce } from "./several-at-once.ts";
import { loadSummarizer } from "./statistics.ts";
import { measureThroughput, throughputProblem } from "./throughput.ts";

export interface MeasureRequest {
  readonly peers: readonly Peer[];
  readonly workloads: readonly Workload[];
  /** Measures throughput, memory and the effects of faults; not only latency. */
  readonly plan: Plan;
  readonly command: string;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** What is known of a peer so far. */
type Findings = { -readonly [K in keyof PeerResult]: PeerResult[K] };

/** The workload that stands for "anything": what is not about one of them is measured with it. */
const NOTHING = "nothing";

/** @throws BARECELL_BENCH_NOTHING_MEASURED if none of the workloads is present */
export async function measure(request: MeasureRequest, nothing: Workload): Promise<IsolationReport> {
  const started = new Date().toISOString();
  const machine = describeMachine();
  const summarize = await loadSummarizer(request.plan.bootstrapRounds);
  const scratch = mkdtempSync(join(tmpdir(), "barecell-bench-"));
  const findings = request.peers.map(unknownYet);
  const cells: CellResult[] = [];
  const timelines: TimelineResult[] = [];
  let workloads = request.workloads;
  let run: Run | undefined;
  try {
    request.progress("building what the peers run");
    const setting = await buildTools(scratch);
    const current = new Run(request.plan, setting, request.signal, request.progress);
    run = current;
    const tasks = await buildAll(current, [nothing, crash, spin, ...request.workloads]);
    const task = (name: string): Task => tasks.get(name) as Task;
    workloads = request.workloads.filter(({ name }) => tasks.has(name));
    if (workloads.length === 0) {
      throw new BarecellError("BARECELL_BENCH_NOTHING_MEASURED", current.warnings.join("; "));
    }
    const faults: FaultTasks = { crash: task("crash"), spin: task("spin"), nothing: task(NOTHING) };
    // Nothing is measured yet, so they may be in each other's way.
    const found = await severalAtOnce(request.peers, (peer) =>
      findContender(current, peer, task(NOTHING), findingsOf(findings, peer)),
    );
    const contenders = found.filter((contender) => contender !== undefined);
    for (const { name } of workloads) {
      cells.push(...(await measureLatency(current, task(name), contenders, summarize)));
    }
    for (const contender of contenders) {
      await lookCloser(
        current,
        contender,
        findingsOf(findings, contender.peer),
        timelines,
        faults,
        workloads.map(({ name }) => task(name)),
      );
    }
  } catch (error) {
    if (!(error instanceof Interrupted) && !request.signal.aborted) throw error;
  } finally {
    await run?.close(request.peers);
    rmSync(scratch, { recursive: true, force: true });
  }
  const problem = throughputProblem();
  return {
    schema: SCHEMA,
    command: request.command,
    started,
    finished: new Date().toISOString(),
    interrupted: request.signal.aborted,
    quick: request.plan.quick,
    machine,
    plan: { ...request.plan },
    workloads: workloads.map(({ name, title, n, quick }) => ({
      name,
      title,
      n: request.plan.quick ? (quick?.n ?? n) : n,
    })),
    peers: findings,
    cells,
    timelines,
    warnings: [...(run?.warnings ?? []), ...(problem === null ? [] : [problem])],
  };
}

/** By name. A workload that is no part of the project and not present is left out, with a warning. @throws Interrupted */
async function buildAll(run: Run, workloads: readonly Workload[]): Promise<Map<string, Task>> {
  const byName = new Map(workloads.map((workload) => [workload.name, workload]));
  const tasks = await severalAtOnce([...byName.values()], async (workload) => {
    run.progress(`building ${workload.name}`);
    try {
      return { workload, program: await buildProgram(workload, run.setting, run.plan.quick) };
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      run.warnings.push(`${workload.name} was not measured: ${error.message} (${error.install})`);
      return undefined;
    }
  });
  return new Map(tasks.filter((task) => task !== undefined).map((task) => [task.workload.name, task]));
}

const findingsOf = (findings: readonly Findings[], peer: Peer): Findings =>
  findings.find(({ name }) => name === peer.name) as Findings;

function unknownYet(peer: Peer): Findings {
  return {
    name: peer.name,
    title: peer.title,
    wall: peer.wall,
    isOwn: peer.isOwn ?? false,
    isAhead: peer.isAhead ?? false,
    status: "unavailable",
    reason: "the measurement ended before it was looked at",
    install: null,
    version: null,
    settings: null,
    includes: peer.includes,
    leavesOut: peer.leavesOut,
    crash: null,
    stop: null,
    memory: null,
    memoryProblem: null,
    throughput: [],
  };
}

/** Whether the peer is there, and does run a function. */
async function findContender(
  run: Run,
  peer: Peer,
  { program }: Task,
  findings: Findings,
): Promise<Contender | undefined> {
  run.progress(`looking for ${peer.name}`);
  const contender: Contender = { peer, version: "", settings: null, process: undefined, deaths: 0 };
  try {
    const { version, settings = null } = await run.order(contender, { op: "available" });
    Object.assign(findings, { version, settings });
    const unsuited = peer.unsuited?.(program) ?? null;
    if (unsuited !== null) throw new PeerFailed(unsuited, undefined);
    await run.order(contender, { op: "open", program });
    await run.order(contender, { op: "batch", count: 1, warmUp: 0 });
    Object.assign(findings, { status: "measured", reason: null });
    return { ...contender, version, settings };
  } catch (error) {
    const { reason } = await run.failure(error, contender);
    const install = error instanceof PeerFailed ? (error.install ?? null) : null;
    const isThere = findings.version !== null;
    Object.assign(findings, {
      status: isThere ? "failed" : "unavailable",
      reason: isThere ? `it may not run here, or does not work: ${reason}` : reason,
      install,
    });
    if (contender.process !== undefined) await run.endProcess(contender.process);
    return undefined;
  }
}

/** All that is measured of a peer by itself. */
async function lookCloser(
  run: Run,
  contender: Contender,
  findings: Findings,
  timelines: TimelineResult[],
  faults: FaultTasks,
  tasks: readonly Task[],
): Promise<void> {
  const attempt = async (act: () => Promise<void>, failed: (reason: string) => void): Promise<void> => {
    try {
      await act();
    } catch (error) {
      failed((await run.failure(error, contender)).reason);
    }
  };
  const warn = (reason: string): void => {
    run.warnings.push(`${contender.peer.name}: ${reason}`);
  };
  await attempt(
    async () => {
      findings.memory = await measureMemory(run, faults.nothing, contender);
      if (findings.memory === null) findings.memoryProblem = "it keeps no instances that could be looked at";
    },
    (reason) => {
      findings.memoryProblem = reason;
    },
  );
  await attempt(async () => {
    const { timeline } = await run.order(contender, { op: "details" });
    if (timeline !== undefined) {
      const { totalUs, steps } = timeline as Omit<TimelineResult, "peer">;
      timelines.push({ peer: contender.peer.name, totalUs, steps });
    }
  }, warn);
  if (throughputProblem() === null) {
    for (const task of tasks
      .filter(({ workload }) => workload.forThroughput)
      .slice(0, run.plan.throughputWorkloads)) {
      await attempt(async () => {
        findings.throughput = [...findings.throughput, ...(await measureThroughput(run, task, contender))];
      }, warn);
    }
  }
  await attempt(async () => {
    Object.assign(findings, await tryFaults(run, faults, contender));
  }, warn);
}

/** For the message when nothing could be measured. */
export function reasons(report: IsolationReport): string {
  return report.peers.map(({ name, reason }) => `${name}: ${reason ?? errorText("unknown")}`).join("; ");
}
