/** LXC's application containers: `lxc-execute`. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Peer, type Prepared, type Program, type Setting, Unavailable } from "./peer.ts";
import { findProgram, requireProgram, versionOf } from "./support/find-program.ts";
import { prepareLaunched, programArguments } from "./support/launched.ts";
import { native, requireLauncher } from "./support/native.ts";

const INSTALL = "apt-get install lxc";

const folderOf = (setting: Setting): string => join(setting.scratch, "lxc");

async function prepare(program: Program, setting: Setting): Promise<Prepared> {
  const rootfs = join(folderOf(setting), `rootfs-${process.pid}-${program.name}`);
  for (const place of ["proc", "dev", "sys", "tmp", "usr/sbin", "sbin"]) {
    mkdirSync(join(rootfs, place), { recursive: true });
  }
  copyFileSync(program.programPath ?? "", join(rootfs, "program"));
  const configuration = `${rootfs}.conf`;
  writeFileSync(
    configuration,
    [
      `lxc.rootfs.path = dir:${rootfs}`,
      "lxc.uts.name = bench",
      "lxc.net.0.type = empty",
      "lxc.cap.keep = none",
      "lxc.no_new_privs = 1",
      "lxc.autodev = 0",
      "lxc.pty.max = 0",
      "lxc.tty.max = 0",
      "lxc.console.path = none",
      "lxc.mount.entry = proc proc proc nosuid,nodev,noexec 0 0",
      "lxc.mount.entry = /dev/null dev/null none bind,create=file 0 0",
      "",
    ].join("\n"),
  );
  const place = ["-n", "{id}", "-P", folderOf(setting)];
  return prepareLaunched(program, setting, {
    start: [
      requireProgram("lxc-execute", INSTALL),
      ...[...place, "-f", configuration, "--", "/program"],
      ...programArguments(program),
    ],
    stop: [requireProgram("lxc-stop", INSTALL), ...place, "--kill", "--nolock"],
  });
}

/** Each container that is or was there has left a folder of its name. */
async function sweep(setting: Setting): Promise<void> {
  const stop = findProgram("lxc-stop");
  if (stop === undefined || !existsSync(folderOf(setting))) return;
  for (const id of readdirSync(folderOf(setting)).filter((name) => name.startsWith("barecell-bench-"))) {
    try {
      execFileSync(stop, ["-n", id, "-P", folderOf(setting), "--kill", "--nolock"], {
        stdio: "ignore",
        timeout: 20_000,
      });
    } catch {
      // It does not run.
    }
  }
}

export const peer: Peer = {
  ...native(""),
  name: "lxc",
  title: "LXC (lxc-execute)",
  order: 3,
  wall: "container",
  includes:
    "namespaces, cgroup, root file system, exec of a static program; and writing the result to a pipe",
  leavesOut: "network set-up, console, AppArmor or seccomp profiles",
  async available(setting) {
    requireLauncher(setting);
    const path = requireProgram("lxc-execute", INSTALL);
    if (process.getuid?.() !== 0) {
      throw new Unavailable(
        "lxc-execute needs root here: no user mapping is set up for this user",
        "run it as root",
      );
    }
    return {
      version: `LXC ${versionOf(path)}`,
      settings:
        "empty network, no capabilities, no new privileges; runs as the container's root without capabilities",
    };
  },
  prepare,
  sweep,
};
