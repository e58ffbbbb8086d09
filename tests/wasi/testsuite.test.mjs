// Programs of WASI test suites that nobody here wrote (../shared/data/wasi), as `npm run wasi-testsuite` runs them.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import * as api from "../../dist/index.js";
import { findTests, runTest } from "../../scripts/wasi-testsuite.mjs";
import { announceSkip, slowness } from "../support/environment.ts";
import { CACHE_FOLDER } from "../support/modules.ts";

const DATA =
  process.env.BARECELL_TEST_DATA ?? fileURLToPath(new URL("../../../shared/data", import.meta.url));
const FOLDER = join(DATA, "wasi");
const tests = existsSync(FOLDER) ? findTests(FOLDER) : [];
if (tests.length === 0) {
  announceSkip("the WASI test suites", `${FOLDER} does not exist; set BARECELL_TEST_DATA`);
}

describe.runIf(tests.length > 0)("programs of the WASI test suites", () => {
  it("are all there, and nearly all state what must come of them", () => {
    expect(tests.length).toBeGreaterThan(80);
    expect(tests.filter(({ skip }) => skip).length).toBeLessThan(10);
  });
  for (const test of tests) {
    const title = `${test.name}${test.skip ? ` (SKIPPED: ${test.skip})` : ""}`;
    // Side by side, since nearly all of the time is the C compiler's, which uses one processor.
    it.concurrent.skipIf(test.skip)(
      title,
      async () => {
        // These are about host calls; the C compiler's better levels only take longer.
        expect(await runTest(test, api, { cache: CACHE_FOLDER, optimize: "quick" })).toBeUndefined();
      },
      120_000 * slowness,
    );
  }
});
