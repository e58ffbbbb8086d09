/**
 * Sweeps: one piece of code, thousands of inputs, in one VM that is called again after each trap. What a table of cases does for a few dozen places or
 * instructions, a sweep does for all of them.
 */
import { beforeAll, describe, expect, it } from "vitest";
import type { BootOptions } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { goodResult } from "../support/expected-results.ts";
import { assemble, type RawHost } from "../support/raw-code.ts";
import { DEFAULT_OPTIONS, type Expected } from "./hostile-case.ts";
import { type ChildResult, type Job, reportOf, runAll } from "./run-hostile.ts";

export interface SweepInput {
  /** For complaints. */
  readonly name: string;
  /** At the start of linear memory when `victim` is called; as many for each input of a sweep. */
  readonly words: readonly bigint[];
  /** Any of these. "any trap": any code that says what the guest did, BARECELL_TRAP_*. */
  readonly expected: readonly (Expected | "any trap")[];
}

export interface Sweep {
  readonly name: string;
  readonly host: RawHost;
  /** Assembler text for `victim`. */
  readonly code: string;
  readonly inputs: readonly SweepInput[];
  readonly options?: BootOptions;
}

function jobOf({ name, host, code, inputs, options }: Sweep): Job {
  const words = inputs[0]?.words.length ?? 0;
  return {
    name,
    bytes: host.withCode(assemble(new Map([[name, code]])).get(name) as Uint8Array).bytes,
    options: { ...DEFAULT_OPTIONS, ...options },
    sweep: { inputs: BigUint64Array.from(inputs.flatMap((input) => input.words)), words },
    goodResult: goodResult(9),
  };
}

function fits(expected: SweepInput["expected"], got: bigint | string | undefined): boolean {
  return expected.some((one) => {
    if (one === "any result") return typeof got === "bigint";
    if (one === "any trap") return typeof got === "string" && got.startsWith("BARECELL_TRAP_");
    return one === got;
  });
}

/** A vitest suite. */
export function sweepSuite(title: string, sweeps: readonly Sweep[]): void {
  describe(title, () => {
    let results = new Map<string, ChildResult>();
    beforeAll(async () => {
      results = await runAll(sweeps.map(jobOf), { casesPerChild: 4, limitMs: 600_000 });
    }, 1_200_000 * slowness);

    it.each(sweeps)("$name ($inputs.length inputs)", ({ name, inputs }) => {
      const report = reportOf(name, results.get(name));
      expect(report.boot, "the boot").toBeUndefined();
      expect(report.sweep?.length).toBe(inputs.length);
      const complaints = inputs.flatMap((input, i) => {
        const got = report.sweep?.[i];
        return fits(input.expected, got) ? [] : [`${input.name}: ${got}, not ${input.expected.join(" or ")}`];
      });
      expect(complaints.slice(0, 20), `${complaints.length} of ${inputs.length} came out wrong`).toEqual([]);
      expect(report.wrong, "wrong results in between").toBe(0);
    });
  });
}
