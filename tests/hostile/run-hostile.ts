/** Runs hostile images in child processes and says what came of them. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { BARECELL_URL, type BootOptions } from "../support/barecell.ts";
import { announceSkip, isSvm, slowness } from "../support/environment.ts";
import { goodResult } from "../support/expected-results.ts";
import { assemble, type RawHost } from "../support/raw-code.ts";
import {
  type Attempt,
  DEFAULT_OPTIONS,
  type HostileCase,
  type HostileTable,
  NEIGHBOUR_RESULTS,
  type Report,
  rawHost,
} from "./hostile-case.ts";

const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));
/** Starting Node takes most of the time of a case. A child that does not survive is found by halving, so sharing one hides nothing. */
const CASES_PER_CHILD = isSvm ? 1000 : 32;
const CHILDREN_AT_ONCE = isSvm ? 1 : 2;

/** An image and what to do with it. */
export interface Job {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly options: BootOptions;
  readonly calls?: readonly (readonly [string, ...unknown[]])[];
  /** An image whose `victim` runs before, in a VM of its own. */
  readonly predecessor?: Uint8Array;
  /** Instead of calls: `victim` for each of these inputs of `words` 64-bit words, which lie at the start of linear memory then. */
  readonly sweep?: { readonly inputs: BigUint64Array; readonly words: number };
  /** Of `good(9)`. */
  readonly goodResult: number;
}

export interface ChildResult {
  readonly reports: readonly Report[];
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

export interface BatchOptions {
  readonly casesPerChild: number;
  /** Of one case; a child that takes longer is hanging. */
  readonly limitMs: number;
}

const DEFAULT_BATCHES: BatchOptions = { casesPerChild: CASES_PER_CHILD, limitMs: 5_000 };

/** One child process for some cases. */
function runChild(jobs: readonly Job[], limitMs: number): Promise<ChildResult> {
  return new Promise((resolve, reject) => {
    const child = fork(CHILD, {
      serialization: "advanced",
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      execArgv: ["--expose-gc"],
    });
    const reports: Report[] = [];
    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("message", (report) => reports.push(report as Report));
    child.on("error", reject);
    const late = setTimeout(() => child.kill("SIGKILL"), (20_000 + jobs.length * limitMs) * slowness);
    child.on("close", (exitCode, signal) => {
      clearTimeout(late);
      resolve({ reports, exitCode, signal, stderr });
    });
    child.send({ url: BARECELL_URL, good: rawHost.image.bytes, jobs });
  });
}

/** Its end was in good order, and nothing was left behind. */
const survived = ({ exitCode, stderr, reports }: ChildResult): boolean =>
  exitCode === 0 &&
  stderr === "" &&
  reports.every(({ left }) => Object.values(left).every((count) => count === 0));

/** Runs all of a batch; if its process does not survive it, halves of it, so that the case which did it is found. */
async function runBatch(
  batch: readonly Job[],
  results: Map<string, ChildResult>,
  limitMs: number,
): Promise<void> {
  const child = await runChild(batch, limitMs);
  for (const job of batch) results.set(job.name, child);
  if (survived(child) || batch.length === 1) return;
  const middle = Math.ceil(batch.length / 2);
  const halves = new Map<string, ChildResult>();
  for (const half of [batch.slice(0, middle), batch.slice(middle)]) await runBatch(half, halves, limitMs);
  // Where each half survives by itself, the end of the whole stays the result of all.
  if (![...halves.values()].every(survived)) for (const [name, result] of halves) results.set(name, result);
}

/** Runs jobs in batches, some at once. */
export async function runAll(
  jobs: readonly Job[],
  { casesPerChild, limitMs }: BatchOptions = DEFAULT_BATCHES,
): Promise<Map<string, ChildResult>> {
  const results = new Map<string, ChildResult>();
  const batches: Job[][] = [];
  for (let i = 0; i < jobs.length; i += casesPerChild) batches.push(jobs.slice(i, i + casesPerChild));
  const work = async (): Promise<void> => {
    for (let batch = batches.shift(); batch; batch = batches.shift()) await runBatch(batch, results, limitMs);
  };
  await Promise.all(Array.from({ length: CHILDREN_AT_ONCE }, work));
  return results;
}

function jobsOf(cases: readonly HostileCase[], host: RawHost): Job[] {
  const code = assemble(new Map(cases.map((one) => [one.name, one.code])));
  const before = assemble(
    new Map(
      cases.flatMap(({ name, predecessor }) => (predecessor === undefined ? [] : [[name, predecessor]])),
    ),
  );
  const imageOf = (bytes: Uint8Array | undefined): Uint8Array | undefined =>
    bytes && host.withCode(bytes).bytes;
  return cases.map((one) => ({
    name: one.name,
    bytes: imageOf(code.get(one.name)) as Uint8Array,
    ...(before.has(one.name) ? { predecessor: imageOf(before.get(one.name)) as Uint8Array } : {}),
    options: { ...DEFAULT_OPTIONS, ...one.options },
    calls: one.calls ?? [["victim"], ["good", 9]],
    goodResult: goodResult(9),
  }));
}

/** A vitest suite: all cases run first, side by side; then each is judged by itself. */
export function hostileSuite({ title, cases: all, host }: HostileTable): void {
  const cases = all.filter((one) => {
    if (isSvm && one.notOnSvm) announceSkip(one.name, one.notOnSvm);
    return !(isSvm && one.notOnSvm);
  });
  describe(title, () => {
    let results = new Map<string, ChildResult>();
    beforeAll(async () => {
      results = await runAll(jobsOf(cases, host));
      if (!process.env["BARECELL_HOSTILE_PRINT"]) return;
      for (const [name, child] of results) {
        process.stderr.write(`${name}: ${summary(child.reports.find((report) => report.name === name))}\n`);
      }
    }, 600_000 * slowness);

    it.each(cases)("$name", (one) => {
      judge(one, reportOf(one.name, results.get(one.name)));
    });
  });
}

/** The report of a case whose process survived, as did all around it. */
export function reportOf(name: string, child: ChildResult | undefined): Report {
  expect(child?.stderr, "standard error of the child").toBe("");
  const { exitCode, signal } = child ?? {};
  expect({ exitCode, signal }, "end of the child").toEqual({ exitCode: 0, signal: null });
  const report = child?.reports.find((one) => one.name === name);
  if (!report) throw new Error("the child reported nothing");
  // The neighbour's results, and nothing left behind.
  expect(report.fresh.value, JSON.stringify(report.fresh.error)).toEqual(NEIGHBOUR_RESULTS);
  expect(report.left, "left behind").toEqual({ vms: 0, descriptors: 0, threads: 0 });
  return report;
}

function judge(one: HostileCase, report: Report): void {
  const got = outcome(report.boot ? { error: report.boot } : report.calls?.[0]);
  if (!(one.expected.includes("any result") && typeof got === "bigint")) {
    expect(one.expected, summary(report)).toContain(got);
  }
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
