/** What a run prints and writes. */
import type { Entry, Outcome } from "./run-script.ts";

export interface FileResult {
  readonly file: string;
  readonly seconds: number;
  readonly entries: readonly Entry[];
}

export type Counts = Readonly<Record<Outcome, number>>;

export function count(entries: readonly Entry[]): Counts {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { outcome } of entries) counts[outcome]++;
  return counts;
}

export function add(all: readonly Counts[]): Counts {
  const sum = (outcome: Outcome): number => all.reduce((total, counts) => total + counts[outcome], 0);
  return { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
}

/** So many reasons of a file's failures are shown; `--json` has them all. */
const SHOWN_FAILURES = 10;
const SHOWN_REASONS = 4;

/** A file's line, and one for each of its first failures. */
export function fileLines(result: FileResult): string[] {
  const { passed, failed, skipped } = count(result.entries);
  const why = skipped === 0 ? "" : ` (${skipReasons(result.entries)})`;
  const lines = [`${result.file}: passed ${passed}, failed ${failed}, skipped ${skipped}${why}`];
  // A module that cannot be had fails every command that is about it.
  const failures = new Map<string, Entry[]>();
  for (const entry of result.entries) {
    if (entry.outcome !== "failed") continue;
    const same = failures.get(entry.reason);
    if (same) same.push(entry);
    else failures.set(entry.reason, [entry]);
  }
  for (const [reason, [first, ...more]] of [...failures].slice(0, SHOWN_FAILURES)) {
    const where = first && first.line > 0 ? `line ${first.line}: ` : "";
    const others = more.length > 0 ? ` (and ${more.length} more for the same reason)` : "";
    lines.push(`    ${where}${first?.kind}: ${reason}${others}`);
  }
  if (failures.size > SHOWN_FAILURES) lines.push(`    … and ${failures.size - SHOWN_FAILURES} more reasons`);
  return lines;
}

function skipReasons(entries: readonly Entry[]): string {
  const counts = new Map<string, number>();
  for (const { outcome, reason } of entries) {
    if (outcome !== "skipped") continue;
    const short = shortReason(reason);
    counts.set(short, (counts.get(short) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const shown = sorted.slice(0, SHOWN_REASONS).map(([reason, times]) => `${times} ${reason}`);
  if (sorted.length > SHOWN_REASONS) shown.push("…");
  return shown.join("; ");
}

/** Without what differs from module to module. */
export function shortReason(reason: string): string {
  return reason
    .replace(/^(wabt cannot parse it(?: \([^)]*\))?): .*/, "$1")
    .replace(/ \(the module of line.*/, "");
}

export const totalLine = ({ passed, failed, skipped }: Counts): string =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

export interface Report {
  readonly totals: Counts;
  readonly files: readonly ({ readonly file: string; readonly seconds: number } & Counts)[];
  readonly assertions: readonly ({ readonly file: string } & Entry)[];
}

export function makeReport(results: readonly FileResult[]): Report {
  const files = results.map(({ file, seconds, entries }) => ({ file, seconds, ...count(entries) }));
  return {
    totals: add(files),
    files,
    assertions: results.flatMap(({ file, entries }) => entries.map((entry) => ({ file, ...entry }))),
  };
}
