/** What `barecell bench` runs; the command line loads it only then. Terminal and exit status are the command line's own. */
import { BarecellError } from "barecell";
import type { Peer } from "../peers/peer.ts";
import type { Workload } from "../workloads/workload.ts";
import { measure, reasons } from "./measure.ts";
import { FULL, QUICK } from "./plan.ts";
import { allPeers, allWorkloads } from "./registry.ts";
import { loadDraw } from "./report/draw.ts";
import { renderTerminal } from "./report/terminal-table.ts";
import { prepareFolder, writeReport } from "./report/write.ts";
import type { IsolationReport } from "./result.ts";

export { compareReports } from "./compare.ts";

export interface IsolationRequest {
  readonly quick: boolean;
  /** Names; all if absent. */
  readonly peers: readonly string[] | undefined;
  readonly workloads: readonly string[] | undefined;
  /** Samples of each peer and workload, where the plan's own number is not wanted. */
  readonly samples: number | undefined;
  /** As it was typed, to be repeated. */
  readonly command: string;
  /** Where the report is to be written; made if it is not there. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

export interface IsolationOutcome {
  readonly interrupted: boolean;
  /** The paths that were written. */
  readonly files: readonly string[];
  readonly lines: readonly string[];
  readonly summary: object;
}

/** @throws BARECELL_ARGUMENT_INVALID, BARECELL_BENCH_NOTHING_MEASURED, BARECELL_BENCH_PACKAGE_MISSING, BARECELL_FILE_UNWRITABLE */
export async function runIsolation(request: IsolationRequest): Promise<IsolationOutcome> {
  const { peers, workloads, nothing } = await choose(request);
  // What would fail after minutes of measuring fails now.
  await loadDraw();
  prepareFolder(request.folder);
  const report = await run(request, peers, workloads, nothing);
  const files = await writeReport(report, request.folder);
  return {
    interrupted: report.interrupted,
    files,
    lines: renderTerminal(report),
    summary: summaryOf(report),
  };
}

async function choose(
  request: IsolationRequest,
): Promise<{ peers: readonly Peer[]; workloads: readonly Workload[]; nothing: Workload }> {
  const peers = chosen("peer", await allPeers(), request.peers);
  const known = await allWorkloads();
  const workloads = chosen("workload", known, request.workloads);
  const nothing = known.find(({ name }) => name === "nothing");
  if (nothing === undefined) throw new Error("there is no workload 'nothing'");
  return { peers, workloads, nothing };
}

async function run(
  request: IsolationRequest,
  peers: readonly Peer[],
  workloads: readonly Workload[],
  nothing: Workload,
): Promise<IsolationReport> {
  const usual = request.quick ? QUICK : FULL;
  const { samples = usual.samples } = request;
  const plan = { ...usual, samples, leastSamples: Math.min(samples, usual.leastSamples) };
  const report = await measure(
    {
      peers,
      workloads,
      plan,
      command: request.command,
      signal: request.signal,
      progress: request.progress,
    },
    nothing,
  );
  if (!report.interrupted && report.peers.every(({ status }) => status !== "measured")) {
    throw new BarecellError(
      "BARECELL_BENCH_NOTHING_MEASURED",
      `no peer could be measured: ${reasons(report)}`,
    );
  }
  return report;
}

/** For programs: all figures, and not the samples they are made of. */
function summaryOf({ peers, cells }: IsolationReport): object {
  return {
    peers: peers.map(({ name, status, reason, crash, stop, memory, throughput }) => ({
      ...{ name, status, reason, crash, stop, memory, throughput },
    })),
    cells: cells.map(({ samples: _, ...cell }) => cell),
  };
}

/** What can be named, for people. */
export async function listNames(): Promise<{ peers: readonly Peer[]; workloads: readonly Workload[] }> {
  return { peers: await allPeers(), workloads: await allWorkloads() };
}

function chosen<T extends { readonly name: string }>(
  what: string,
  all: readonly T[],
  names: readonly string[] | undefined,
): readonly T[] {
  if (names === undefined) return all;
  const unknown = names.filter((name) => !all.some((candidate) => candidate.name === name));
  if (unknown.length > 0 || names.length === 0) {
    const problem = unknown.length > 0 ? `no such ${what}: ${unknown.join(", ")}` : `no ${what} is named`;
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `${problem}; there are ${all.map(({ name }) => name).join(", ")}`,
    );
  }
  return all.filter(({ name }) => names.includes(name));
}
