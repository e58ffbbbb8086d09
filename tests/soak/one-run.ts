/** One run: boots a guest, calls it, perhaps kills it, and judges how it ended. */
import {
  type BarecellError,
  type BootOptions,
  type Image,
  isBarecellError,
  MicroVM,
} from "../support/barecell.ts";
import { goodResult } from "../support/expected-results.ts";
import type { SoakGuest } from "./messages.ts";
import type { Random } from "./random.ts";

export type Kill = "none" | "dispose" | "deadline" | "abort";

export interface RunResult {
  /** The kind of end, for the statistics. */
  readonly end: string;
  readonly failure?: string;
}

/** A deadline that a boot or a call may miss where the machine is busy. */
const SHORT_MS = 1000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** From outside, at a random moment of the call or after it; a deadline needs nobody. */
export async function killSometime(
  vm: MicroVM,
  abort: AbortController,
  kill: Kill,
  random: Random,
): Promise<void> {
  if (kill !== "dispose" && kill !== "abort") return;
  await someTime(random);
  if (kill === "dispose") vm.dispose();
  else abort.abort();
}

/** Short ones most of the time: a call of these takes less than a millisecond. */
async function someTime(random: Random): Promise<void> {
  const choice = random.next();
  if (choice < 0.25) return;
  if (choice < 0.5) await new Promise((resolve) => setImmediate(resolve));
  else await sleep(random.next() ** 3 * 30);
}

function isExpected(got: unknown, expected: SoakGuest["expected"]): boolean {
  return expected.some((one) => one === got || (one === "any result" && typeof got === "bigint"));
}

/** The value, or the error's code. An error of any other class is a fault of barecell's. */
export async function endOf(run: () => Promise<unknown>): Promise<unknown> {
  try {
    return await run();
  } catch (error) {
    if (isBarecellError(error)) return (error as BarecellError).code;
    return `not coded: ${error instanceof Error ? error.stack : String(error)}`;
  }
}

export async function oneRun(guest: SoakGuest, image: Image, random: Random): Promise<RunResult> {
  const kill: Kill = random.pick(["none", "none", "none", "dispose", "deadline", "abort"]);
  const options: BootOptions = {
    ...guest.options,
    boot: random.pick(["staged", "direct"]),
    ...(kill === "deadline" ? { timeoutMs: 0.3 + random.next() ** 2 * 20 } : {}),
  };
  const isShort = (options.timeoutMs ?? SHORT_MS) < SHORT_MS;
  const allowed: (string | bigint)[] = [...guest.expected];
  if (kill === "dispose") allowed.push("BARECELL_DISPOSED");
  if (kill === "abort") allowed.push("BARECELL_CANCELLED");
  if (isShort) allowed.push("BARECELL_TIMEOUT");
  const complain = (what: string): RunResult => ({
    end: "failure",
    failure: `${guest.name} (kill: ${kill}, boot: ${options.boot}): ${what}`,
  });

  let vm: MicroVM;
  const isSync = (kill === "none" || kill === "deadline") && random.chance(0.3);
  try {
    vm = isSync ? MicroVM.bootSync(image, options) : await MicroVM.boot(image, options);
  } catch (error) {
    const code = isBarecellError(error) ? (error as BarecellError).code : String(error);
    return code === "BARECELL_TIMEOUT" && isShort
      ? { end: "killed while booting" }
      : complain(`the boot failed: ${code}`);
  }
  try {
    const abort = new AbortController();
    const last = kill === "abort" ? [{ signal: abort.signal }] : [];
    const calling = endOf(async () => (isSync ? vm.callSync("victim") : vm.call("victim", ...last)));
    await killSometime(vm, abort, kill, random);
    const got = await calling;
    if (!isExpected(got, allowed))
      return complain(`it came to ${String(got)}, not ${allowed.map(String).join(" or ")}`);
    const complaint = await secondCall(vm, got, kill, isShort);
    if (complaint !== undefined) return complain(complaint);
    return { end: typeof got === "string" ? got : "returned" };
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}

/** What a first call left must not show in the second: in the state of the VM, or in its result. */
async function secondCall(
  vm: MicroVM,
  first: unknown,
  kill: Kill,
  isShort: boolean,
): Promise<string | undefined> {
  const second = await endOf(() => vm.call("good", 9));
  const wasKilled = [
    "BARECELL_TIMEOUT",
    "BARECELL_CANCELLED",
    "BARECELL_DISPOSED",
    "BARECELL_OUTPUT_LIMIT",
  ].includes(String(first));
  if (second === goodResult(9))
    return wasKilled ? `it could be called again after ${String(first)}` : undefined;
  const mayGoOn = typeof first !== "string" || first.startsWith("BARECELL_TRAP_");
  const allowed = mayGoOn ? [] : ["BARECELL_POISONED"];
  if (kill === "dispose") allowed.push("BARECELL_DISPOSED");
  if (isShort) allowed.push("BARECELL_TIMEOUT");
  if (allowed.includes(String(second))) return undefined;
  return `it came to ${String(first)}, and then the next call to ${String(second)}, not ${goodResult(9)}`;
}
