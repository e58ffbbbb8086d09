/** gVisor: a kernel in user space, written in Go, in front of the host's. */
import type { Peer } from "./peer.ts";
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
  name: "runsc",
  path: requireProgram("runsc", "see https://gvisor.dev/docs/user_guide/install/"),
  options: ["--network=none", ...(process.getuid?.() === 0 ? [] : ["--rootless"])],
});

export const peer: Peer = {
  ...native(""),
  name: "gvisor",
  title: "gVisor (runsc)",
  order: 0,
  wall: "kernel",
  includes: `${OCI_INCLUDES}; and gVisor's own kernel and file server`,
  leavesOut: OCI_LEAVES_OUT,
  async available(setting) {
    requireLauncher(setting);
    return { version: versionOf(runtime().path), settings: `default platform; ${OCI_SETTINGS}` };
  },
  prepare: (program, setting) => prepareOci(runtime(), program, setting),
  async sweep(setting) {
    if (findProgram("runsc") !== undefined) await sweepOci(runtime(), setting);
  },
};
