/** The report as its pages need it: what was measured of whom, in the order of the walls. */
import { WALLS, type Wall } from "../../peers/peer.ts";
import type { CellResult, IsolationReport, PeerResult } from "../result.ts";

export function cellOf(report: IsolationReport, peer: string, workload: string): CellResult | undefined {
  return report.cells.find((cell) => cell.peer === peer && cell.workload === workload);
}

/** Cells of a workload that have figures, fastest first. */
export function measuredCells(
  report: IsolationReport,
  workload: string,
): (CellResult & { result: object })[] {
  return report.cells
    .filter((cell): cell is CellResult & { result: NonNullable<CellResult["result"]> } => {
      return cell.workload === workload && cell.result !== null;
    })
    .sort((a, b) => (a.result?.p50 ?? 0) - (b.result?.p50 ?? 0));
}

export const measuredPeers = (report: IsolationReport): PeerResult[] =>
  report.peers.filter(({ status }) => status === "measured");

export const otherPeers = (report: IsolationReport): PeerResult[] =>
  report.peers.filter(({ status }) => status !== "measured");

export function peerOf(report: IsolationReport, name: string): PeerResult | undefined {
  return report.peers.find((peer) => peer.name === name);
}

export const WALL_NAMES: Readonly<Record<Wall, string>> = {
  none: "none",
  language: "language",
  thread: "thread or isolate",
  process: "process",
  container: "container",
  kernel: "user-space kernel",
  vm: "virtual machine",
};

/** From nothing to most. */
export const WALL_ORDER = Object.keys(WALLS) as Wall[];

/** The workload that the general figures are about: pure start if it was measured, else the first. */
export function mainWorkload(report: IsolationReport): string | undefined {
  const names = report.workloads.map(({ name }) => name);
  return names.includes("nothing") ? "nothing" : names[0];
}
