/** Two reports side by side: for regressions, and for two machines. */
import { readFileSync } from "node:fs";
import { BarecellError } from "barecell";
import { errorText } from "../peers/support/error-text.ts";
import { areApart } from "./report/findings.ts";
import { digits, spellBytes, spellRate, spellUs } from "./report/format.ts";
import { machineRows } from "./report/markdown.ts";
import { type CellResult, type IsolationReport, SCHEMA } from "./result.ts";
import type { Figures } from "./statistics.ts";

export interface Change {
  readonly peer: string;
  readonly workload: string;
  readonly measure: "result" | "memory" | "throughput on 1 core" | "throughput on 2 cores";
  readonly before: number;
  readonly after: number;
  /** Above 1 is worse: slower, or more memory. */
  readonly ratio: number;
  /** The intervals of the medians do not meet; false where there are no intervals. */
  readonly isClear: boolean;
}

export interface Difference {
  readonly changes: readonly Change[];
  readonly machines: readonly { readonly what: string; readonly before: string; readonly after: string }[];
  /** What only one of them has. */
  readonly missing: readonly string[];
}

/** @throws BARECELL_FILE_UNREADABLE, BARECELL_ARGUMENT_INVALID */
export async function compareReports(
  beforePath: string,
  afterPath: string,
  failAbovePercent: number | undefined,
): Promise<{ ok: boolean; lines: readonly string[]; summary: Difference }> {
  const summary = difference(readReport(beforePath), readReport(afterPath));
  const limit = 1 + (failAbovePercent ?? Number.POSITIVE_INFINITY) / 100;
  const tooSlow = summary.changes.filter(
    ({ measure, ratio, isClear }) => measure === "result" && isClear && ratio > limit,
  );
  return { ok: tooSlow.length === 0, lines: describe(summary, tooSlow, failAbovePercent), summary };
}

/** @throws BARECELL_FILE_UNREADABLE, BARECELL_ARGUMENT_INVALID */
export function readReport(path: string): IsolationReport {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new BarecellError("BARECELL_FILE_UNREADABLE", `cannot read ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
  const report = parse(text);
  if (report === undefined) {
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `${path} is no report.json of \`barecell bench isolation\` (${SCHEMA})`,
    );
  }
  return report;
}

/** Only as far as `difference` relies on it. */
function parse(text: string): IsolationReport | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { schema, cells, peers, machine } = value as Partial<IsolationReport>;
  const isRight =
    schema === SCHEMA &&
    Array.isArray(cells) &&
    cells.every((cell) => isObject(cell) && (cell["result"] === null || hasFigures(cell["result"]))) &&
    Array.isArray(peers) &&
    peers.every((peer) => isObject(peer) && Array.isArray(peer["throughput"])) &&
    isObject(machine) &&
    isObject(machine["mitigations"]);
  return isRight ? (value as IsolationReport) : undefined;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;

function hasFigures(value: unknown): boolean {
  if (!isObject(value) || typeof value["p50"] !== "number") return false;
  const interval = value["p50Interval"];
  return isObject(interval) && typeof interval["low"] === "number" && typeof interval["high"] === "number";
}

export function difference(before: IsolationReport, after: IsolationReport): Difference {
  const missing: string[] = [];
  const changes: Change[] = [];
  for (const cell of before.cells) {
    const other = after.cells.find(({ peer, workload }) => peer === cell.peer && workload === cell.workload);
    const { result } = cell;
    if (!other?.result || !result) {
      if (result) missing.push(`${cell.peer}, ${cell.workload}: only in the first report`);
      else if (other?.result) missing.push(`${cell.peer}, ${cell.workload}: only in the second report`);
      continue;
    }
    changes.push(timeChange({ ...cell, result }, other.result));
  }
  for (const cell of after.cells) {
    const isNew = !before.cells.some(
      ({ peer, workload }) => peer === cell.peer && workload === cell.workload,
    );
    if (isNew && cell.result) missing.push(`${cell.peer}, ${cell.workload}: only in the second report`);
  }
  return {
    changes: [...changes, ...otherChanges(before, after)],
    machines: machines(before, after),
    missing,
  };
}

