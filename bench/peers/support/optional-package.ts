/** Packages that barecell does not need, but a peer: taken from where the user is, or from beside barecell. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Unavailable } from "../peer.ts";
import { errorText } from "./error-text.ts";

/** @throws Unavailable if it is not installed or cannot be loaded */
export async function optionalPackage<T>(name: string, install: string): Promise<T> {
  let path: string | undefined;
  for (const from of [join(process.cwd(), "package.json"), import.meta.url]) {
    try {
      path = createRequire(from).resolve(name);
      break;
    } catch {
      // Not there; perhaps at the next place.
    }
  }
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

/** The version in the package's own package.json. */
export function packageVersionOf(name: string): string {
  for (const from of [join(process.cwd(), "package.json"), import.meta.url]) {
    try {
      return (createRequire(from)(`${name}/package.json`) as { version: string }).version;
    } catch {
      // As above; or the package does not export it.
    }
  }
  return "";
}
