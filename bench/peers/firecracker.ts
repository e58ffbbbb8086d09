/** A virtual machine with a Linux kernel by Firecracker. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Peer } from "./peer.ts";
import { requireProgram, versionOf } from "./support/find-program.ts";
import { GUEST, guestAvailable, MEMORY_MIB, type Monitor, prepareGuest } from "./support/linux-guest.ts";

const find = (): string =>
  requireProgram(
    "firecracker",
    "put the program of a release (https://github.com/firecracker-microvm/firecracker/releases) on PATH as firecracker",
  );

const monitor: Monitor = {
  name: "firecracker",
  // Its keyboard controller knows one command: the end. Nothing else of one is there to be looked for, nor a PCI bus.
  kernelOptions: ["reboot=k", "pci=off", "i8042.noaux", "i8042.nomux", "i8042.nopnp", "i8042.dumbkbd"],
  command({ kernelPath, initramfsPath, commandLine }, folder) {
    for (const mode of ["run", "hold"]) {
      const configuration = {
        "boot-source": {
          kernel_image_path: kernelPath,
          initrd_path: initramfsPath,
          boot_args: commandLine.replace("{mode}", mode),
        },
        // Must be there, be it empty.
        drives: [],
        "machine-config": { vcpu_count: 1, mem_size_mib: MEMORY_MIB },
      };
      writeFileSync(join(folder, `${mode}.json`), JSON.stringify(configuration));
    }
    // Without a file its log goes to standard output, among the guest's words. Some versions want it to be there already.
    const log = join(folder, "log");
    writeFileSync(log, "");
    return [
      find(),
      ...["--no-api", "--config-file", join(folder, "{mode}.json"), "--log-path", log, "--level", "Error"],
    ];
  },
};

export const peer: Peer = {
  ...GUEST,
  name: "firecracker",
  title: "microVM with a Linux kernel (Firecracker)",
  order: 2,
  async available(setting) {
    const path = find();
    const settings = await guestAvailable(monitor, setting);
    return {
      version: versionOf(path),
      settings: `no API socket, its own seccomp filter, no jailer; ${settings}`,
    };
  },
  prepare: (program, setting) => prepareGuest(monitor, program, setting),
};
