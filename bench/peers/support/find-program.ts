/** Looks for programs of the system. */
import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { Unavailable } from "../peer.ts";

/** Where administrators' programs are; often not on a user's PATH. */
const MORE_PLACES = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/** @returns its path, or undefined */
export function findProgram(name: string): string | undefined {
  const places = [...(process.env["PATH"] ?? "").split(":"), ...MORE_PLACES];
  return places
    .filter((place) => place !== "")
    .map((place) => join(place, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** @throws Unavailable */
export function requireProgram(name: string, install: string): string {
  const found = findProgram(name);
  if (found === undefined) throw new Unavailable(`${name} is not installed`, install);
  return found;
}

/** The first line that the program prints of itself; a program that hangs is given up. */
export function versionOf(path: string, options: readonly string[] = ["--version"]): string {
  try {
    const text = execFileSync(path, options, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 10_000,
    });
    return text.split("\n")[0]?.trim() ?? "";
  } catch {
    return "unknown version";
  }
}
