/** What `npm test` makes of vitest's reports: a failure that is not counted, or not named, would be none. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import {
  counts,
  failures,
  filesToRepeat,
  readReport,
  skippedNames,
  withRepeated,
} from "../../scripts/test-report.mjs";

const test = (fullName, status, ...failureMessages) => ({ fullName, status, failureMessages });
const file = (name, status, ...assertionResults) => ({ name: resolve(name), status, assertionResults });

const FIRST = {
  testResults: [
    file(
      "tests/a.test.ts",
      "failed",
      test("a one", "passed"),
      test("a two", "failed", "Error: late\n at x", "more"),
    ),
    file(
      "tests/b.test.ts",
      "passed",
      test("b one", "passed"),
      test("b two", "pending"),
      test("b three", "todo"),
    ),
    // It could not be loaded.
    file("tests/c.test.ts", "failed"),
  ],
};

describe("a report", () => {
  it("is counted test by test", () => expect(counts(FIRST)).toEqual({ passed: 2, failed: 1, skipped: 2 }));
  it("names what failed, with its message's first line", () =>
    expect(failures(FIRST)).toEqual(["a two: Error: late"]));
  it("names what was skipped", () => expect(skippedNames(FIRST)).toEqual(["b two", "b three"]));
  it("names the files to repeat: what failed, what could not be loaded, what it lacks", () => {
    const expected = ["a", "b", "c", "d"].map((name) => `tests/${name}.test.ts`);
    expect(filesToRepeat(FIRST, expected)).toEqual([expected[0], expected[2], expected[3]]);
    // A run failed although its files passed, or there is none.
    expect(filesToRepeat(FIRST, ["tests/b.test.ts"])).toEqual(["tests/b.test.ts"]);
    expect(filesToRepeat({ testResults: [] }, expected)).toEqual(expected);
  });
  it("that is absent, empty or no report is undefined", () => {
    const folder = mkdtempSync(join(tmpdir(), "barecell-report-"));
    try {
      const path = join(folder, "report.json");
      expect(readReport(path)).toBeUndefined();
      for (const text of ["", "{", "{}", '{"testResults":1}', "null"]) {
        writeFileSync(path, text);
        expect(readReport(path), text).toBeUndefined();
      }
      writeFileSync(path, JSON.stringify(FIRST));
      expect(readReport(path)).toEqual(FIRST);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("a second run of what failed", () => {
  it("takes the place of those files, and of no others", () => {
    const again = {
      testResults: [
        file("tests/a.test.ts", "passed", test("a one", "passed"), test("a two", "passed")),
        file("tests/c.test.ts", "failed", test("c one", "failed", "no")),
      ],
    };
    const merged = withRepeated(FIRST, again);
    expect(counts(merged)).toEqual({ passed: 3, failed: 1, skipped: 2 });
    expect(failures(merged)).toEqual(["c one: no"]);
    const names = ["tests/a.test.ts", "tests/b.test.ts", "tests/c.test.ts"];
    expect(filesToRepeat(merged, names)).toEqual(["tests/c.test.ts"]);
  });
  it("adds what the first did not get to", () => {
    const again = { testResults: [file("tests/d.test.ts", "passed", test("d one", "passed"))] };
    expect(counts(withRepeated(FIRST, again))).toEqual({ passed: 3, failed: 1, skipped: 2 });
  });
  it("that did not get to a file leaves its failure", () =>
    expect(failures(withRepeated(FIRST, { testResults: [] }))).toEqual(["a two: Error: late"]));
});