function timeChange({ peer, workload, result }: CellResult & { result: Figures }, after: Figures): Change {
  return {
    ...{ peer, workload, measure: "result", before: result.p50, after: after.p50 },
    ratio: after.p50 / result.p50,
    isClear: areApart(result.p50Interval, after.p50Interval),
  };
}

/** Memory and throughput: single figures, without an interval. */
function otherChanges(before: IsolationReport, after: IsolationReport): Change[] {
  return before.peers.flatMap((peer) => {
    const other = after.peers.find(({ name }) => name === peer.name);
    const rows: Change[] = [];
    if (peer.memory && other?.memory) {
      const [a, b] = [peer.memory, other.memory].map(
        (memory) => memory.proportionalBytes + memory.kernelBytes,
      );
      rows.push({ ...single(peer.name, "nothing", "memory", a ?? 0, b ?? 0), ratio: (b ?? 0) / (a ?? 0) });
    }
    for (const { workload, cores, requestsPerSecond } of peer.throughput) {
      const match = other?.throughput.find((entry) => entry.workload === workload && entry.cores === cores);
      if (match === undefined) continue;
      const measure = cores === 1 ? "throughput on 1 core" : "throughput on 2 cores";
      const change = single(peer.name, workload, measure, requestsPerSecond, match.requestsPerSecond);
      rows.push({ ...change, ratio: requestsPerSecond / match.requestsPerSecond });
    }
    return rows;
  });
}

const single = (
  peer: string,
  workload: string,
  measure: Change["measure"],
  before: number,
  after: number,
): Change => ({
  ...{ peer, workload, measure, before, after },
  ratio: Number.NaN,
  isClear: false,
});

/** The date is always different. */
function machines(before: IsolationReport, after: IsolationReport): Difference["machines"] {
  const other = new Map(machineRows(after));
  return machineRows(before).flatMap(([what, text]) => {
    const now = other.get(what) ?? "";
    return what === "date" || now === text ? [] : [{ what, before: text, after: now }];
  });
}

/** Less is noise even where intervals do not meet: two runs are never on quite the same machine. */
const NOTABLE = 1.05;

function describe(
  { changes, machines: differences, missing }: Difference,
  tooSlow: readonly Change[],
  limit: number | undefined,
): string[] {
  const clear = changes.filter(({ isClear, ratio }) => isClear && (ratio > NOTABLE || ratio < 1 / NOTABLE));
  const slower = clear.filter(({ ratio }) => ratio > 1).sort((a, b) => b.ratio - a.ratio);
  const quicker = clear.filter(({ ratio }) => ratio < 1).sort((a, b) => a.ratio - b.ratio);
  const rest = changes.filter(({ measure, ratio }) => measure !== "result" && (ratio > 1.25 || ratio < 0.8));
  return [
    ...differences.flatMap(({ what, before, after }, i) => [
      ...(i === 0 ? ["the machines differ:"] : []),
      `  ${what}: ${before} → ${after}`,
    ]),
    ...section("slower now", slower),
    ...section("faster now", quicker),
    ...section("memory and throughput, more than a quarter apart (no intervals: look at several runs)", rest),
    ...(clear.length === 0 ? ["no median is clearly different (by 5 % and more, intervals apart)"] : []),
    ...missing,
    ...(limit === undefined ? [] : [`${tooSlow.length} medians are clearly slower by more than ${limit} %`]),
  ];
}

function section(title: string, changes: readonly Change[]): string[] {
  if (changes.length === 0) return [];
  return [
    `${title}:`,
    ...changes.map(({ peer, workload, measure, before, after, ratio }) => {
      const spell =
        measure === "memory" ? spellBytes : measure.startsWith("throughput") ? spellRate : spellUs;
      const what = measure === "result" ? "" : `, ${measure}`;
      return `  ${peer}, ${workload}${what}: ${spell(before)} → ${spell(after)} (${digits(ratio)}×)`;
    }),
  ];
}
