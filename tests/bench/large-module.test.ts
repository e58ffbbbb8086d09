/** Large modules to measure compiling with: valid, as large as asked for, and the same program. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { enlarge } from "../../bench/large-module.ts";
import { wat } from "../support/modules.ts";

const kernel = readFileSync(new URL("../../bench/kernels/wasm/json.wasm", import.meta.url));
const kernels = JSON.parse(
  readFileSync(new URL("../../bench/kernels/kernels.json", import.meta.url), "utf8"),
) as { name: string; quickN: number; quickChecksum: number }[];

describe("an enlarged module", () => {
  const large = enlarge(kernel, 100_000);
  it("has the size, and is valid", () => {
    expect(large.length).toBeGreaterThanOrEqual(100_000);
    expect(large.length).toBeLessThan(100_000 + 2 * kernel.length);
    expect(WebAssembly.validate(large)).toBe(true);
  });
  it("does what the module does", () => {
    const { quickN, quickChecksum } = kernels.find(({ name }) => name === "json") ?? { quickN: 0 };
    const run = new WebAssembly.Instance(new WebAssembly.Module(large), {}).exports["kernel_run"] as (
      n: number,
    ) => number;
    expect(run(quickN) >>> 0).toBe(quickChecksum);
  });
  it("is the module itself, without its custom sections, where it is large enough already", () => {
    expect(enlarge(kernel, 1).length).toBeLessThanOrEqual(kernel.length);
  });
  it("needs functions", () => {
    expect(() => enlarge(wat("empty", "(module (memory 1))"), 1000)).toThrow(RangeError);
  });
});
