/** The report for a terminal. */
import type { IsolationReport } from "../result.ts";
import { byPeer, type Comparison, comparedWith, findings, hasOwn, NOT_COMPARED } from "./findings.ts";
import { digits, spellMemory, spellUs } from "./format.ts";
import { cellOf, mainWorkload, measuredPeers, otherPeers, WALL_NAMES } from "./view.ts";

/** @returns lines */
export function renderTerminal(report: IsolationReport): string[] {
  const { faster, slower } = findings(report);
  return [
    ...(report.interrupted ? ["INTERRUPTED: a part of the measurement only", ""] : []),
    ...(hasOwn(report)
      ? [
          ...comparisons("faster than barecell", faster),
          ...comparisons("slower than barecell", slower),
          comparedWith(report),
        ]
      : [NOT_COMPARED]),
    "",
    ...mainTable(report),
    "",
    ...matrix(report),
    ...otherPeers(report).flatMap(({ name, reason, install }, i) => [
      ...(i === 0 ? ["", "not measured:"] : []),
      `  ${name}: ${reason ?? ""}${install === null ? "" : ` (${install})`}`,
    ]),
    ...report.warnings.map((text) => `warning: ${text}`),
    ...(report.quick ? ["", "a quick run: too few samples to be a measurement"] : []),
  ];
}

function comparisons(title: string, list: readonly Comparison[]): string[] {
  if (list.length === 0) return [`${title}: none clearly, of those measured`];
  return [
    `${title}:`,
    ...[...byPeer(list)].map(
      ([peer, entries]) =>
        `  ${peer}: ${entries.map(({ workload, ratio }) => `${workload} ${digits(ratio < 1 ? 1 / ratio : ratio)}×`).join(", ")}`,
    ),
  ];
}

function mainTable(report: IsolationReport): string[] {
  const workload = mainWorkload(report);
  if (workload === undefined) return [];
  const head = ["peer", "wall", "ready", "result p50", "p90", "p99", "max", "memory", "stopped", "crash"];
  const rows = measuredPeers(report).map((peer) => {
    const found = cellOf(report, peer.name, workload);
    const { memory, stop, crash } = peer;
    const result = found?.result;
    return [
      peer.name,
      WALL_NAMES[peer.wall],
      found?.ready ? spellUs(found.ready.p50) : "–",
      ...(result
        ? [result.p50, result.p90, result.p99, result.max].map(spellUs)
        : [found?.status ?? "–", "", "", ""]),
      memory ? spellMemory(memory.proportionalBytes + memory.kernelBytes) : "–",
      stop?.verdict === "stopped" ? `+${digits(Math.max(...stop.lateMs))} ms` : (stop?.verdict ?? "–"),
      crash?.verdict ?? "–",
    ];
  });
  return align([head, ...rows], 2);
}

function matrix(report: IsolationReport): string[] {
  const names = report.workloads.map(({ name }) => name);
  if (names.length < 2) return [];
  const rows = measuredPeers(report).map((peer) => [
    peer.name,
    ...names.map((workload) => {
      const found = cellOf(report, peer.name, workload);
      return found?.result ? spellUs(found.result.p50) : (found?.status ?? "–");
    }),
  ]);
  return align([["result p50", ...names], ...rows], 1);
}

/** @param left how many columns of words there are; the rest are numbers */
function align(rows: readonly (readonly string[])[], left: number): string[] {
  const widths = rows.reduce<number[]>((all, row) => {
    row.forEach((text, i) => {
      all[i] = Math.max(all[i] ?? 0, text.length);
    });
    return all;
  }, []);
  return rows.map((row) =>
    row
      .map((text, i) => (i < left ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}
