/** Reads a file that `--json` wrote: only as far as a comparison relies on it is it looked at. */
import { readFileSync } from "node:fs";
import type { RawSamples, Report } from "./report.ts";

/** The file cannot be read, or is something else. */
export class BadReport extends Error {}

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @throws BadReport */
export function readReport(path: string): Report {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new BadReport(`cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const problem = problemOf(value);
  if (problem !== null)
    throw new BadReport(`${path} is no result of \`npm run bench -- --json\`: ${problem}`);
  const report = value as Report;
  if (report.quick) throw new BadReport(`${path} is of a quick run, which is no measurement`);
  return report;
}

function problemOf(value: unknown): string | null {
  if (!isObject(value)) return "it is no object";
  const { machine, scenarios } = value;
  if (!isObject(machine) || typeof machine["cpu"] !== "string") return "it describes no machine";
  if (!isObject(scenarios)) return "it has no scenarios";
  for (const [name, scenario] of Object.entries(scenarios)) {
    const details = isObject(scenario) ? scenario["details"] : undefined;
    if (!isObject(scenario) || !isObject(details)) return `the scenario '${name}' has no details`;
    const parts = details["parts"] ?? {};
    if (!isObject(parts)) return `the scenario '${name}' has parts that are no object`;
    const figures: [string, unknown, unknown][] = [[name, scenario, details["samples"]]];
    for (const [part, figure] of Object.entries(parts)) {
      figures.push([`${name}, ${part}`, figure, isObject(figure) ? figure["samples"] : undefined]);
    }
    for (const [title, figure, samples] of figures) {
      if (!isObject(figure) || typeof figure["unit"] !== "string") return `'${title}' has no unit`;
      if (!areSamples(samples)) return `'${title}' has no samples`;
    }
  }
  return null;
}

function areSamples(value: unknown): value is RawSamples {
  const isList = (list: unknown): boolean =>
    Array.isArray(list) && list.length > 0 && list.every((sample) => Number.isFinite(sample));
  return isObject(value) && isList(value["value"]) && (value["floor"] === null || isList(value["floor"]));
}
