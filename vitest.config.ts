import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** In the emulated machine of `npm run test:svm` everything takes ten times as long. */
const slow = process.env["BARECELL_SVM"] === "1" ? 10 : 1;

/** The longest, so that none of them begins last and runs alone. What is not named here follows, in vitest's own order: the largest first. */
const LONGEST = [
  "tests/programs/programs.test.ts",
  "tests/wasi/testsuite.test.mjs",
  "tests/fuzz/differential.test.ts",
  "tests/cli/run.test.ts",
  "tests/bench/isolation-trouble.test.ts",
  "tests/vm/cancel-windows.test.ts",
  "tests/metering/count.test.ts",
  "tests/vm/races.test.ts",
  "tests/image/image.test.ts",
  "tests/vm/processes.test.ts",
  "tests/cli/machine.test.ts",
  "tests/cli/bad-input.test.ts",
  "tests/hostile/exhaustion.test.ts",
  "tests/bench/isolation-run.test.ts",
  "tests/examples/examples.test.ts",
  "tests/spec/workers.test.ts",
  "tests/bench/run.test.ts",
  "tests/fuzz/harness.test.ts",
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return found < 0 ? LONGEST.length : found;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts", "tests/**/*.test.mjs"],
    testTimeout: 60_000 * slow,
    hookTimeout: 60_000 * slow,
    // Compilers and VMs want the processors for themselves; more files at once only make each slower. The emulated machine has one processor, and every
    // worker loads everything anew.
    maxWorkers: slow > 1 ? 1 : 2,
    maxConcurrency: 2,
    pool: "forks",
    // What is made of a source is kept, since in the emulated machine making it takes longer than most tests. `npm ci` empties node_modules, but not this.
    experimental: { fsModuleCache: true, fsModuleCachePath: "build/test-modules" },
    sequence: { sequencer: LongestFirst },
  },
});
