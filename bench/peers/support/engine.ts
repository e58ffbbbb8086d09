/** Container engines: Docker and Podman take the same commands. The image is made on the spot and has one file; nothing is pulled. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Prepared, type Program, type Setting, Unavailable } from "../peer.ts";
import { prepareLaunched, programArguments } from "./launched.ts";

export interface Engine {
  readonly name: string;
  /** Program and options that all its commands take. */
  readonly command: readonly string[];
  /** Of `run`, besides those that all engines get. */
  readonly runOptions?: readonly string[];
}

export const ENGINE_SETTINGS =
  "network none, no capabilities, no new privileges, read-only root; everything else as the engine has it";
export const ENGINE_INCLUDES =
  "the engine's client, its set-up of storage and cgroup, the OCI runtime, exec of a static program, the result through the engine's streams";
export const ENGINE_LEAVES_OUT = "pulling images, network set-up";

/** Engines try to raise these limits, which a host may not allow. */
const LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
const REMOVE_ATTEMPTS = 5;
const REMOVE_PAUSE_MS = 300;
const PATIENCE_MS = 60_000;
const DAEMON_PATIENCE_MS = 15_000;

/** Two peers may use one engine, and each clears up behind itself alone. */
const labelOf = ({ name }: Engine): string => `barecell-bench=${name}`;
const imagePrefix = ({ name }: Engine): string => `barecell-bench-${name}-`;

/** Images of this run have its process's number, so that those of others are left alone. */
const imageName = (engine: Engine, program: Program): string =>
  `${imagePrefix(engine)}${process.pid}-${program.name}`;

function run(engine: Engine, words: readonly string[], input?: Uint8Array): string {
  const [path = "", ...options] = engine.command;
  try {
    return execFileSync(path, [...options, ...words], {
      encoding: "utf8",
      timeout: PATIENCE_MS,
      stdio: ["pipe", "pipe", "pipe"],
      ...(input === undefined ? {} : { input }),
    });
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    // The last line is the one that says why; those before it say what it was doing.
    throw said === "" ? error : new Error(said.split("\n").at(-1));
  }
}

/** @throws Unavailable if the daemon that does the engine's work does not answer */
export function daemonVersion({ command: [path = "", ...options] }: Engine, install: string): string {
  try {
    return execFileSync(path, [...options, "version", "--format", "{{.Server.Version}}"], {
      encoding: "utf8",
      timeout: DAEMON_PATIENCE_MS,
      stdio: ["ignore", "pipe", "pipe"],
    }).trim();
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    throw new Unavailable(`the daemon does not answer: ${said.split("\n")[0] ?? ""}`, install);
  }
}

export async function prepareEngine(engine: Engine, program: Program, setting: Setting): Promise<Prepared> {
  const folder = join(setting.scratch, `${engine.name}-${process.pid}-${program.name}`);
  mkdirSync(folder, { recursive: true });
  copyFileSync(program.programPath ?? "", join(folder, "program"));
  const archive = execFileSync("tar", ["-C", folder, "--owner=0", "--group=0", "-cf", "-", "program"], {
    maxBuffer: 2 ** 28,
  });
  const image = imageName(engine, program);
  run(engine, ["import", "-", image], archive);
  const launched = await prepareLaunched(program, setting, {
    start: [
      ...engine.command,
      ...["run", "--pull", "never", "--rm", "--interactive", "--name", "{id}", "--label", labelOf(engine)],
      ...["--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"],
      ...[...LIMITS, ...(engine.runOptions ?? []), image, "/program"],
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
  const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");
  const filter = ["--filter", `label=${labelOf(engine)}`];
  const containers = (): string[] => lines(run(engine, ["ps", "--all", ...filter, "--format", "{{.Names}}"]));
  try {
    // One that is just being made cannot be removed yet, or appears only now.
    for (let attempt = 0; attempt < REMOVE_ATTEMPTS && containers().length > 0; attempt++) {
      try {
        run(engine, ["rm", "--force", ...containers()]);
      } catch (error) {
        if (attempt === REMOVE_ATTEMPTS - 1) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, REMOVE_PAUSE_MS));
    }
    const images = lines(run(engine, ["images", "--format", "{{.Repository}}"])).filter((image) =>
      image.includes(imagePrefix(engine)),
    );
    if (images.length > 0) run(engine, ["rmi", "--force", ...images]);
  } catch {
    // The engine is gone; what it left is in its own hands.
  }
}
