/** A container engine without a daemon. */
import { basename, join } from "node:path";
import { type Peer, type Setting, Unavailable } from "./peer.ts";
import { hasHybridCgroups, removeCgroups } from "./support/cgroups.ts";
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

const isRoot = (): boolean => process.getuid?.() === 0;

/** All of a run's containers are below it, and their monitors, so that none can be forgotten. */
const cgroupOf = (setting: Setting): string => basename(setting.scratch);

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
  ...(isRoot() ? { runOptions: ["--cgroup-parent", `/${cgroupOf(setting)}`] } : {}),
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
    if (findProgram("podman") === undefined) return;
    await sweepEngine(engine(setting));
    // A container that was interrupted between being made and being started is not removed by the engine.
    if (isRoot()) await removeCgroups(cgroupOf(setting));
  },
};
