/** Fewer calls, and then simpler arguments: needs no compiling, as the modules stay. */

import type { Difference } from "../harness/compare.ts";
import { compileJudge, type JudgeOptions } from "../harness/judge.ts";
import type { Call, Unit } from "../harness/unit.ts";

export interface Reduced {
  readonly unit: Unit;
  readonly difference: Difference;
}

export async function reduceCalls(start: Reduced, options: JudgeOptions): Promise<Reduced> {
  if (start.unit.calls.length === 0) return start;
  let best = start;
  const verdictOn = await compileJudge([start.unit], options);
  const attempt = (calls: readonly Call[]): boolean => {
    const unit = { ...best.unit, calls };
    const [verdict] = verdictOn([unit]);
    if (!verdict?.difference) return false;
    best = { unit: { ...unit, calls: upTo(calls, verdict.difference) }, difference: verdict.difference };
    return true;
  };
  attempt(upTo(best.unit.calls, best.difference));
  for (let size = best.unit.calls.length; size >= 1; size = size >> 1) {
    for (let at = 0; at < best.unit.calls.length; ) {
      const { calls } = best.unit;
      if (!attempt([...calls.slice(0, at), ...calls.slice(at + size)])) at += size;
    }
  }
  for (let i = 0; i < best.unit.calls.length; i++) simplifyArguments(i, () => best.unit.calls, attempt);
  return best;
}

/** What comes after the call that showed the difference does not matter. */
function upTo(calls: readonly Call[], { call }: Difference): readonly Call[] {
  return call === undefined ? [] : calls.slice(0, call + 1);
}

function simplifyArguments(
  index: number,
  current: () => readonly Call[],
  attempt: (calls: readonly Call[]) => boolean,
): void {
  const count = current()[index]?.args.length ?? 0;
  for (let arg = 0; arg < count; arg++) {
    for (const simple of [0n, 1n]) {
      const calls = current();
      const call = calls[index];
      if (!call || (call.args[arg] ?? 0n) <= simple) break;
      const args = call.args.map((bits, i) => (i === arg ? simple : bits));
      if (attempt(calls.map((other, i) => (i === index ? { ...call, args } : other)))) break;
    }
  }
}
