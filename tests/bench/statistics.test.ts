import { describe, expect, it } from "vitest";
import { geometricMean, percentile, summarize } from "../../bench/statistics.ts";

const oneTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

describe("percentile", () => {
  it("is the nearest rank, so always one of the samples", () => {
    expect(percentile(oneTo(100), 0.5)).toBe(50);
    expect(percentile(oneTo(100), 0.9)).toBe(90);
    expect(percentile(oneTo(100), 0.99)).toBe(99);
    expect(percentile(oneTo(10), 0.99)).toBe(10);
    expect(percentile(oneTo(3), 0.5)).toBe(2);
  });

  it("does not round up because of binary fractions", () => {
    expect(percentile(oneTo(100), 0.07)).toBe(7);
    expect(percentile(oneTo(1000), 0.29)).toBe(290);
  });

  it("sorts by value and leaves the samples as they are", () => {
    const samples = [10, 9, 100, 1];
    expect(percentile(samples, 1)).toBe(100);
    expect(percentile(samples, 0)).toBe(1);
    expect(samples).toEqual([10, 9, 100, 1]);
  });

  it("refuses to make a figure from nothing", () => {
    expect(() => percentile([], 0.5)).toThrow(RangeError);
    expect(() => geometricMean([])).toThrow(RangeError);
  });
});

describe("summarize", () => {
  it("gives the four figures of a report", () => {
    expect(summarize(oneTo(200).reverse())).toEqual({ p50: 100, p90: 180, p99: 198, max: 200 });
    expect(summarize([7])).toEqual({ p50: 7, p90: 7, p99: 7, max: 7 });
  });
});

describe("geometricMean", () => {
  it("weighs twice as fast and half as fast alike", () => {
    expect(geometricMean([2, 0.5])).toBeCloseTo(1, 12);
    expect(geometricMean([1, 10, 100])).toBeCloseTo(10, 12);
  });
});
