import { describe, expect, it } from "vitest";
import { describeMachine } from "../../bench/machine.ts";
import { notes, reportOf, table } from "../../bench/report.ts";
import { interleave } from "../../bench/scenario.ts";

const measured = reportOf({
  unit: "us",
  samples: [12, 30, 10, 11],
  floor: [10, 9, 8, 20],
  details: { own: 1 },
  notes: ["something to say"],
});
const alone = reportOf({ unit: "ms", samples: [1], floor: null, details: {} });

describe("reportOf", () => {
  it("has the form that README.md promises", () => {
    expect(Object.keys(measured)).toEqual(["unit", "p50", "p90", "p99", "max", "floor", "ratio", "details"]);
    expect(measured).toMatchObject({
      unit: "us",
      p50: 11,
      max: 30,
      floor: { unit: "us", p50: 9, p90: 20, p99: 20, max: 20 },
      ratio: 11 / 9,
      details: { own: 1, samples: { value: [12, 30, 10, 11], floor: [10, 9, 8, 20] } },
    });
  });

  it("says null where there is no floor, and survives JSON", () => {
    expect(alone).toMatchObject({ floor: null, ratio: null, details: { quiet: null } });
    expect(JSON.parse(JSON.stringify(alone))).toEqual(alone);
  });
});

describe("the table", () => {
  it("has one line for each scenario, with its ratio", () => {
    const report = { machine: describeMachine(), quick: true, scenarios: { "cold-staged": measured, alone } };
    const lines = table(report).split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[1]).toMatch(/^cold-staged +us +11\.0 +30\.0 +30\.0 +30\.0 +9\.00 +1\.22$/);
    expect(lines[2]).toMatch(/–$/);
    expect(notes(report)).toBe("cold-staged: something to say");
  });
});

describe("describeMachine", () => {
  it("names processor, kernel, Node and the kind of KVM", () => {
    const machine = describeMachine();
    expect(machine.cpu).not.toBe("");
    expect(machine.cores).toBeGreaterThan(0);
    expect(machine.kernel).toMatch(/^\d+\./);
    expect(machine.node).toBe(process.version);
    expect(["bare metal", "nested", "PVM", "none"]).toContain(machine.kvm);
  });
});

describe("interleave", () => {
  it("takes the sides in turns, and exactly as many samples as asked", async () => {
    const turns: string[] = [];
    const side = (name: string) => (count: number) => {
      turns.push(`${name}${count}`);
    };
    await interleave(5, 2, [side("a"), side("b")]);
    expect(turns).toEqual(["a2", "b2", "a2", "b2", "a1", "b1"]);
  });
});
