/** From a finding to the smallest unit that still shows it: its decisions, its calls, its modules, in turns until the time is up. */
import type { Finding } from "../harness/batch.ts";
import { COMPILING, type JudgeOptions, judge } from "../harness/judge.ts";
import { type Reduced, reduceCalls } from "./calls.ts";
import { reduceDecisions } from "./decisions.ts";
import { reduceModules } from "./modules.ts";
import { Search } from "./search.ts";

export interface ReduceResult extends Reduced {
  /** How it was compiled last. */
  readonly options: JudgeOptions;
  /** False if the difference shows only together with the other units of the batch. */
  readonly isAlone: boolean;
}

export async function reduceFinding(
  { made, verdict }: Finding,
  wanted: JudgeOptions,
  milliseconds: number,
  onProgress: (text: string) => void,
): Promise<ReduceResult> {
  const { unit, decisions } = made;
  const [alone] = await judge([unit], wanted);
  if (!alone?.difference) {
    if (!verdict.difference) throw new Error("there is nothing to reduce");
    return { unit, difference: verdict.difference, options: wanted, isAlone: false };
  }
  // Most differences are none of the optimiser's, and without it compiling takes half the time.
  const plain: JudgeOptions = { ...wanted, optimize: 0 };
  const [unoptimized] = await judge([unit], plain);
  const options = unoptimized?.difference ? plain : wanted;
  const search = new Search(options, onProgress);
  let best: Reduced = { unit, difference: unoptimized?.difference ?? alone.difference };
  if (decisions) {
    search.endIn(milliseconds / 3);
    best = (await reduceDecisions(search, unit.origin, decisions, best.difference)) ?? best;
  }
  best = await fewerCalls(best, options);
  search.endIn(decisions ? (milliseconds * 2) / 3 : milliseconds);
  best = await reduceModules(search, best);
  best = await fewerCalls(best, options);
  return { ...best, options, isAlone: true };
}

async function fewerCalls(best: Reduced, options: JudgeOptions): Promise<Reduced> {
  if (best.difference.what === COMPILING) return { ...best, unit: { ...best.unit, calls: [] } };
  return reduceCalls(best, options);
}
