/** Kata Containers: a container in a virtual machine with a Linux kernel of its own, started by a container engine. */
import { accessSync, constants } from "node:fs";
import { type Peer, Unavailable } from "./peer.ts";
import {
  daemonVersion,
  ENGINE_INCLUDES,
  ENGINE_LEAVES_OUT,
  ENGINE_SETTINGS,
  type Engine,
  prepareEngine,
  sweepEngine,
} from "./support/engine.ts";
import { findProgram, requireProgram, versionOf } from "./support/find-program.ts";
import { native, requireLauncher } from "./support/native.ts";

const INSTALL =
  "install Docker 23 or later and Kata Containers (https://github.com/kata-containers/kata-containers/releases; its containerd-shim-kata-v2 must be on the PATH of Docker's containerd)";

/** The name by which containerd finds the shim. */
const RUNTIME = "io.containerd.kata.v2";
const SHIM = "containerd-shim-kata-v2";
/** Where Kata's own releases are unpacked to. */
const SHIM_IN_RELEASE = `/opt/kata/bin/${SHIM}`;

const engine = (): Engine => ({
  name: "kata",
  command: [requireProgram("docker", INSTALL)],
  runOptions: ["--runtime", RUNTIME],
});

/** @throws Unavailable */
function findShim(): string {
  const found = findProgram(SHIM);
  if (found !== undefined) return found;
  try {
    accessSync(SHIM_IN_RELEASE, constants.X_OK);
    return SHIM_IN_RELEASE;
  } catch {
    throw new Unavailable(`${SHIM} is not installed`, INSTALL);
  }
}

export const peer: Peer = {
  ...native(""),
  name: "kata",
  title: "Kata Containers (by Docker)",
  order: 3,
  wall: "vm",
  includes: `${ENGINE_INCLUDES}; and Kata's monitor, guest kernel and agent`,
  leavesOut: `${ENGINE_LEAVES_OUT}. Machines are the daemon's children: their memory and the processors they run on are not those of this program`,
  async available(setting) {
    requireLauncher(setting);
    const shim = findShim();
    const docker = daemonVersion(engine(), INSTALL);
    return {
      version: `${versionOf(shim)}, Docker ${docker}`,
      settings: `runtime ${RUNTIME}, its default monitor and kernel; ${ENGINE_SETTINGS}`,
    };
  },
  prepare: (program, setting) => prepareEngine(engine(), program, setting),
  async sweep() {
    if (findProgram("docker") !== undefined) await sweepEngine(engine());
  },
};
