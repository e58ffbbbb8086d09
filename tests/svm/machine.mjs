// Starts QEMU, listens to the ports, and ends the machine: by its answer, its death, or the deadline.

import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import { createInterface } from "node:readline";
import { OutputPort } from "./output-port.mjs";

/**
 * @typedef {object} MachineOptions
 * @property {import("./fetch.mjs").Parts} parts
 * @property {string} initramfs path of the archive
 * @property {string} consoleLog path of the file that takes the kernel's messages
 * @property {string} endMark
 * @property {number} memoryMiB
 * @property {number} timeoutMs
 * @property {NodeJS.WritableStream} stdout
 * @property {NodeJS.WritableStream} stderr
 * @property {AbortSignal} [signal] ends the machine at once
 */

/**
 * How a run ended. `ready`: the command had begun.
 * @typedef {{ kind: "exit", status: number, bootMs: number }
 *   | { kind: "refused", reason: string }
 *   | { kind: "deadline", ready: boolean }
 *   | { kind: "aborted" }
 *   | { kind: "lost", ready: boolean, reason: string }} Outcome
 */

/** @typedef {import("node:net").Socket} Socket */

// Descriptors of the child; 0 to 2 are its standard streams. In the order of its `stdio`.
const OUT_FD = 3;
const ERR_FD = 4;
const CONTROL_FD = 5;

/** @param {MachineOptions} options */
function qemuArguments({ parts, initramfs, consoleLog, memoryMiB }) {
  const append = [
    "console=ttyS0",
    "quiet",
    // A panic, or a fault of the kernel under test, ends the machine (with -no-reboot) rather than hanging it.
    "panic=-1",
    "oops=panic",
    // The test whether the timer's interrupts arrive counts ten of them, and panics where the emulator got no time to deliver them.
    "no_timer_check",
    // The host is the same whether its kernel is hardened or not; under emulation these only cost time.
    "mitigations=off",
    "nokaslr",
    "cryptomgr.notests",
    "tsc=reliable",
    "random.trust_cpu=on",
  ];
  const port = (/** @type {number} */ number, /** @type {number} */ fd) => [
    "-chardev",
    `socket,id=port${number},fd=${fd}`,
    "-device",
    `virtserialport,bus=ports.0,nr=${number},chardev=port${number}`,
  ];
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    // One processor: with two, the emulator hangs sooner or later when one of them is inside a virtual machine.
    ...["-machine", "q35", "-accel", "tcg", "-m", String(memoryMiB), "-smp", "1"],
    // "max" is everything that the emulator can do, among it SVM and nested paging; named all the same, so that an
    // emulator without them fails at start. Four-level paging, as on the processors that most hosts have. And no fast
    // string instructions: they make kernel and libc copy by `rep movsb`, which is emulated byte by byte (a third of all
    // time was spent so).
    ...["-cpu", "max,+svm,+npt,-la57,-erms,-fsrm"],
    ...["-kernel", parts.kernel, "-initrd", initramfs, "-append", append.join(" ")],
    ...["-serial", `file:${consoleLog.replaceAll(",", ",,")}`],
    // multidevs=remap: the host's tree spans several file systems, whose inode numbers would collide.
    ...["-fsdev", "local,id=hostroot,path=/,security_model=none,readonly=on,multidevs=remap"],
    ...["-device", "virtio-9p-pci,fsdev=hostroot,mount_tag=hostroot"],
    // Port 0 of a serial device is reserved for a console.
    ...["-device", "virtio-serial-pci,id=ports,max_ports=4"],
    ...port(1, OUT_FD),
    ...port(2, ERR_FD),
    ...port(3, CONTROL_FD),
  ];
}

/**
 * To the scheduler a session is a group (autogroup), whose priority is not that of its processes: a machine that `nice` started would get as much time as
 * everything in the session that it came from.
 * @param {number | undefined} pid
 */
function lendPriority(pid) {
  try {
    fs.writeFileSync(`/proc/${pid}/autogroup`, String(os.getPriority()));
  } catch {
    // A kernel without such groups.
  }
}

/**
 * @param {MachineOptions} options
 * @returns {Promise<Outcome>}
 */
export async function runMachine(options) {
  const started = performance.now();
  const child = spawn(options.parts.qemu, qemuArguments(options), {
    stdio: ["ignore", "pipe", "pipe", "pipe", "pipe", "pipe"],
    // A session of its own, so that Ctrl-C reaches only this process, which then ends QEMU; not both in a race.
    detached: true,
  });
  lendPriority(child.pid);
  // All of them pipes, which on Unix are socket pairs: what QEMU's socket character devices take, and two-way.
  const [, says, complains, out, err, control] =
    /** @type {[null, Socket, Socket, Socket, Socket, Socket]} */ (/** @type {unknown} */ (child.stdio));
  const streams = [says, complains, out, err, control];
  // Errors of the sockets are those of a dying QEMU, and reported as such below.
  for (const stream of streams) stream.on("error", () => {});
  // What QEMU itself has to say; only of interest when it fails.
  let qemuSays = "";
  for (const stream of [says, complains]) {
    stream.setEncoding("utf8").on("data", (text) => {
      qemuSays = (qemuSays + text).slice(-4000);
    });
  }

  let bootMs = Number.NaN;
  let ready = false;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  /** @type {Promise<Outcome>} */
  const ending = new Promise((resolve) => {
    const outPort = new OutputPort(out, options.stdout, options.endMark);
    const errPort = new OutputPort(err, options.stderr, options.endMark);
    createInterface({ input: control }).on("line", (line) => {
      const [word, ...rest] = line.split(" ");
      if (word === "ready") {
        ready = true;
        bootMs = performance.now() - started;
      } else if (word === "fail") {
        resolve({ kind: "refused", reason: rest.join(" ") });
      } else if (word === "exit") {
        const status = Number(rest[0]);
        // The ports are independent of each other: the status may come before the last of the output.
        Promise.all([outPort.ended, errPort.ended]).then(() => resolve({ kind: "exit", status, bootMs }));
      }
    });
    child.on("error", (error) => resolve({ kind: "lost", ready, reason: error.message }));
    child.on("exit", (code, signal) => {
      const reason = `QEMU ended (${signal ?? `exit ${code}`})${qemuSays.trim() ? `: ${qemuSays.trim()}` : ""}`;
      // Whatever else has come in is delivered first.
      child.on("close", () => resolve({ kind: "lost", ready, reason }));
    });
    timer = setTimeout(() => resolve({ kind: "deadline", ready }), options.timeoutMs);
    options.signal?.addEventListener("abort", () => resolve({ kind: "aborted" }), { once: true });
    if (options.signal?.aborted) resolve({ kind: "aborted" });
  });

  const outcome = await ending;
  clearTimeout(timer);
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
    const gone = new Promise((resolve) => child.once("close", resolve));
    // Nothing in the machine is worth an orderly end: all its writes are to memory.
    child.kill("SIGKILL");
    for (const stream of streams) stream.destroy();
    await gone;
  }
  return outcome;
}
