/** One run with a host function that answers, waits, throws, rejects, hangs or calls back, and a kill while it does. */
import { type BootOptions, type HostContext, type Image, MicroVM } from "../support/barecell.ts";
import { goodResult } from "../support/expected-results.ts";
import type { SoakGuest } from "./messages.ts";
import { endOf, type Kill, killSometime, type RunResult } from "./one-run.ts";
import type { Random } from "./random.ts";

/** The guest passes 3. Each with what its call comes to when nobody kills it; undefined: it never ends by itself. */
const FUNCTIONS: Record<string, readonly [run: (context: HostContext, n: number) => unknown, end: unknown]> =
  {
    answers: [(_, n) => n + 1, 4],
    "answers later": [(_, n) => new Promise((resolve) => setImmediate(resolve, n + 2)), 5],
    throws: [
      () => {
        throw new Error("on purpose");
      },
      "BARECELL_HOST_FUNCTION_FAILED",
    ],
    rejects: [() => Promise.reject(new Error("on purpose")), "BARECELL_HOST_FUNCTION_FAILED"],
    "gives the wrong type": [() => "three", "BARECELL_HOST_FUNCTION_FAILED"],
    hangs: [() => new Promise(() => {}), undefined],
    "calls back": [async (context) => ((await context.call("good", 9)) === goodResult(9) ? 6 : 0), 6],
    "calls back, and the guest traps": [
      (context) => context.call("peek", -8),
      "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY",
    ],
  };

export async function hostRun(guest: SoakGuest, image: Image, random: Random): Promise<RunResult> {
  const name = random.pick(Object.keys(FUNCTIONS));
  const [run, end] = FUNCTIONS[name] ?? FUNCTIONS["answers"] ?? [];
  const kills: Kill[] = ["dispose", "deadline", "abort"];
  const kill = end === undefined || random.chance(0.5) ? random.pick(kills) : "none";
  const boot = random.pick(["staged", "direct"] as const);
  const options: BootOptions = { ...guest.options, boot, imports: { env: { closed: run as () => unknown } } };
  const vm = await MicroVM.boot(image, options);
  try {
    const abort = new AbortController();
    const last = {
      ...(kill === "abort" ? { signal: abort.signal } : {}),
      ...(kill === "deadline" ? { timeoutMs: 0.3 + random.next() ** 2 * 20 } : {}),
    };
    const calling = endOf(() => vm.call("closed", last));
    await killSometime(vm, abort, kill, random);
    const got = await calling;
    const killed = {
      none: undefined,
      dispose: "BARECELL_DISPOSED",
      deadline: "BARECELL_TIMEOUT",
      abort: "BARECELL_CANCELLED",
    }[kill];
    // A trap of a call within ends the host function, and so is the cause of its failure.
    const ends = [end, ...(name.includes("traps") ? ["BARECELL_HOST_FUNCTION_FAILED"] : []), killed];
    if (got !== undefined && ends.includes(got))
      return { end: typeof got === "string" ? got : "returned from a host function" };
    return {
      end: "failure",
      failure: `a host function that ${name} (kill: ${kill}, boot: ${boot}): it came to ${String(got)}, not ${ends.map(String).join(" or ")}`,
    };
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}
