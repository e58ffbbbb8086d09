/** Compiles units into one image, runs each in both engines, says what came out. */
import type { Image, MicroVM } from "barecell";
import type { Engine } from "../engines/outcome.ts";
import { V8Engine } from "../engines/v8.ts";
import { bootUnits, type CompileSettings, compileUnits, VmEngine } from "../engines/vm.ts";
import { compareUnit, type Verdict } from "./compare.ts";
import type { Unit } from "./unit.ts";

export interface JudgeOptions extends CompileSettings {
  /** For tests of the fuzzer itself: an engine in place of the VM, for which nothing is compiled. */
  readonly standIn?: (unit: Unit) => Engine;
}

/** How a difference that shows before anything runs is described. */
export const COMPILING = "compiling";

/** @returns a verdict for each unit, in order */
export async function judge(units: readonly Unit[], options: JudgeOptions): Promise<Verdict[]> {
  try {
    return (await compileJudge(units, options))(units);
  } catch (error) {
    if (!(error instanceof CompileFailure)) throw error;
    // V8 takes the modules, or compareUnit would say so; which unit it is shows in halves.
    if (units.length === 1) return [failedToCompile(error)];
    const half = units.length >> 1;
    const first = await judge(units.slice(0, half), options);
    return [...first, ...(await judge(units.slice(half), options))];
  }
}

/** Says its verdicts on units that have the modules of those it was made for, place by place, and perhaps other calls. */
export type CompiledJudge = (units: readonly Unit[]) => Verdict[];

export class CompileFailure extends Error {}

/** @throws CompileFailure */
export async function compileJudge(units: readonly Unit[], options: JudgeOptions): Promise<CompiledJudge> {
  const { standIn } = options;
  if (standIn) {
    return (variants) => variants.map((unit) => compareUnit(unit, new V8Engine(unit), standIn(unit)));
  }
  let image: Image;
  try {
    image = await compileUnits(units, options);
  } catch (cause) {
    throw new CompileFailure(cause instanceof Error ? cause.message : String(cause), { cause });
  }
  return (variants) => runImage(image, variants);
}

/** @param tamper for tests of the fuzzer itself: makes the VM err */
export function runImage(
  image: Image,
  units: readonly Unit[],
  tamper: (engine: Engine) => Engine = (engine) => engine,
): Verdict[] {
  let vm: MicroVM | undefined;
  try {
    return units.map((unit, index) => {
      // A trap leaves the VM as it is; what hangs or breaks it does not.
      if (vm?.state !== "ready") {
        vm?.dispose();
        vm = bootUnits(image);
      }
      return compareUnit(unit, new V8Engine(unit), tamper(new VmEngine(vm, unit, index)));
    });
  } finally {
    vm?.dispose();
  }
}

function failedToCompile(error: CompileFailure): Verdict {
  return {
    kind: "different",
    difference: { call: undefined, what: COMPILING, expected: "an image", actual: error.message },
    calls: 0,
    traps: 0,
  };
}
