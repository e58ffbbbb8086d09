/** Places in the project, wherever this file runs from: bench/ in tests, build/bench/ otherwise. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function findRoot(from: string): string {
  if (existsSync(join(from, "package.json"))) return from;
  const parent = dirname(from);
  if (parent === from) throw new Error("the project's package.json was not found");
  return findRoot(parent);
}

export const PROJECT = findRoot(dirname(fileURLToPath(import.meta.url)));

export const inProject = (...parts: string[]): string => join(PROJECT, ...parts);

/** Programs of third parties, which are no part of the project: may be absent. */
export const testData = (...parts: string[]): string =>
  join(process.env["BARECELL_TEST_DATA"] ?? inProject("..", "shared", "data"), ...parts);
