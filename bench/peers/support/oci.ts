/** Containers by an OCI runtime alone: a bundle made on the spot, no engine, no network. runc, crun and runsc take the same. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Prepared, Program, Setting } from "../peer.ts";
import { prepareLaunched, programArguments } from "./launched.ts";

export interface OciRuntime {
  readonly name: string;
  readonly path: string;
  /** Before the command: `--root` is added. */
  readonly options?: readonly string[];
  /** Before all of it; replaces itself by the command that follows. */
  readonly prefix?: readonly string[];
}

export const OCI_SETTINGS =
  "pid, mount, network, ipc and uts namespaces; no capabilities, no new privileges, read-only root; user 65534; no seccomp filter";
export const OCI_INCLUDES =
  "the runtime's start: namespaces, cgroup, root file system, pivot, exec of a static program; and writing the result to a pipe";
export const OCI_LEAVES_OUT =
  "engine, image store, overlay file system, network set-up, logging, seccomp filter: an engine adds them";

const NOBODY = 65534;

function configuration(program: Program, mode: string): object {
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  const isRoot = uid === 0;
  const capabilities = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };
  const kinds = ["pid", "network", "ipc", "uts", "mount", ...(isRoot ? [] : ["user"])];
  const user = isRoot ? NOBODY : 0;
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: user, gid: user },
      args: ["/program", ...programArguments(program).map((word) => (word === "{mode}" ? mode : word))],
      env: ["PATH=/"],
      cwd: "/",
      capabilities,
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "bench",
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: {
      namespaces: kinds.map((type) => ({ type })),
      ...(isRoot
        ? {}
        : {
            uidMappings: [{ containerID: 0, hostID: uid, size: 1 }],
            gidMappings: [{ containerID: 0, hostID: gid, size: 1 }],
          }),
    },
  };
}

/** @returns the template of its path: `{mode}` is to be filled in */
function makeBundle(program: Program, folder: string): string {
  if (program.programPath === null) throw new Error(program.nativeProblem ?? "no program");
  for (const mode of ["run", "hold"]) {
    const bundle = join(folder, `${program.name}-${mode}`);
    // The mount points must be there already: the root is read-only.
    for (const place of ["proc", "dev", "sys", "etc"]) {
      mkdirSync(join(bundle, "rootfs", place), { recursive: true });
    }
    copyFileSync(program.programPath, join(bundle, "rootfs", "program"));
    writeFileSync(join(bundle, "config.json"), JSON.stringify(configuration(program, mode)));
  }
  return join(folder, `${program.name}-{mode}`);
}

const stateOf = ({ name }: OciRuntime, setting: Setting): string => join(setting.scratch, `${name}-state`);

export async function prepareOci(runtime: OciRuntime, program: Program, setting: Setting): Promise<Prepared> {
  const bundle = makeBundle(program, join(setting.scratch, `${runtime.name}-${process.pid}`));
  const command = [runtime.path, "--root", stateOf(runtime, setting), ...(runtime.options ?? [])];
  return prepareLaunched(program, setting, {
    ...(runtime.prefix === undefined ? {} : { prefix: runtime.prefix }),
    start: [...command, "run", "--bundle", bundle, "{id}"],
    stop: [...command, "kill", "{id}", "KILL"],
    after: [...command, "delete", "--force", "{id}"],
  });
}

/** Deletes all containers of this run: they are in a state folder of their own. */
export async function sweepOci(runtime: OciRuntime, setting: Setting): Promise<void> {
  const state = stateOf(runtime, setting);
  if (!existsSync(state)) return;
  for (const id of readdirSync(state)) {
    if (!id.startsWith("barecell-bench-")) continue;
    try {
      const [path = "", ...words] = [
        ...(runtime.prefix ?? []),
        ...[runtime.path, "--root", state, ...(runtime.options ?? []), "delete", "--force", id],
      ];
      execFileSync(path, words, { stdio: "ignore", timeout: 20_000 });
    } catch {
      // It went by itself in the meantime; what really stays is in the scratch folder, and named there.
    }
  }
}
