/** `barecell bench compare` as its users run it. */
import { describe, expect, it } from "vitest";
import { readReport } from "../../bench/isolation/compare.ts";
import { cli, failure, jsonOf, newFile } from "../cli/support.ts";
import { sampleReport } from "./sample-report.ts";

describe("bench compare", () => {
  const before = newFile("before.json", JSON.stringify(sampleReport({ own: 100, peer: 10 })));
  const after = newFile("after.json", JSON.stringify(sampleReport({ own: 150, peer: 10 })));

  it("says what became slower", async () => {
    const run = await cli(["bench", "compare", before, after]);
    expect(run.status).toBe(0);
    expect(run.stdout).toContain("own, nothing: 100 µs → 150 µs (1.50×)");
    expect(run.stdout).not.toContain("peer, nothing");
    expect(jsonOf(await cli(["bench", "compare", "--json", before, after]))).toMatchObject({
      ok: true,
      changes: [
        { peer: "own", ratio: 1.5, isClear: true },
        { peer: "peer", ratio: 1 },
      ],
    });
  });

  it("fails above a limit", async () => {
    expect((await cli(["bench", "compare", "--fail-above", "40", before, after])).status).toBe(1);
    expect((await cli(["bench", "compare", "--fail-above", "60", before, after])).status).toBe(0);
    expect((await cli(["bench", "compare", "--fail-above", "40", after, before])).status).toBe(0);
  });

  it("refuses what is no report", async () => {
    await failure(["bench", "compare", before, "/nonexistent"], "BARECELL_FILE_UNREADABLE", 2);
    await failure(["bench", "compare", newFile("x.json", "{}"), before], "BARECELL_ARGUMENT_INVALID", 2);
    const broken = { ...sampleReport({ own: 1 }), cells: [{ result: { p50: "x" } }] };
    const texts = ["", "[]", '{"schema":"barecell-bench-isolation/1"}', "null", JSON.stringify(broken)];
    for (const text of texts) {
      expect(() => readReport(newFile("x.json", text)), text).toThrow(
        expect.objectContaining({ code: "BARECELL_ARGUMENT_INVALID" }),
      );
    }
  });
});
