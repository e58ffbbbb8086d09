/** A comparison, for people. */
import type { Change, Comparison } from "./compare.ts";
import type { Machine } from "./machine.ts";
import { align, format, type Report } from "./report.ts";

const HEADINGS = ["scenario", "unit", "before", "now", "floor", "change", "p", ""];

/** @param tolerance as of a Comparer */
export function describeComparison(
  { changes, regressions, machines, onlyBefore, onlyAfter }: Comparison,
  before: Report,
  after: Report,
  tolerance: number,
): string {
  const paragraphs = [
    [`before: ${spellRun(before.machine)}`, `now:    ${spellRun(after.machine)}`],
    machines.length === 0
      ? []
      : [
          "ANOTHER MACHINE: only what is held against a floor can be compared, and that with care",
          ...machines.map(({ what, before: old, after: now }) => `  ${what}: ${old} → ${now}`),
        ],
    changes.length === 0 ? ["nothing was measured both times"] : [table(changes)],
    [
      ...missing("only before", onlyBefore),
      ...missing("only now", onlyAfter),
      ...(changes.some(({ floorRatio, verdict }) => floorRatio === null && verdict !== "machine")
        ? ["*: without a floor of its own; the machine's drift is that of all floors together"]
        : []),
    ],
    [conclusion(regressions, tolerance)],
  ];
  return paragraphs
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n");
}

const spellRun = ({ commit, date, load }: Machine): string =>
  `commit ${commit}, ${date}, load ${Number(load).toFixed(1)}`;

const missing = (where: string, names: readonly string[]): string[] =>
  names.length === 0 ? [] : [`${where}: ${names.join("; ")}`];

const times = (ratio: number | null): string => (ratio === null ? "?" : `×${ratio.toFixed(2)}`);

function table(changes: readonly Change[]): string {
  const rows = changes.map(({ name, unit, before, after, floorRatio, ratio, probability, verdict }) => [
    ...[name, unit, format(before), format(after)],
    floorRatio === null ? (verdict === "machine" ? "" : "*") : times(floorRatio),
    times(ratio),
    probability === null ? "" : probability < 0.001 ? "<0.001" : probability.toFixed(3),
    verdict === "regression" ? "REGRESSION" : verdict,
  ]);
  const last = HEADINGS.length - 1;
  // The verdict is the only column of words to the right.
  const width = Math.max(...rows.map((row) => row[last]?.length ?? 0));
  return align(
    [HEADINGS, ...rows].map((row) => row.map((cell, i) => (i === last ? cell.padEnd(width) : cell))),
  );
}

function conclusion(regressions: readonly Change[], tolerance: number): string {
  const limit = `${(tolerance * 100).toFixed(0)} %`;
  if (regressions.length === 0) return `no regression: nothing is clearly worse by more than ${limit}`;
  const lines = regressions.map(
    ({ name, ratio }) => `  ${name}: ${(((ratio ?? 1) - 1) * 100).toFixed(0)} % worse`,
  );
  return [
    `${regressions.length} clearly worse by more than ${limit}, the machine's drift taken out:`,
    ...lines,
  ].join("\n");
}
