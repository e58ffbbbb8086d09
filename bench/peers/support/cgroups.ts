/** Hosts with both kinds of cgroup mounted ("hybrid"), which some runtimes refuse. */
import { existsSync } from "node:fs";

const UNIFIED = "/sys/fs/cgroup/unified";

export const hasHybridCgroups = (): boolean =>
  existsSync(`${UNIFIED}/cgroup.procs`) && !existsSync("/sys/fs/cgroup/cgroup.procs");

/** Runs the command that follows in a mount namespace in which only the old kind is there. Nothing of it is in any time. */
export const HIDE_CGROUP2: readonly string[] = [
  ...["unshare", "--mount", "sh", "-c"],
  `umount ${UNIFIED} && exec "$0" "$@"`,
];
