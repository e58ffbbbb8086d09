/** A virtual machine with a Linux kernel by QEMU, as its smallest machine ("microvm") has it. */
import type { Peer } from "./peer.ts";
import { requireProgram, versionOf } from "./support/find-program.ts";
import { isPvm } from "./support/kvm-kind.ts";
import {
  GUEST,
  type Guest,
  guestAvailable,
  MEMORY_MIB,
  type Monitor,
  prepareGuest,
} from "./support/linux-guest.ts";

const find = (): string => requireProgram("qemu-system-x86_64", "apt-get install qemu-system-x86");

/** Without what such a guest does not use: interrupt controller and timers of the first PCs, real-time clock, option ROMs. */
const MACHINE = "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on";

/** All that the host's has. PVM names a register among it that it does not let anybody set, and QEMU gives up over that. */
const processor = (): string => (isPvm() ? "host,-arch-capabilities" : "host");

const monitor: Monitor = {
  name: "qemu-microvm",
  // A triple fault is how such a machine is left; --no-reboot makes it the end.
  kernelOptions: ["reboot=t"],
  command: ({ kernelPath, initramfsPath, commandLine }: Guest) => [
    find(),
    // Never the emulator in software, which QEMU would otherwise be free to take: that is no measurement of anything.
    ...["-machine", MACHINE, "-accel", "kvm", "-cpu", processor(), "-smp", "1", "-m", String(MEMORY_MIB)],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-chardev", "stdio,id=port,signal=off", "-serial", "chardev:port"],
    ...["-kernel", kernelPath, "-initrd", initramfsPath, "-append", commandLine],
  ],
};

export const peer: Peer = {
  ...GUEST,
  name: "qemu-microvm",
  title: "microVM with a Linux kernel (QEMU)",
  order: 1,
  async available(setting) {
    const path = find();
    const settings = await guestAvailable(monitor, setting);
    return { version: versionOf(path), settings: `-machine ${MACHINE}; ${settings}` };
  },
  prepare: (program, setting) => prepareGuest(monitor, program, setting),
};
