/** Two results of `npm run bench`: planted regressions are found, and nothing else is. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Comparison, holm, loadComparer } from "../../bench/compare.ts";
import { describeComparison } from "../../bench/compare-text.ts";
import { BadReport, readReport } from "../../bench/read-report.ts";
import { type Report, reportOf } from "../../bench/report.ts";
import type { Samples } from "../../bench/scenario.ts";
import { figure, numbers, report } from "./bench-results.ts";

const TOLERANCE = 0.1;
const compare = await loadComparer();
const folder = mkdtempSync(join(tmpdir(), "barecell-compare-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const names = Array.from({ length: 15 }, (_, i) => `scenario-${i}`);

/** Scenarios of the same distribution, by other random numbers each time. */
const same = (seed: number, own = 1, floor = 1): Record<string, Samples> =>
  Object.fromEntries(names.map((name, i) => [name, figure(seed * 100 + i, { own, floor })]));

const verdicts = ({ changes }: Comparison): Record<string, string> =>
  Object.fromEntries(changes.map(({ name, verdict }) => [name, verdict]));

describe("noise", () => {
  it("is no regression, not even without any tolerance", () => {
    for (const seed of [1, 3]) {
      const { regressions, changes } = compare(report(same(seed)), report(same(seed + 1)), 0);
      expect(changes).toHaveLength(names.length);
      expect(regressions).toEqual([]);
    }
  });

  it("of a whole machine that got slower is none either", () => {
    const { regressions, changes } = compare(report(same(1)), report(same(2, 1.6, 1.6)), TOLERANCE);
    expect(regressions).toEqual([]);
    expect(changes[0]?.floorRatio).toBeCloseTo(1.6, 1);
    expect(changes[0]?.ratio).toBeCloseTo(1, 1);
  });

  it("that hits a third of a run, both sides alike, is none", () => {
    const busy = { "cold-staged": figure(7, { busy: 3 }), "warm-sync": figure(8, { busy: 3 }) };
    const quiet = { "cold-staged": figure(9, {}), "warm-sync": figure(10, {}) };
    expect(compare(report(quiet), report(busy), TOLERANCE).regressions).toEqual([]);
  });

  it("of what has no floor is held against all floors together", () => {
    const before = { ...same(1), compile: { ...figure(11, {}), floor: null } };
    const after = { ...same(2, 1.5, 1.5), compile: { ...figure(12, { own: 1.5 }), floor: null } };
    const comparison = compare(report(before), report(after), TOLERANCE);
    expect(comparison.regressions).toEqual([]);
    expect(comparison.changes.find(({ name }) => name === "compile")).toMatchObject({ floorRatio: null });
  });
});

describe("a planted change", () => {
  it("is found among many figures that did not change, and only it", () => {
    const after = { ...same(2), "scenario-7": figure(207, { own: 1.2 }) };
    const { regressions } = compare(report(same(1)), report(after), TOLERANCE);
    expect(regressions.map(({ name }) => name)).toEqual(["scenario-7"]);
    expect(regressions[0]?.ratio).toBeGreaterThan(1.15);
    expect(regressions[0]?.ratio).toBeLessThan(1.25);
  });

  it("is found where a faster machine hides it", () => {
    const before = { "warm-sync": figure(1, {}) };
    const after = { "warm-sync": figure(2, { own: 1, floor: 0.7 }) };
    const { regressions } = compare(report(before), report(after), TOLERANCE);
    expect(regressions).toMatchObject([{ name: "warm-sync" }]);
  });

  it("is found in a scenario's parts, in few samples too", () => {
    const make = (own: number, seed: number): Report => {
      const part = figure(seed, { own, count: 9 });
      const scenario = reportOf({ ...figure(seed + 1, { count: 9 }), parts: { kernel: part }, details: {} });
      return { ...report({}), scenarios: { density: scenario } };
    };
    const { regressions } = compare(make(1, 1), make(2, 11), TOLERANCE);
    expect(regressions.map(({ name }) => name)).toEqual(["density, kernel"]);
  });

  it("that is smaller than the tolerance is told, and no regression", () => {
    const before = { "cold-direct": figure(1, { count: 2000 }) };
    const after = { "cold-direct": figure(2, { own: 1.06, count: 2000 }) };
    expect(verdicts(compare(report(before), report(after), TOLERANCE))).toEqual({
      "cold-direct": "slight",
    });
    expect(compare(report(before), report(after), 0).regressions).toHaveLength(1);
  });

  it("to the better is an improvement", () => {
    const after = { "cold-direct": figure(2, { own: 0.8 }) };
    const comparison = compare(report({ "cold-direct": figure(1, {}) }), report(after), TOLERANCE);
    expect(verdicts(comparison)).toEqual({ "cold-direct": "improvement" });
  });

  it("cannot be told from too few samples", () => {
    const before = { exits: figure(1, { count: 3 }) };
    const after = { exits: figure(2, { own: 3, count: 3 }) };
    expect(verdicts(compare(report(before), report(after), TOLERANCE))).toEqual({
      exits: "too few samples",
    });
  });

  it("cannot be told of what came to nothing or less", () => {
    const negative = (seed: number) => ({
      ...figure(seed, {}),
      samples: figure(seed, {}).samples.map((us) => -us),
    });
    const comparison = compare(report({ kernel: figure(1, {}) }), report({ kernel: negative(2) }), TOLERANCE);
    expect(verdicts(comparison)).toEqual({ kernel: "not comparable" });
    const [before, after] = [report({ kernel: negative(3) }), report({ kernel: negative(4) })];
    expect(describeComparison(compare(before, after, TOLERANCE), before, after, TOLERANCE)).toContain("?");
  });

  it("of the floor by itself is the machine's", () => {
    const before = { floor: { ...figure(1, {}), floor: null } };
    const after = { floor: { ...figure(2, { own: 2 }), floor: null } };
    expect(verdicts(compare(report(before), report(after), TOLERANCE))).toEqual({ floor: "machine" });
  });
});

