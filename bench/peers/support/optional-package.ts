/** Packages that barecell does not need, but a peer: taken from where the user is, or from beside barecell. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Unavailable } from "../peer.ts";
import { errorText } from "./error-text.ts";

/** @throws Unavailable if it is not installed or cannot be loaded */
export async function optionalPackage<T>(name: string, install: string): Promise<T> {
  const path = find(name);
  if (path === undefined) throw new Unavailable(`the package ${name} is not installed`, install);
  try {
    const module = (await import(pathToFileURL(path).href)) as { default?: T };
    return module.default ?? (module as T);
  } catch (error) {
    throw new Unavailable(
      `the package ${name} cannot be loaded: ${errorText(error).split("\n")[0] ?? ""}`,
      install,
    );
  }
}

/** The version in the package's own package.json; empty if it cannot be told. Read as a file: few packages export it. */
export function packageVersionOf(name: string): string {
  const path = find(name);
  if (path === undefined) return "";
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    try {
      const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Record<string, unknown>;
      // Some packages have such files of no name further down.
      if (about["name"] === name) return String(about["version"] ?? "");
    } catch {
      // Not in this folder.
    }
  }
  return "";
}

/** The file that the package begins with: beside the folder in which the command runs, or beside barecell. */
function find(name: string): string | undefined {
  for (const from of [join(process.cwd(), "package.json"), import.meta.url]) {
    try {
      return createRequire(from).resolve(name);
    } catch {
      // Not there; perhaps at the next place.
    }
  }
  return undefined;
}
