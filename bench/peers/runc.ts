/** The container runtime below Docker and containerd, alone. */
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

const runtime = (): OciRuntime => ({ name: "runc", path: requireProgram("runc", "apt-get install runc") });

export const peer: Peer = {
  ...native(""),
  name: "runc",
  title: "container by runc",
  order: 2,
  wall: "container",
  includes: OCI_INCLUDES,
  leavesOut: OCI_LEAVES_OUT,
  async available(setting) {
    requireLauncher(setting);
    return { version: versionOf(runtime().path), settings: OCI_SETTINGS };
  },
  prepare: (program, setting) => prepareOci(runtime(), program, setting),
  async sweep(setting) {
    if (findProgram("runc") !== undefined) await sweepOci(runtime(), setting);
  },
};
