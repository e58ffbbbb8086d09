/** Builds and runs the floor program (bench/floor), the measure of what the kernel itself costs. */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { inProject } from "./paths.ts";

/** What `floor --json` prints. Microseconds. */
export interface FloorReport {
  readonly boot: "staged" | "direct";
  readonly unit: "us";
  readonly runs: number;
  readonly warmUp: number;
  /** The first result slot of the call. */
  readonly slot: string;
  readonly samples: Readonly<Record<string, readonly number[]>>;
  /** Only with `--steps`. */
  readonly steps?: Readonly<Record<string, readonly number[]>>;
}

const FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"];
const program = inProject("build", "bench", "floor", "floor");

/** @returns the program's path; it is compiled anew when its sources or the ABI header changed */
export function buildFloor(): string {
  const folder = inProject("bench", "floor");
  const sources = readdirSync(folder).map((name) => join(folder, name));
  const newest = Math.max(...[...sources, inProject("guest-stubs", "abi.h")].map(modified));
  if (modified(program) >= newest) return program;
  mkdirSync(inProject("build", "bench", "floor"), { recursive: true });
  // Under another name first: a benchmark may be running the old one.
  const fresh = `${program}.${process.pid}`;
  const inputs = sources.filter((name) => name.endsWith(".c"));
  const options = [...FLAGS, "-I", inProject("guest-stubs"), "-o", fresh, ...inputs];
  execFileSync(process.env["CC"] ?? "cc", options, { stdio: ["ignore", "inherit", "inherit"] });
  renameSync(fresh, program);
  return program;
}

const modified = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

export async function runFloor(
  path: string,
  image: string,
  options: readonly string[],
): Promise<FloorReport> {
  const { stdout } = await promisify(execFile)(path, [image, ...options, "--json"], {
    maxBuffer: 2 ** 28,
  });
  return JSON.parse(stdout) as FloorReport;
}
