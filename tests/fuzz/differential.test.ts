/** Some hundred modules of fixed seeds in V8 and in a VM. `npm run fuzz:diff` goes on from where this ends, see README.md. */
import { afterAll, describe, expect, it } from "vitest";
import { slowness } from "../support/environment.ts";
import { BinaryenGenerator } from "./generator/binaryen.ts";
import { type MadeUnit, makeUnit, runBatch } from "./harness/batch.ts";
import { textOfCall } from "./harness/compare.ts";

const BATCH = 24;
/** First seeds of the batches, and how each is compiled. */
const BATCHES = [
  { first: 1_000_000, generator: "own", optimize: 2, targetCpu: "host" },
  { first: 1_100_000, generator: "own", optimize: 2, targetCpu: "x86-64-v2" },
  { first: 1_200_000, generator: "own", optimize: 3, targetCpu: "host" },
  { first: 1_300_000, generator: "own", optimize: 0, targetCpu: "x86-64-v2" },
  { first: 1_400_000, generator: "binaryen", optimize: 2, targetCpu: "host" },
] as const;

describe("differential check", () => {
  const binaryen = new BinaryenGenerator();
  afterAll(() => binaryen.dispose());

  it.each(BATCHES)(
    "seeds from $first, generator $generator, -O$optimize, $targetCpu",
    async ({ first, generator, optimize, targetCpu }) => {
      const made: MadeUnit[] = [];
      for (let seed = first; seed < first + BATCH; seed++) {
        made.push(await makeUnit(seed, generator, () => binaryen));
      }
      const { summary, findings } = await runBatch(made, { optimize, targetCpu });
      const texts = findings.map(({ made: { seed, unit }, verdict: { difference } }) => {
        const call = difference?.call === undefined ? undefined : unit.calls[difference.call];
        return { seed, ...difference, ...(call && { text: textOfCall(call) }) };
      });
      expect(texts).toEqual([]);
      expect(summary.units).toBe(BATCH);
      // Otherwise the generator has gone blind: everything ends at once.
      expect(summary.calls).toBeGreaterThan(BATCH * 5);
      expect(summary.traps).toBeGreaterThan(0);
      expect(summary.traps).toBeLessThan(summary.calls / 2);
      expect(summary.incomparable).toBeLessThan(BATCH / 2);
    },
    120_000 * slowness,
  );
});
