/** What `barecell bench` runs; the command line loads it only then. Terminal and exit status are the command line's own. */
import { cpus } from "node:os";
import { BarecellError } from "barecell";
import type { Peer } from "../peers/peer.ts";
import type { Workload } from "../workloads/workload.ts";
import { measure, reasons } from "./measure.ts";
import { FULL, QUICK } from "./plan.ts";
import { allPeers, allWorkloads } from "./registry.ts";
import type { IsolationReport } from "./result.ts";

export interface IsolationRequest {
  readonly quick: boolean;
  /** Names; all if absent. */
  readonly peers: readonly string[] | undefined;
  readonly workloads: readonly string[] | undefined;
  /** Samples of each peer and workload, where the plan's own number is not wanted. */
  readonly samples: number | undefined;
  /** As it was typed, to be repeated. */
  readonly command: string;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** @throws BARECELL_ARGUMENT_INVALID, BARECELL_BENCH_NOTHING_MEASURED, BARECELL_BENCH_PACKAGE_MISSING */
export async function runIsolation(request: IsolationRequest): Promise<IsolationReport> {
  const peers = chosen("peer", await allPeers(), request.peers);
  const known = await allWorkloads();
  const workloads = chosen("workload", known, request.workloads);
  const nothing = known.find(({ name }) => name === "nothing");
  if (nothing === undefined) throw new Error("there is no workload 'nothing'");
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
    throw new BarecellError("BARECELL_BENCH_NOTHING_MEASURED", `no peer could be measured: ${reasons(report)}`);
  }
  return report;
}

/** What can be named, for people. */
export async function listNames(): Promise<{ peers: readonly Peer[]; workloads: readonly Workload[]; cores: number }> {
  return { peers: await allPeers(), workloads: await allWorkloads(), cores: cpus().length };
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