describe("what cannot be compared", () => {
  it("is said: other scenarios, another unit, another machine", () => {
    const gone = reportOf({ ...figure(1, {}), parts: { part: figure(7, {}) }, details: {} });
    const others = report({ stays: figure(2, {}), "other-unit": figure(3, {}) });
    const before: Report = { ...others, scenarios: { gone, ...others.scenarios } };
    const after = report(
      { come: figure(4, {}), stays: figure(5, {}), "other-unit": { ...figure(6, {}), unit: "ms" } },
      { cpu: "another processor", load: 9 },
    );
    const comparison = compare(before, after, TOLERANCE);
    expect(comparison.onlyBefore).toEqual(["gone", "other-unit"]);
    expect(comparison.onlyAfter).toEqual(["come", "other-unit"]);
    expect(comparison.machines).toEqual([{ what: "cpu", before: "a processor", after: "another processor" }]);
    const text = describeComparison(comparison, before, after, TOLERANCE);
    expect(text).toContain("ANOTHER MACHINE");
    expect(text).toContain("cpu: a processor → another processor");
    expect(text).toContain("only before: gone; other-unit");
    expect(text).toContain("only now: come; other-unit");
    expect(text).toMatch(/no regression: nothing is clearly worse by more than 10 %$/);
  });

  it("is nothing at all", () => {
    const [before, after] = [report({ gone: figure(1, {}) }), report({ come: figure(2, {}) })];
    const text = describeComparison(compare(before, after, TOLERANCE), before, after, TOLERANCE);
    expect(text).toContain("nothing was measured both times");
  });
});

describe("the text", () => {
  it("has a line for each figure, and names the regressions at its end", () => {
    const before = report({ "cold-staged": figure(1, {}), "warm-sync": figure(2, {}) });
    const after = report({ "cold-staged": figure(3, { own: 1.5 }), "warm-sync": figure(4, {}) });
    const text = describeComparison(compare(before, after, TOLERANCE), before, after, TOLERANCE);
    expect(text).toMatch(/^cold-staged +us +\d+ +\d+ +×1\.\d\d +×1\.[45]\d +[<\d.]+ +REGRESSION$/m);
    expect(text).toMatch(/^warm-sync +us .* no clear difference$/m);
    expect(text).toMatch(/1 clearly worse by more than 10 %.*:\n {2}cold-staged: \d\d % worse$/);
  });
});

describe("Holm's correction", () => {
  it("multiplies by the number of those that are no smaller, and keeps the order", () => {
    expect(holm([0.01, null, 0.04, 0.03])).toEqual([0.03, null, 0.06, 0.06]);
    expect(holm([0.6, 0.7])).toEqual([1, 1]);
    expect(holm([])).toEqual([]);
  });
});

describe("a file to compare with", () => {
  const write = (name: string, content: unknown): string => {
    const path = join(folder, name);
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  };

  it("is read as it was written", () => {
    const written = report({ "cold-staged": figure(1, {}) });
    expect(readReport(write("good.json", written))).toEqual(written);
  });

  it("of an earlier version, without parts and `quick`, is read too", () => {
    const { machine } = report({});
    const scenario = { unit: "us", p50: 2, details: { samples: { value: [1, 2], floor: null } } };
    expect(
      readReport(write("early.json", { machine, scenarios: { old: scenario } })).scenarios,
    ).toHaveProperty("old");
  });

  const machine = report({}).machine;
  const withSamples = (samples: unknown) => ({
    machine,
    scenarios: { a: { unit: "us", details: { samples } } },
  });
  it.each([
    ["no JSON", "{", /cannot read .*no JSON/],
    ["a list", [], /it is no object/],
    ["null", "null", /it is no object/],
    ["no machine", { scenarios: {} }, /describes no machine/],
    ["no scenarios", { machine }, /has no scenarios/],
    ["a scenario that is a number", { machine, scenarios: { a: 1 } }, /'a' has no details/],
    ["no samples", withSamples(undefined), /'a' has no samples/],
    ["no sample", withSamples({ value: [], floor: null }), /'a' has no samples/],
    ["samples that are words", withSamples({ value: ["1"], floor: null }), /'a' has no samples/],
    ["half a floor", withSamples({ value: [1], floor: [null] }), /'a' has no samples/],
    [
      "a part without samples",
      {
        machine,
        scenarios: { a: { unit: "us", details: { samples: { value: [1], floor: null }, parts: { b: 7 } } } },
      },
      /'a, b' has no unit/,
    ],
    ["a quick run", { ...report({}), quick: true }, /quick run/],
  ])("is refused: %s", (name, content, message) => {
    const path = write(`${name}.json`, content);
    expect(() => readReport(path)).toThrow(BadReport);
    expect(() => readReport(path)).toThrow(message);
  });

  it("is refused: absent", () => {
    expect(() => readReport(join(folder, "absent.json"))).toThrow(/cannot read .*absent\.json/);
  });
});

describe("the random numbers of these tests", () => {
  it("are around 1, and others for each seed", () => {
    const [one, other] = [numbers(1), numbers(2)];
    const drawn = Array.from({ length: 1000 }, one);
    expect(drawn.reduce((sum, value) => sum + value, 0) / drawn.length).toBeCloseTo(1, 1);
    expect(other()).not.toBe(numbers(1)());
  });
});
