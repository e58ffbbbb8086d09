/** Who is faster than barecell, and than whom barecell is faster. What speaks against us is said first. */
import type { IsolationReport } from "../result.ts";
import type { Interval } from "../statistics.ts";
import { measuredCells, peerOf } from "./view.ts";

/**
 * A peer beside the fastest of barecell's own ways, with the same workload. Ways that have VMs ready before the request comes would be compared with peers
 * that begin with nothing, so they count only if no other of our ways was measured.
 */
export interface Comparison {
  readonly workload: string;
  readonly peer: string;
  readonly own: string;
  /** The peer's median divided by ours: below 1 it is faster. */
  readonly ratio: number;
  /** The intervals of the medians do not meet. */
  readonly isClear: boolean;
}

export function compareWithOwn(report: IsolationReport): Comparison[] {
  return report.workloads.flatMap(({ name: workload }) => {
    const cells = measuredCells(report, workload);
    const ways = cells.filter(({ peer }) => peerOf(report, peer)?.isOwn);
    const own = ways.find(({ peer }) => !peerOf(report, peer)?.isAhead) ?? ways[0];
    const ours = own?.result;
    if (own === undefined || ours === undefined || ours === null) return [];
    return cells.flatMap(({ peer, result }) => {
      if (result === null || peerOf(report, peer)?.isOwn) return [];
      return [
        {
          workload,
          peer,
          own: own.peer,
          ratio: result.p50 / ours.p50,
          isClear: areApart(result.p50Interval, ours.p50Interval),
        },
      ];
    });
  });
}

export const areApart = (a: Interval, b: Interval): boolean => a.high < b.low || b.high < a.low;

/** Peers that are clearly faster, by workload; then those that are clearly slower. */
export interface Findings {
  readonly faster: readonly Comparison[];
  readonly slower: readonly Comparison[];
  readonly even: readonly Comparison[];
}

export function findings(report: IsolationReport): Findings {
  const all = compareWithOwn(report);
  return {
    faster: all.filter(({ ratio, isClear }) => isClear && ratio < 1),
    slower: all.filter(({ ratio, isClear }) => isClear && ratio > 1),
    even: all.filter(({ isClear }) => !isClear),
  };
}

/** Without one of barecell's own ways there is nothing to compare with. */
export const hasOwn = (report: IsolationReport): boolean =>
  report.cells.some(({ peer, result }) => result !== null && peerOf(report, peer)?.isOwn);

export const NOT_COMPARED =
  "barecell itself was not measured in this run, so the peers are compared with nothing.";

/** What peers are compared with, in words. */
export function comparedWith(report: IsolationReport): string {
  const coldWasMeasured = report.cells.some(({ peer, result }) => {
    const found = peerOf(report, peer);
    return result !== null && found?.isOwn && !found.isAhead;
  });
  return coldWasMeasured
    ? "Medians of peers are compared with barecell's fastest way that makes a VM for the request, not with those that keep VMs ready (microvm-shell, microvm-pool)."
    : "Medians of peers are compared with VMs that were made before the request came, since none of barecell's other ways was measured.";
}

/** Comparisons of each peer, in the order they come. */
export function byPeer(comparisons: readonly Comparison[]): Map<string, Comparison[]> {
  const map = new Map<string, Comparison[]>();
  for (const comparison of comparisons) {
    const list = map.get(comparison.peer);
    if (list) list.push(comparison);
    else map.set(comparison.peer, [comparison]);
  }
  return map;
}
