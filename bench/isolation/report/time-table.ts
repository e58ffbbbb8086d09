/** The figures of one workload's times: rows of words that every form of the report shows alike. */
import type { IsolationReport } from "../result.ts";
import { spellUs } from "./format.ts";
import { cellOf, measuredPeers, WALL_NAMES } from "./view.ts";

export const TIME_HEAD = ["peer", "wall", "ready p50", "result p50", "95 %", "p90", "p99", "max", "samples"];

/** Peers in the order of their walls; who has no figures says why. */
export function timeRows(report: IsolationReport, workload: string): string[][] {
  return measuredPeers(report).map(({ name, title, wall }) => {
    const found = cellOf(report, name, workload);
    const result = found?.result;
    if (!found || !result) {
      return [title, WALL_NAMES[wall], found?.reason ?? found?.status ?? "–", "", "", "", "", "", ""];
    }
    return [
      title,
      WALL_NAMES[wall],
      found.ready ? spellUs(found.ready.p50) : "–",
      spellUs(result.p50),
      `${spellUs(result.p50Interval.low)} – ${spellUs(result.p50Interval.high)}`,
      ...[result.p90, result.p99, result.max].map(spellUs),
      String(result.count),
    ];
  });
}
