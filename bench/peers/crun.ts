/** The container runtime in C, which Podman prefers. */
import { type Peer, Unavailable } from "./peer.ts";
import { HIDE_CGROUP2, hasHybridCgroups } from "./support/cgroups.ts";
import { findProgram, requireProgram, versionOf } from "./support/find-program.ts";
import { native, requireLauncher } from "./support/native.ts";
import {
  OCI_INCLUDES,
  OCI_LEAVES_OUT,
  OCI_SETTINGS,
  type OciRuntime,
  prepareOci,
  sweepOci,
} from "./support/oci.ts";

const runtime = (): OciRuntime => ({
  name: "crun",
  path: requireProgram("crun", "apt-get install crun"),
  // crun refuses hosts that have both kinds of cgroup mounted.
  ...(hasHybridCgroups() ? { prefix: HIDE_CGROUP2 } : {}),
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
    if (hasHybridCgroups() && process.getuid?.() !== 0) {
      throw new Unavailable(
        "crun refuses hosts that have both kinds of cgroup mounted, and hiding one of them needs root",
        "run it as root, or mount cgroup v2 alone",
      );
    }
    const cgroups = hasHybridCgroups()
      ? "; cgroup v1 only, because crun refuses this host's mix of both"
      : "";
    return { version: versionOf(runtime().path), settings: `${OCI_SETTINGS}${cgroups}` };
  },
  prepare: (program, setting) => prepareOci(runtime(), program, setting),
  async sweep(setting) {
    if (findProgram("crun") !== undefined) await sweepOci(runtime(), setting);
  },
};
