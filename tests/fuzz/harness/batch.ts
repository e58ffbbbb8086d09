/** A batch: the units of some consecutive seeds, made, compiled together, compared. */
import type { BinaryenGenerator } from "../generator/binaryen.ts";
import { type Decisions, deriveSeed } from "../generator/choices.ts";
import type { Verdict } from "./compare.ts";
import { type JudgeOptions, judge } from "./judge.ts";
import { binaryenUnit, ownUnit } from "./make-unit.ts";
import type { Unit } from "./unit.ts";

export type GeneratorName = "own" | "binaryen" | "both";

export interface MadeUnit {
  readonly seed: number;
  readonly unit: Unit;
  /** Only of the own generator. */
  readonly decisions: Decisions | undefined;
}

export interface BatchSummary {
  units: number;
  modules: number;
  calls: number;
  traps: number;
  /** Ended by an exhausted stack. */
  incomparable: number;
}

export interface Finding {
  readonly made: MadeUnit;
  readonly verdict: Verdict;
}

export const emptySummary = (): BatchSummary => ({
  units: 0,
  modules: 0,
  calls: 0,
  traps: 0,
  incomparable: 0,
});

export function addSummary(total: BatchSummary, more: BatchSummary): void {
  total.units += more.units;
  total.modules += more.modules;
  total.calls += more.calls;
  total.traps += more.traps;
  total.incomparable += more.incomparable;
}

/** The unit of a seed; which generator makes it depends on the seed too, unless one is named. */
export async function makeUnit(
  seed: number,
  generator: GeneratorName,
  binaryen: () => BinaryenGenerator,
): Promise<MadeUnit> {
  const isOwn = generator === "both" ? deriveSeed(seed, "generator") % 3 < 2 : generator === "own";
  if (isOwn) return { seed, ...ownUnit(seed) };
  return { seed, unit: await binaryenUnit(seed, binaryen()), decisions: undefined };
}

export async function runBatch(
  made: readonly MadeUnit[],
  options: JudgeOptions,
): Promise<{ summary: BatchSummary; findings: Finding[] }> {
  const verdicts = await judge(
    made.map(({ unit }) => unit),
    options,
  );
  const summary = emptySummary();
  const findings: Finding[] = [];
  made.forEach((one, i) => {
    const verdict = verdicts[i];
    if (!verdict) return;
    addSummary(summary, {
      units: 1,
      modules: one.unit.modules.length,
      calls: verdict.calls,
      traps: verdict.traps,
      incomparable: verdict.kind === "incomparable" ? 1 : 0,
    });
    // Then a generator or the harness is wrong, and it would be no good to go on as if nothing were.
    if (verdict.kind === "invalid") throw new Error(`${one.unit.origin}: ${verdict.reason}`);
    if (verdict.kind === "different") findings.push({ made: one, verdict });
  });
  return { summary, findings };
}
