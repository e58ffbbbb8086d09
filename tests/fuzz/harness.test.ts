/** The fuzzer itself: it notices every kind of difference, and nothing where there is none; what it finds it can make small, save and load. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "./engines/outcome.ts";
import { V8Engine } from "./engines/v8.ts";
import { compileUnits } from "./engines/vm.ts";
import { loadCase, saveCase } from "./harness/case-file.ts";
import { compareUnit, type Verdict } from "./harness/compare.ts";
import { type JudgeOptions, judge, runImage } from "./harness/judge.ts";
import { ownUnit } from "./harness/make-unit.ts";
import { type Mistake, withMistake } from "./harness/tamper.ts";
import type { Unit } from "./harness/unit.ts";
import { reduceFinding } from "./reduce/index.ts";
import { decodeModule } from "./wasm/decode.ts";
import { instructions } from "./wasm/instructions.ts";

const settings = { optimize: 1 } as const;

/** Seeds whose units return values, trap, have memory and a global, and run for some calls. */
const UNITS = [2, 3, 5, 8, 13, 21].map((seed) => ownUnit(seed).unit);

describe("comparison", () => {
  it("finds no difference between V8 and itself", () => {
    for (const unit of UNITS) {
      expect(compareUnit(unit, new V8Engine(unit), new V8Engine(unit)).kind).toBe("same");
    }
  });

  const MISTAKES: Mistake[] = ["result", "trap kind", "no trap", "memory", "memory size", "global"];

  it("finds no difference between V8 and the VM, and every kind of mistake of a VM that makes one", async () => {
    const image = await compileUnits(UNITS, settings);
    expect(runImage(image, UNITS).map(({ kind }) => kind)).toEqual(UNITS.map(() => "same"));
    for (const mistake of MISTAKES) expectFound(runImage(image, UNITS, (vm) => withMistake(vm, mistake, 3)));
  });

  function expectFound(verdicts: readonly Verdict[]): void {
    const found = verdicts.filter(({ kind }) => kind === "different");
    expect(found.length, JSON.stringify(verdicts)).toBeGreaterThan(0);
    for (const { difference } of found) {
      // Calls are numbered from 0, and the third is the first that is wrong.
      expect(difference?.call).toBeGreaterThanOrEqual(2);
      expect(difference?.expected).not.toBe(difference?.actual);
    }
  }

  it("gives up where a stack is exhausted, on either side", () => {
    const [unit] = UNITS;
    if (!unit) throw new Error("no unit");
    const exhausted = (engine: Engine): Engine => ({
      ...withMistake(engine, "result", Number.POSITIVE_INFINITY),
      call: () => ({ kind: "trap", traps: ["STACK_EXHAUSTED"], message: "" }),
    });
    const verdicts: Verdict[] = [
      compareUnit(unit, new V8Engine(unit), exhausted(new V8Engine(unit))),
      compareUnit(unit, exhausted(new V8Engine(unit)), new V8Engine(unit)),
    ];
    expect(verdicts.map(({ kind }) => kind)).toEqual(["incomparable", "incomparable"]);
  });

  it("does not wait for V8 forever", () => {
    // (module (func (export "f") (loop (br 0))))
    const bytes = Uint8Array.from(
      Buffer.from(
        "0061736d01000000010401600000030201000705010166000" + "00a090107000340" + "0c000b0b",
        "hex",
      ),
    );
    const unit: Unit = {
      origin: "an endless loop",
      modules: [{ name: "main", bytes, link: {} }],
      calls: [{ module: "main", export: "f", type: { params: [], results: [] }, args: [] }],
    };
    const verdict = compareUnit(unit, new V8Engine(unit), new V8Engine(unit));
    expect(verdict).toMatchObject({ kind: "incomparable", reason: expect.stringContaining("hangs") });
  });
});

describe("a finding", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "barecell-fuzz-test-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** As if the compiler always got one instruction wrong. */
  const WRONG = "i32.rotl";
  const isUsed = (unit: Unit): boolean =>
    unit.modules.some(({ bytes }) =>
      decodeModule(bytes).functions.some(({ code }) =>
        [...instructions(code)].some(({ op }) => op.name === WRONG),
      ),
    );
  /** No VM here: reducing tries hundreds of modules, and how it does that is no different with the engines that only say they are V8. */
  const options: JudgeOptions = {
    ...settings,
    standIn: (unit) => (isUsed(unit) ? withMistake(new V8Engine(unit), "result", 1) : new V8Engine(unit)),
  };
  const size = (unit: Unit): number => unit.modules.reduce((sum, { bytes }) => sum + bytes.length, 0);

  it("is made small, saved, and read again", async () => {
    // One whose wrong result shows: a unit whose calls all trap or return nothing has none.
    const candidates = Array.from({ length: 60 }, (_, seed) => ({ seed, ...ownUnit(seed) })).filter(
      ({ unit }) => isUsed(unit) && unit.modules.length > 1,
    );
    const verdicts = await judge(
      candidates.map(({ unit }) => unit),
      options,
    );
    const place = verdicts.findIndex((each) => each?.kind === "different");
    const [made, verdict] = [candidates[place], verdicts[place]];
    if (!made || !verdict) throw new Error(`no unit shows that ${WRONG} is wrong`);
    const result = await reduceFinding({ made, verdict }, options, 60_000, () => {});
    expect(result.isAlone).toBe(true);
    expect(size(result.unit)).toBeLessThan(400);
    expect(result.unit.calls.length).toBe(1);
    expect(isUsed(result.unit)).toBe(true);

    const path = await saveCase(folder, "small", { unit: result.unit, settings }, result.difference);
    const loaded = await loadCase(path);
    expect(loaded.settings).toEqual(settings);
    expect(loaded.unit.calls).toEqual(result.unit.calls);
    expect(loaded.unit.modules).toEqual(result.unit.modules);
    const [right] = await judge([loaded.unit], settings);
    expect(right?.kind).toBe("same");
  }, 180_000);
});
