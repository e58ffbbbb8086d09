/** The form of the results, as JSON and as a table. */
import type { Machine } from "./machine.ts";
import type { Measurement, Samples } from "./scenario.ts";
import { percentile, type Summary, summarize } from "./statistics.ts";

interface Figures extends Summary {
  readonly unit: string;
  readonly floor: (Summary & { readonly unit: string }) | null;
  /** p50 / floor.p50: above 1 is worse than the floor. */
  readonly ratio: number | null;
}

export interface RawSamples {
  readonly value: readonly number[];
  readonly floor: readonly number[] | null;
}

/** A figure beside a scenario's main one, in `details.parts`. */
export interface PartReport extends Figures {
  readonly samples: RawSamples;
}

export interface ScenarioReport extends Figures {
  readonly details: Readonly<Record<string, unknown>>;
}

export interface Report {
  readonly machine: Machine;
  /** By `--quick`: no measurement. */
  readonly quick: boolean;
  readonly scenarios: Readonly<Record<string, ScenarioReport>>;
}

/** The quietest tenth: what is left when the rest of the machine is busy. */
const QUIET = 0.1;

function figuresOf({ unit, samples, floor }: Samples): Figures {
  const own = summarize(samples);
  const floorSummary = floor && { unit, ...summarize(floor) };
  return { unit, ...own, floor: floorSummary, ratio: floorSummary && own.p50 / floorSummary.p50 };
}

export function reportOf(measured: Measurement): ScenarioReport {
  const { samples, floor, details, notes = [], parts = {} } = measured;
  const partReports = Object.entries(parts).map(([name, part]): [string, PartReport] => [
    name,
    { ...figuresOf(part), samples: { value: part.samples, floor: part.floor } },
  ]);
  return {
    ...figuresOf(measured),
    details: {
      ...details,
      quiet: floor && {
        p10: percentile(samples, QUIET),
        floorP10: percentile(floor, QUIET),
        ratio: percentile(samples, QUIET) / percentile(floor, QUIET),
      },
      parts: Object.fromEntries(partReports),
      notes,
      samples: { value: samples, floor },
    },
  };
}

export function partsOf({ details }: ScenarioReport): Readonly<Record<string, PartReport>> {
  return (details["parts"] ?? {}) as Readonly<Record<string, PartReport>>;
}

/** How a part is called outside of its scenario. */
export const partName = (scenario: string, part: string): string => `${scenario}, ${part}`;

/** Three digits that say something. */
export function format(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const HEADINGS = ["scenario", "unit", "p50", "p90", "p99", "max", "floor p50", "ratio"];

const row = (name: string, figures: Figures): string[] => [
  name,
  figures.unit,
  ...[figures.p50, figures.p90, figures.p99, figures.max].map(format),
  figures.floor ? format(figures.floor.p50) : "–",
  figures.ratio === null ? "–" : figures.ratio.toFixed(2),
];

export function table(report: Report): string {
  return align([
    HEADINGS,
    ...Object.entries(report.scenarios).flatMap(([name, result]) => [
      row(name, result),
      ...Object.entries(partsOf(result)).map(([part, figures]) => row(partName(name, part), figures)),
    ]),
  ]);
}

/** Columns of words (the first `words`) to the left, of numbers to the right. */
export function align(rows: readonly (readonly string[])[], words = 2): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((cells) => cells[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i < words ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

export function notes(report: Report): string {
  const lines = Object.entries(report.scenarios).flatMap(([name, result]) => {
    const own = result.details["notes"];
    return Array.isArray(own) ? own.map((note) => `${name}: ${String(note)}`) : [];
  });
  return lines.join("\n");
}
