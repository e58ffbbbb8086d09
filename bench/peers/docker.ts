/** What most people call a container. */
import type { Peer } from "./peer.ts";
import {
  daemonVersion,
  ENGINE_INCLUDES,
  ENGINE_LEAVES_OUT,
  ENGINE_SETTINGS,
  type Engine,
  prepareEngine,
  sweepEngine,
} from "./support/engine.ts";
import { findProgram, requireProgram } from "./support/find-program.ts";
import { native, requireLauncher } from "./support/native.ts";

const INSTALL =
  "see https://docs.docker.com/engine/install/; the daemon must run, and this user be allowed to use it";

const engine = (): Engine => ({ name: "docker", command: [requireProgram("docker", INSTALL)] });

export const peer: Peer = {
  ...native(""),
  name: "docker",
  title: "Docker",
  order: 5,
  wall: "container",
  includes: ENGINE_INCLUDES,
  leavesOut: `${ENGINE_LEAVES_OUT}. Containers are the daemon's children: their memory and the processors they run on are not those of this program`,
  async available(setting) {
    requireLauncher(setting);
    return { version: `Docker ${daemonVersion(engine(), INSTALL)}`, settings: ENGINE_SETTINGS };
  },
  prepare: (program, setting) => prepareEngine(engine(), program, setting),
  async sweep() {
    if (findProgram("docker") !== undefined) await sweepEngine(engine());
  },
};
