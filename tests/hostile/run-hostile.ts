/** Runs hostile images in child processes and says what came of them. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { BARECELL_URL, type BootOptions, type ErrorCode } from "../support/barecell.ts";
import { announceSkip, isSvm, slowness } from "../support/environment.ts";
import { assemble, goodResult, RawHost } from "../support/raw-code.ts";

const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));
/** Starting Node takes a second in the emulated machine; there several cases share a process. */
const CASES_PER_CHILD = isSvm ? 24 : 1;
const CHILDREN_AT_ONCE = isSvm ? 1 : 2;

export interface Described {
  readonly code?: string;
  readonly message: string;
  readonly frames?: string[];
  readonly isCoded: boolean;
}

export interface Attempt {
  readonly value?: unknown;
  readonly error?: Described;
}

export interface Report {
  readonly name: string;
  /** The image was refused, or did not start. */
  readonly boot?: Described;
  readonly calls?: readonly Attempt[];
  /** The first bytes of linear memory afterwards. */
  readonly memory?: Uint8Array;
  readonly fresh: Attempt;
  readonly kvmDescriptors: number;
}

/** An image and what to do with it. */
export interface Job {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly options: BootOptions;
  readonly calls: readonly (readonly [string, ...unknown[]])[];
}

export interface ChildResult {
  readonly reports: readonly Report[];
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** One child process for some cases. */
export function runChild(jobs: readonly Job[], good: Uint8Array): Promise<ChildResult> {
  return new Promise((resolve, reject) => {
    const child = fork(CHILD, { serialization: "advanced", stdio: ["ignore", "ignore", "pipe", "ipc"] });
    const reports: Report[] = [];
    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("message", (report) => reports.push(report as Report));
    child.on("error", reject);
    const late = setTimeout(() => child.kill("SIGKILL"), (20_000 + jobs.length * 5_000) * slowness);
    child.on("close", (exitCode, signal) => {
      clearTimeout(late);
      resolve({ reports, exitCode, signal, stderr });
    });
    child.send({ url: BARECELL_URL, good, cases: jobs });
  });
}

/** Raw code for `victim`, and what must come of it. */
export interface HostileCase {
  readonly name: string;
  /** Assembler text, AT&T syntax. */
  readonly code: string;
  /** Any of these; a bigint is a result: the code is harmless, or only leaks something. */
  readonly expected: readonly (ErrorCode | bigint | "any result")[];
  readonly options?: BootOptions;
  /** What is called; default `victim`, then `good(9)` in the same VM, whose result must be right. */
  readonly calls?: readonly (readonly [string, ...unknown[]])[];
  /** A look at the report beyond that. */
  readonly check?: (report: Report) => void;
  /** Why it cannot hold in the emulated machine. */
  readonly notOnSvm?: string;
}

export const DEFAULT_OPTIONS: BootOptions = {
  wasi: {},
  unknownImports: "trap",
  afterTrap: "keep",
  timeoutMs: 10_000 * slowness,
};

export const rawHost: RawHost = await RawHost.create();
const goodBytes = rawHost.image.bytes;

/** A vitest suite: all cases run first, side by side; then each is judged by itself. */
export function hostileSuite(title: string, all: readonly HostileCase[], host: RawHost = rawHost): void {
  const cases = all.filter((one) => {
    if (isSvm && one.notOnSvm) announceSkip(one.name, one.notOnSvm);
    return !(isSvm && one.notOnSvm);
  });
  describe(title, () => {
    const results = new Map<string, { report: Report | undefined; child: ChildResult }>();
    beforeAll(async () => {
      const code = assemble(new Map(cases.map((one) => [one.name, one.code])));
      const jobs = cases.map((one) => ({
        name: one.name,
        bytes: host.withCode(code.get(one.name) as Uint8Array).bytes,
        options: { ...DEFAULT_OPTIONS, ...one.options },
        calls: one.calls ?? [["victim"], ["good", 9]],
      }));
      const batches: Job[][] = [];
      for (let i = 0; i < jobs.length; i += CASES_PER_CHILD)
        batches.push(jobs.slice(i, i + CASES_PER_CHILD) as Job[]);
      const work = async (): Promise<void> => {
        for (let batch = batches.shift(); batch; batch = batches.shift()) {
          const child = await runChild(batch, goodBytes);
          for (const job of batch) {
            results.set(job.name, {
              report: child.reports.find((report) => report.name === job.name),
              child,
            });
          }
        }
      };
      await Promise.all(Array.from({ length: CHILDREN_AT_ONCE }, work));
      if (process.env["BARECELL_HOSTILE_PRINT"]) {
        for (const [name, { report }] of results) process.stderr.write(`${name}: ${summary(report)}\n`);
      }
    }, 600_000 * slowness);

    it.each(cases)("$name", (one) => {
      const { report, child } = results.get(one.name) ?? {};
      expect(child?.stderr, "standard error of the child").toBe("");
      expect({ exitCode: child?.exitCode, signal: child?.signal }, "end of the child").toEqual({
        exitCode: 0,
        signal: null,
      });
      if (!report) throw new Error("the child reported nothing");
      judge(one, report);
    });
  });
}

function judge(one: HostileCase, report: Report): void {
  const got = outcome(report.boot ? { error: report.boot } : report.calls?.[0]);
  if (!(one.expected.includes("any result") && typeof got === "bigint")) {
    expect(one.expected, summary(report)).toContain(got);
  }
  // The neighbour's results, and nothing left behind.
  expect(report.fresh.value, JSON.stringify(report.fresh.error)).toEqual([goodResult(5), GOOD_VICTIM]);
  // The addon keeps one spare VM with its vCPU for the process.
  expect(report.kvmDescriptors, "descriptors of VMs left").toBeLessThanOrEqual(2);
  if (!one.calls && !report.boot) {
    const next = report.calls?.[1];
    // Traps leave a VM that can be called again; whatever else ends a run may not.
    const isTrap = typeof got !== "string" || got.startsWith("BARECELL_TRAP_");
    if (isTrap || next?.value !== undefined) expect(next?.value, summary(report)).toBe(goodResult(9));
    else expect(next?.error?.code, summary(report)).toBe("BARECELL_POISONED");
  }
  one.check?.(report);
}

function outcome(attempt: Attempt | undefined): unknown {
  if (attempt?.error) {
    expect(attempt.error.isCoded, attempt.error.message).toBe(true);
    return attempt.error.code;
  }
  return attempt?.value;
}

function summary(report: Report | undefined): string {
  const spell = (attempt: Attempt): string =>
    attempt.error
      ? `${attempt.error.code} (${attempt.error.message}) ${attempt.error.frames?.join(" < ")}`
      : String(attempt.value);
  if (!report) return "no report";
  return report.boot ? `boot: ${spell({ error: report.boot })}` : (report.calls ?? []).map(spell).join(" | ");
}

/** What the function computes while it is still itself. */
const GOOD_VICTIM = ((): bigint => {
  let x = 42n;
  for (let i = 0; i < 400; i++) {
    x = BigInt.asUintN(64, x * 6364136223846793005n) ^ 1442695040888963407n;
    x = BigInt.asUintN(64, (x << 17n) | (x >> 47n));
  }
  return BigInt.asIntN(64, x);
})();
