/** Container engines: Docker and Podman take the same commands. The image is made on the spot and has one file; nothing is pulled. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Prepared, Program, Setting } from "../peer.ts";
import { prepareLaunched, programArguments } from "./launched.ts";

export interface Engine {
  readonly name: string;
  /** Program and options that all its commands take. */
  readonly command: readonly string[];
}

export const ENGINE_SETTINGS =
  "network none, no capabilities, no new privileges, read-only root; everything else as the engine has it";
export const ENGINE_INCLUDES =
  "the engine's client, its set-up of storage and cgroup, the OCI runtime, exec of a static program, the result through the engine's streams";
export const ENGINE_LEAVES_OUT = "pulling images, network set-up";

/** Engines try to raise these limits, which a host may not allow. */
const LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
const PATIENCE_MS = 60_000;

/** Images of this run have its process's number, so that those of others are left alone. */
const imageName = (program: Program): string => `barecell-bench-${process.pid}-${program.name}`;

function run(engine: Engine, words: readonly string[], input?: Uint8Array): string {
  const [path = "", ...options] = engine.command;
  return execFileSync(path, [...options, ...words], {
    encoding: "utf8",
    timeout: PATIENCE_MS,
    stdio: ["pipe", "pipe", "pipe"],
    ...(input === undefined ? {} : { input }),
  });
}

export async function prepareEngine(engine: Engine, program: Program, setting: Setting): Promise<Prepared> {
  const folder = join(setting.scratch, `${engine.name}-${process.pid}-${program.name}`);
  mkdirSync(folder, { recursive: true });
  copyFileSync(program.programPath ?? "", join(folder, "program"));
  const archive = execFileSync("tar", ["-C", folder, "-cf", "-", "program"], { maxBuffer: 2 ** 28 });
  const image = imageName(program);
  run(engine, ["import", "-", image], archive);
  const launched = await prepareLaunched(program, setting, {
    start: [
      ...engine.command,
      ...["run", "--rm", "--interactive", "--name", "{id}", "--network", "none", "--cap-drop", "ALL"],
      ...["--security-opt", "no-new-privileges", "--read-only", ...LIMITS, image, "/program"],
      ...programArguments(program),
    ],
    stop: [...engine.command, "kill", "{id}"],
    after: [...engine.command, "rm", "--force", "{id}"],
  });
  return {
    ...launched,
    async dispose() {
      await launched.dispose();
      run(engine, ["rmi", "--force", image]);
    },
  };
}

/** Removes the containers and images that a killed measuring process left. */
export async function sweepEngine(engine: Engine): Promise<void> {
  const lines = (text: string): string[] =>
    text.split("\n").filter((line) => line.includes("barecell-bench-"));
  try {
    const containers = lines(run(engine, ["ps", "--all", "--format", "{{.Names}}"]));
    if (containers.length > 0) run(engine, ["rm", "--force", ...containers]);
    const images = lines(run(engine, ["images", "--format", "{{.Repository}}"]));
    if (images.length > 0) run(engine, ["rmi", "--force", ...images]);
  } catch {
    // The engine is gone; what it left is in its own hands.
  }
}
