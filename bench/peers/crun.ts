/** The container runtime in C, which Podman prefers. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import type { Peer } from "./peer.ts";
import { requireProgram, versionOf } from "./support/find-program.ts";
import { native, requireLauncher } from "./support/native.ts";
import { OCI_INCLUDES, OCI_LEAVES_OUT, OCI_SETTINGS, type OciRuntime, prepareOci, sweepOci } from "./support/oci.ts";

/** crun refuses hosts that have both kinds of cgroup mounted; there it runs without. */
const hasHybridCgroups = (): boolean =>
  existsSync("/sys/fs/cgroup/unified/cgroup.procs") && !existsSync("/sys/fs/cgroup/cgroup.procs");

const runtime = (): OciRuntime => ({
  name: "crun",
  path: requireProgram("crun", "apt-get install crun"),
  options: hasHybridCgroups() ? ["--cgroup-manager=disabled"] : ["--cgroup-manager=cgroupfs"],
});

export const peer: Peer = {
  ...native(""),
  name: "crun",
  title: "container by crun",
  order: 1,
  wall: "container",
  includes: OCI_INCLUDES,
  leavesOut: OCI_LEAVES_OUT,
  async available(setting) {
    requireLauncher(setting);
    const { path } = runtime();
    // Refuses to run at all where its own parts do not fit the system.
    execFileSync(path, ["--version"], { stdio: "ignore", timeout: 10_000 });
    const cgroups = hasHybridCgroups() ? "; NO cgroup: crun refuses this host's hybrid cgroup mounts" : "";
    return { version: versionOf(path), settings: `${OCI_SETTINGS}${cgroups}` };
  },
  prepare: (program, setting) => prepareOci(runtime(), program, setting),
  sweep: (setting) => sweepOci(runtime(), setting),
};
