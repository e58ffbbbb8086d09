/** A container engine without a daemon. */
import { join } from "node:path";
import { type Peer, type Setting, Unavailable } from "./peer.ts";
import { hasHybridCgroups } from "./support/cgroups.ts";
import {
  ENGINE_INCLUDES,
  ENGINE_LEAVES_OUT,
  ENGINE_SETTINGS,
  type Engine,
  prepareEngine,
  sweepEngine,
} from "./support/engine.ts";
import { findProgram, requireProgram, versionOf } from "./support/find-program.ts";
import { native, requireLauncher } from "./support/native.ts";

const INSTALL = "apt-get install podman";

/** Storage of its own, so that the user's images and containers are not touched. */
const engine = (setting: Setting): Engine => ({
  name: "podman",
  command: [
    requireProgram("podman", INSTALL),
    ...["--root", join(setting.scratch, "podman"), "--runroot", join(setting.scratch, "podman-run")],
    ...["--log-level", "error", "--cgroup-manager", "cgroupfs"],
    // Its usual runtime, crun, refuses hosts that have both kinds of cgroup mounted.
    ...(hasHybridCgroups() ? ["--runtime", "runc"] : []),
  ],
});

export const peer: Peer = {
  ...native(""),
  name: "podman",
  title: "Podman",
  order: 4,
  wall: "container",
  includes: ENGINE_INCLUDES,
  leavesOut: ENGINE_LEAVES_OUT,
  async available(setting) {
    requireLauncher(setting);
    const path = requireProgram("podman", INSTALL);
    if (findProgram("conmon") === undefined) throw new Unavailable("conmon is not installed", INSTALL);
    return {
      version: versionOf(path),
      settings: `${hasHybridCgroups() ? "runtime runc" : "its usual runtime"}; ${ENGINE_SETTINGS}`,
    };
  },
  prepare: (program, setting) => prepareEngine(engine(setting), program, setting),
  async sweep(setting) {
    if (findProgram("podman") !== undefined) await sweepEngine(engine(setting));
  },
};
