/**
 * Virtual machines with a Linux kernel: what the monitors have in common. The workload's program is in an initramfs made here, with a first process
 * (bench/native/guest-init.c) that runs it; input and result go over the first serial port, which the monitor makes its own standard input and output.
 * There is no disk, no network, no other process.
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Peer, type Prepared, type Program, type Setting, Unavailable } from "../peer.ts";
import { findKernel, kernelVersion, unpackKernel } from "./guest-kernel.ts";
import { tryBoot } from "./guest-trial.ts";
import { EXECUTABLE, makeInitramfs } from "./initramfs.ts";
import { prepareLaunched, programArguments } from "./launched.ts";
import { needsProgram, requireLauncher } from "./native.ts";

/** What a guest is made of. */
export interface Guest {
  readonly kernelPath: string;
  readonly initramfsPath: string;
  /** The kernel's command line. `{mode}` in it, and in what is made of it, becomes `run` or `hold`. */
  readonly commandLine: string;
}

/** A program that runs virtual machines. */
export interface Monitor {
  readonly name: string;
  /** Words of the kernel's command line that its machine needs. */
  readonly kernelOptions: readonly string[];
  /**
   * The command that runs a guest and ends with it, the serial port on its standard streams.
   * @param folder for files that it needs, of this guest alone
   */
  command(guest: Guest, folder: string): readonly string[];
}

/** As guest-init.c says it. */
export const READY = "guest: ready\n";
/** Of the guest; barecell's default for functions is the same. */
export const MEMORY_MIB = 256;
/** A kernel boots in less than a second. It may be a slow machine, but not one on which that takes this long. */
const BOOT_PATIENCE_MS = 10_000;

/** The fastest that the port can be; nothing looked for that is not there; an end instead of a wait when it goes wrong. */
const KERNEL_OPTIONS = [
  "console=ttyS0,115200",
  "panic=-1",
  "random.trust_cpu=on",
  "8250.nr_uarts=1",
  "nomodule",
];
/** No messages but of what ends the machine: each byte of one is a VM exit. */
const QUIET = "loglevel=1";
/** For a boot that is only tried: where it stops is seen, also where the serial port's own code is not reached. */
const TALKATIVE = ["earlyprintk=ttyS0,115200", "loglevel=7"];

const INCLUDES =
  "starting the monitor, making the VM, booting a Linux kernel from memory, its first process and the workload's program, the result over a serial port; ready is when the program may be started. The end includes the kernel's own shutting down";
const LEAVES_OUT =
  "unpacking the kernel, once; disk and network of the guest; a jail for the monitor. Distributions' kernels have drivers for everything: one built for such guests boots faster";
const SETTINGS = `1 processor, ${MEMORY_MIB} MiB, a serial port, an initramfs of three files`;

/** What peers of this kind have in common. */
export const GUEST: Pick<Peer, "wall" | "includes" | "leavesOut" | "unsuited"> = {
  unsuited: needsProgram,
  wall: "vm",
  includes: INCLUDES,
  leavesOut: LEAVES_OUT,
};

/**
 * Boots a guest once, within a deadline: nobody can tell by looking whether a kernel runs here.
 * @param patienceMs for the boot
 * @returns what of the setting the report should say
 * @throws Unavailable with what the guest said last
 */
export async function guestAvailable(
  monitor: Monitor,
  setting: Setting,
  patienceMs = BOOT_PATIENCE_MS,
): Promise<string> {
  requireLauncher(setting);
  if (setting.guestInitPath === null) {
    throw new Unavailable(
      "the C compiler could not build the guest's first process, a static program",
      "apt-get install gcc libc6-dev",
    );
  }
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    throw new Unavailable("/dev/kvm is not there, or this user may not use it", "see: barecell doctor");
  }
  const kernel = findKernel();
  const guest = makeGuest(
    monitor,
    setting,
    { name: "trial", program: new Uint8Array(), words: ["0", "0", "run"] },
    TALKATIVE,
  );
  const command = monitor.command(guest, folderOf(monitor, setting, "trial"));
  await tryBoot(
    command.map((word) => word.replaceAll("{mode}", "run")),
    READY,
    patienceMs,
  );
  return `${SETTINGS}; ${kernel}: ${kernelVersion(guest.kernelPath)}`;
}

export async function prepareGuest(monitor: Monitor, program: Program, setting: Setting): Promise<Prepared> {
  const content = readFileSync(program.programPath ?? "");
  const words = programArguments(program);
  const guest = makeGuest(monitor, setting, { name: program.name, program: content, words }, [QUIET]);
  return prepareLaunched(program, setting, {
    start: monitor.command(guest, folderOf(monitor, setting, program.name)),
    readyLine: READY,
  });
}

function makeGuest(
  monitor: Monitor,
  setting: Setting,
  run: { readonly name: string; readonly program: Uint8Array; readonly words: readonly string[] },
  options: readonly string[],
): Guest {
  const initramfsPath = join(folderOf(monitor, setting, run.name), "initramfs");
  const files = [
    { path: "init", mode: EXECUTABLE, content: readFileSync(setting.guestInitPath ?? "") },
    { path: "program", mode: EXECUTABLE, content: run.program },
  ];
  writeFileSync(initramfsPath, makeInitramfs(files));
  const all = [...KERNEL_OPTIONS, ...monitor.kernelOptions, ...options, "--", ...run.words];
  return { kernelPath: unpackedKernel(setting), initramfsPath, commandLine: all.join(" ") };
}

function folderOf(monitor: Monitor, setting: Setting, name: string): string {
  const folder = join(setting.scratch, `${monitor.name}-${process.pid}`, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Once for all peers of a run. Two may come to it at the same time, so it appears only when it is whole. */
function unpackedKernel({ scratch }: Setting): string {
  const path = join(scratch, "guest-kernel");
  if (!existsSync(path)) {
    const mine = `${path}.${process.pid}`;
    unpackKernel(findKernel(), mine);
    renameSync(mine, path);
  }
  return path;
}
