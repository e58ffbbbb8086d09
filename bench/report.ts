/** The form of the results, as JSON and as a table. */
import type { Machine } from "./machine.ts";
import type { Measurement } from "./scenario.ts";
import { percentile, type Summary, summarize } from "./statistics.ts";

export interface ScenarioReport extends Summary {
  readonly unit: string;
  readonly floor: (Summary & { readonly unit: string }) | null;
  /** p50 / floor.p50: above 1 is slower than the floor. */
  readonly ratio: number | null;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface Report {
  readonly machine: Machine;
  readonly scenarios: Readonly<Record<string, ScenarioReport>>;
}

/** The quietest tenth: what is left when the rest of the machine is busy. */
const QUIET = 0.1;

export function reportOf(measured: Measurement): ScenarioReport {
  const { unit, samples, floor, details, notes = [] } = measured;
  const own = summarize(samples);
  const floorSummary = floor && { unit, ...summarize(floor) };
  return {
    unit,
    ...own,
    floor: floorSummary,
    ratio: floorSummary && own.p50 / floorSummary.p50,
    details: {
      ...details,
      quiet: floor && {
        p10: percentile(samples, QUIET),
        floorP10: percentile(floor, QUIET),
        ratio: percentile(samples, QUIET) / percentile(floor, QUIET),
      },
      notes,
      samples: { value: samples, floor },
    },
  };
}

/** Three digits that say something. */
export function format(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const HEADINGS = ["scenario", "unit", "p50", "p90", "p99", "max", "floor p50", "ratio"];

/** Columns of words to the left, of numbers to the right. */
export function table(report: Report): string {
  const rows = Object.entries(report.scenarios).map(([name, result]) => [
    name,
    result.unit,
    ...[result.p50, result.p90, result.p99, result.max].map(format),
    result.floor ? format(result.floor.p50) : "–",
    result.ratio === null ? "–" : result.ratio.toFixed(2),
  ]);
  const widths = HEADINGS.map((heading, i) =>
    Math.max(heading.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return [HEADINGS, ...rows].map(line).join("\n");
}

export function notes(report: Report): string {
  const lines = Object.entries(report.scenarios).flatMap(([name, result]) => {
    const own = result.details["notes"];
    return Array.isArray(own) ? own.map((note) => `${name}: ${String(note)}`) : [];
  });
  return lines.join("\n");
}
