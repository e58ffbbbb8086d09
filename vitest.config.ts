import { defineConfig } from "vitest/config";

/** In the emulated machine of `npm run test:svm` everything takes ten times as long. */
const slow = process.env["BARECELL_SVM"] === "1" ? 10 : 1;

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts", "tests/**/*.test.mjs"],
    testTimeout: 60_000 * slow,
    hookTimeout: 60_000 * slow,
    // Compilers and VMs want the processors for themselves; more files at once only make each slower.
    maxWorkers: 2,
    maxConcurrency: 2,
    pool: "forks",
  },
});
