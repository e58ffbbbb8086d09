/** Namespaces without a container runtime: bubblewrap, as Flatpak uses it. */
import type { Peer } from "./peer.ts";
import { requireProgram, versionOf } from "./support/find-program.ts";
import { prepareLaunched, programArguments } from "./support/launched.ts";
import { native, requireLauncher } from "./support/native.ts";

const INSTALL = "apt-get install bubblewrap";

export const peer: Peer = {
  ...native(""),
  name: "bubblewrap",
  title: "bubblewrap",
  order: 0,
  wall: "container",
  includes:
    "all namespaces that bubblewrap has, a root file system of one file, exec of a static program, the result through a pipe",
  leavesOut: "cgroups (so no memory limit), seccomp filter, network set-up",
  async available(setting) {
    requireLauncher(setting);
    return {
      version: versionOf(requireProgram("bwrap", INSTALL)),
      settings: "--unshare-all --new-session --cap-drop ALL; one read-only file and /proc",
    };
  },
  prepare: (program, setting) =>
    prepareLaunched(program, setting, {
      // Killing bubblewrap ends all: --die-with-parent.
      start: [
        requireProgram("bwrap", INSTALL),
        ...["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"],
        ...["--ro-bind", program.programPath ?? "", "/program", "--proc", "/proc"],
        "/program",
        ...programArguments(program),
      ],
    }),
};
