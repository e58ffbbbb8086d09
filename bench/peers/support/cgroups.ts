/** Control groups: hosts that have both kinds mounted, and those that an engine may leave behind. */
import { existsSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";

const MOUNTS = "/sys/fs/cgroup";
const UNIFIED = join(MOUNTS, "unified");

/** Both kinds are mounted ("hybrid"), which some runtimes refuse. */
export const hasHybridCgroups = (): boolean =>
  existsSync(join(UNIFIED, "cgroup.procs")) && !existsSync(join(MOUNTS, "cgroup.procs"));

/** Runs the command that follows in a mount namespace in which only the old kind is there. Nothing of it is in any time. */
export const HIDE_CGROUP2: readonly string[] = [
  ...["unshare", "--mount", "sh", "-c"],
  `umount ${UNIFIED} && exec "$0" "$@"`,
];

const ATTEMPTS = 20;
const PAUSE_MS = 100;

/** Ends all that runs in a group of this name, at the top of any hierarchy, and removes it with all below it. */
export async function removeCgroups(name: string): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const groups = [MOUNTS, ...foldersIn(MOUNTS)]
      .map((mount) => join(mount, name))
      .filter((path) => existsSync(path));
    if (groups.length === 0) return;
    for (const group of groups.flatMap(withChildren)) clear(group);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** The deepest first, as they must be removed. */
const withChildren = (group: string): string[] => [...foldersIn(group).flatMap(withChildren), group];

function foldersIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(path, name));
  } catch {
    return [];
  }
}

function clear(group: string): void {
  try {
    const members = readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean);
    for (const pid of members) process.kill(Number(pid), "SIGKILL");
    rmdirSync(group);
  } catch {
    // Something is dying in it, or it is gone: the next attempt shows.
  }
}
