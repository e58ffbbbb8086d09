/** The table of conformance that is made of a report. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PROJECT } from "./files.ts";
import { makeReport } from "./report.ts";
import type { Entry } from "./run-script.ts";

const folder = mkdtempSync(join(tmpdir(), "barecell-conformance-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const readme = join(folder, "README.md");
const reportPath = join(folder, "report.json");
const BEGIN = "<!-- conformance: made by scripts/make-conformance.mjs -->";
const END = "<!-- /conformance -->";

const entries = (passed: number, ...skipped: string[]): Entry[] => [
  ...Array.from({ length: passed }, () => ({
    line: 1,
    kind: "module",
    outcome: "passed" as const,
    reason: "",
  })),
  ...skipped.map((reason) => ({ line: 2, kind: "module", outcome: "skipped" as const, reason })),
];

function make(...args: string[]): { readonly status: number; readonly stderr: string } {
  const script = join(PROJECT, "scripts", "make-conformance.mjs");
  try {
    execFileSync(process.execPath, [script, reportPath, "--readme", readme, ...args], { stdio: "pipe" });
    return { status: 0, stderr: "" };
  } catch (error) {
    const { status, stderr } = error as { status: number; stderr: Buffer };
    return { status, stderr: stderr.toString() };
  }
}

describe("scripts/make-conformance.mjs", () => {
  it("writes a line for each folder between the markers, and nothing else", () => {
    const report = makeReport([
      { file: "wasm-2.0/a.wast", seconds: 1, entries: entries(1200) },
      { file: "wasm-2.0/simd/b.wast", seconds: 1, entries: entries(2) },
      {
        file: "later/gc/c.wast",
        seconds: 1,
        entries: entries(
          0,
          "refused: tail calls (the module of line 3, which this one imports from)",
          "wabt cannot parse it (garbage collection): unexpected token (line 5)",
          "wabt cannot parse it (garbage collection): unexpected token (line 6)",
        ),
      },
      { file: "robustness/x/one/d.wasm", seconds: 1, entries: entries(1) },
      { file: "robustness/x/two/e.wasm", seconds: 1, entries: entries(1) },
    ]);
    writeFileSync(reportPath, JSON.stringify(report));
    writeFileSync(readme, `before\n${BEGIN}\nold\n${END}\nafter\n`);
    expect(make("--check")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("not what the report says"),
    });
    expect(make().status).toBe(0);
    expect(readFileSync(readme, "utf8").split("\n")).toEqual([
      "before",
      BEGIN,
      "",
      "| scripts | files | commands | passed | failed | skipped | why |",
      "| --- | --- | --- | --- | --- | --- | --- |",
      "| later/gc | 1 | 3 | 0 | 0 | 3 | wabt cannot parse it (garbage collection) (2); refused: tail calls (1) |",
      "| robustness/x | 2 | 2 | 2 | 0 | 0 |  |",
      "| wasm-2.0 | 1 | 1,200 | 1,200 | 0 | 0 |  |",
      "| wasm-2.0/simd | 1 | 2 | 2 | 0 | 0 |  |",
      "| **all** | 5 | 1,207 | 1,204 | 0 | 3 | |",
      "",
      END,
      "after",
      "",
    ]);
    expect(make("--check").status).toBe(0);
  });

  it("says that the markers are missing", () => {
    writeFileSync(readme, "nothing\n");
    expect(make()).toMatchObject({ status: 1, stderr: expect.stringContaining("the file has no lines") });
    expect(readFileSync(readme, "utf8")).toBe("nothing\n");
  });
});
