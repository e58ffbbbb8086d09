/** Whether a guest boots here at all, found out by one boot with a deadline. */
import { spawn } from "node:child_process";
import { Unavailable } from "../peer.ts";
import { oneLine } from "./error-text.ts";
import { isPvm } from "./kvm-kind.ts";

const KEPT = 64 * 1024;

/** How long something that was killed may take to be gone. */
const END_PATIENCE_MS = 5000;

/**
 * @param command ends with the guest, which writes `ready` when it has booted
 * @throws Unavailable with the last that guest and monitor said, if it does not come to that
 */
export async function tryBoot(
  [path = "", ...words]: readonly string[],
  ready: string,
  patienceMs: number,
): Promise<void> {
  const child = spawn(path, words, { stdio: ["pipe", "pipe", "pipe"] });
  const kill = (): void => {
    child.kill("SIGKILL");
  };
  // Whoever wanted to know may be gone before it is known, and machines do not end when their input does.
  process.once("exit", kill);
  let guest = "";
  let monitor = "";
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(`it could not be started: ${error.message}`));
    child.on("close", (status, signal) =>
      resolve(`the machine ended before (${signal ?? `status ${String(status)}`})`),
    );
  });
  const booted = new Promise<null>((resolve) => {
    child.stdout.setEncoding("latin1").on("data", (text: string) => {
      guest = (guest + text).slice(-KEPT);
      if (guest.includes(ready)) resolve(null);
    });
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    monitor = (monitor + text).slice(-KEPT);
  });
  child.stdin.on("error", () => {
    // It ended; "close" says so.
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(
      () => resolve(`it had not booted after ${patienceMs / 1000} s, and was ended`),
      patienceMs,
    );
  });
  const problem = await Promise.race([booted, ended, late]);
  clearTimeout(timer);
  kill();
  child.stdin.destroy();
  // Not for ever: what hangs in the kernel cannot be waited for.
  await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, END_PATIENCE_MS).unref())]);
  process.removeListener("exit", kill);
  if (problem !== null)
    throw new Unavailable(`a Linux guest does not boot here: ${problem}${said(guest, monitor)}`, cure());
}

function said(guest: string, monitor: string): string {
  const last = guest
    .split(/[\r\n]+/)
    .filter((line) => line.trim() !== "")
    .at(-1);
  const first = monitor.split("\n").find((line) => line.trim() !== "");
  return [
    first === undefined ? "" : `. The monitor said: ${oneLine(first)}`,
    last === undefined ? ". The guest said nothing" : `. The guest said last: ${oneLine(printable(last))}`,
  ].join("");
}

/** The guest's words go into a report, and onto a terminal. */
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, "?");

function cure(): string {
  return isPvm()
    ? "a machine whose KVM has hardware support: here it works without (PVM), and emulates a kernel that is not made for that, slowly and not completely"
    : "another kernel by BARECELL_GUEST_KERNEL; see: barecell doctor";
}
