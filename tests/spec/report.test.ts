/** What people and scripts read of a run. */
import { describe, expect, it } from "vitest";
import { fileLines, makeReport, totalLine } from "./report.ts";
import type { Entry } from "./run-script.ts";

const entry = (outcome: Entry["outcome"], reason = "", line = 3): Entry => ({
  line,
  kind: "assert_return",
  outcome,
  reason,
});

describe("a file's lines", () => {
  it("count, and say why something was skipped", () => {
    const entries = [
      entry("passed"),
      entry("skipped", "refused: tail calls"),
      entry("skipped", "refused: tail calls (the module of line 7, which this one imports from)"),
      entry("skipped", "wabt cannot parse it (garbage collection): unexpected token (, expected ). (line 9)"),
    ];
    expect(fileLines({ file: "a.wast", seconds: 1, entries })).toEqual([
      "a.wast: passed 1, failed 0, skipped 3 (2 refused: tail calls; 1 wabt cannot parse it (garbage collection))",
    ]);
  });

  it("show the first failures", () => {
    const entries = Array.from({ length: 12 }, (_, i) => entry("failed", `reason ${i}`, i));
    entries.push(entry("failed", "reason 1", 20), entry("failed", "reason 1", 21));
    const lines = fileLines({ file: "a.wast", seconds: 1, entries });
    expect(lines).toHaveLength(12);
    expect(lines.slice(0, 3)).toEqual([
      "a.wast: passed 0, failed 14, skipped 0",
      "    assert_return: reason 0",
      "    line 1: assert_return: reason 1 (and 2 more for the same reason)",
    ]);
    expect(lines[11]).toBe("    … and 2 more reasons");
  });
});

describe("a report", () => {
  it("has totals, files and every assertion", () => {
    const report = makeReport([
      { file: "a", seconds: 1, entries: [entry("passed"), entry("failed", "no")] },
      { file: "b", seconds: 2, entries: [entry("skipped", "why")] },
    ]);
    expect(report.totals).toEqual({ passed: 1, failed: 1, skipped: 1 });
    expect(totalLine(report.totals)).toBe("1 passed, 1 failed, 1 skipped");
    expect(report.files).toEqual([
      { file: "a", seconds: 1, passed: 1, failed: 1, skipped: 0 },
      { file: "b", seconds: 2, passed: 0, failed: 0, skipped: 1 },
    ]);
    expect(report.assertions[1]).toEqual({
      file: "a",
      line: 3,
      kind: "assert_return",
      outcome: "failed",
      reason: "no",
    });
  });
});
