/** The soak run's own parts, and a short run: `npm run soak` is the long one. */
import { spawnSync } from "node:child_process";
import { beforeAll, describe, expect, it } from "vitest";
import { announceSkip, isSvm } from "../support/environment.ts";
import { parseOptions, UsageError } from "./options.ts";
import {
  growthComplaint,
  growthPerRun,
  leftComplaints,
  type Resources,
  type Sample,
  withSpare,
} from "./resources.ts";

const MIB = 2 ** 20;
const resources: Resources = { rssBytes: 100 * MIB, descriptors: 20, vms: 0, vcpus: 0, threads: 11 };

/** Samples every 1,000 runs, with noise that has no trend. */
const samples = (count: number, rss: (i: number) => number): Sample[] =>
  Array.from({ length: count }, (_, i) => ({
    ...resources,
    runs: 1000 * (i + 1),
    rssBytes: rss(i) + ((i * 7919) % 13) * MIB,
  }));

describe("what is found", () => {
  it("memory that grows by 1 KiB a run, and not memory that breathes", () => {
    expect(growthComplaint(samples(100, (i) => 100 * MIB + i * 1000 * 1024))).toMatch(
      /memory grows: 1\d\d\d bytes a run/,
    );
    expect(growthComplaint(samples(100, () => 100 * MIB))).toBeUndefined();
    // Filling caches is no leak, and neither is one jump.
    expect(growthComplaint(samples(100, (i) => (100 + Math.min(i, 20) * 10) * MIB))).toBeUndefined();
    expect(growthComplaint(samples(100, (i) => (i < 90 ? 100 : 150) * MIB))).toBeUndefined();
    expect(growthPerRun(samples(3, () => MIB))).toBeUndefined();
  });
  it("a VM, a vCPU, a descriptor or a thread too many", () => {
    const most = withSpare(resources);
    expect(leftComplaints(most, most, "now")).toEqual([]);
    for (const what of ["vms", "vcpus", "descriptors", "threads"] as const) {
      expect(leftComplaints(most, { ...most, [what]: most[what] + 1 }, "now")).toEqual([
        `now: ${what} ${most[what] + 1}, and ${most[what]} at most should be there`,
      ]);
    }
  });
});

describe("command line", () => {
  it("runs 100,000 times unless it is told otherwise", () => {
    expect(parseOptions(["--seed", "7"])).toMatchObject({
      runs: 100_000,
      minutes: Number.POSITIVE_INFINITY,
      seed: 7,
    });
    expect(parseOptions(["--minutes", "0.5"])).toMatchObject({
      runs: Number.POSITIVE_INFINITY,
      minutes: 0.5,
    });
    expect(parseOptions(["--minutes", "5", "--runs", "10", "--json"])).toMatchObject({
      runs: 10,
      minutes: 5,
      json: true,
    });
    expect(parseOptions(["--help"])).toBe("help");
  });
  it.each([
    ["--runs", "0"],
    ["--runs", "1.5"],
    ["--minutes", "soon"],
    ["--seed", "-1"],
    ["--threads", ""],
    ["--vms", "1000"],
  ])("%s %s is refused", (...args) => {
    expect(() => parseOptions(args)).toThrow(args[1] === "-1" ? TypeError : UsageError);
  });
});

describe("a short run", () => {
  beforeAll(() => {
    const built = spawnSync(
      process.execPath,
      ["node_modules/typescript/bin/tsc", "-p", "tests/soak/tsconfig.json"],
      { encoding: "utf8" },
    );
    expect(built.stdout).toBe("");
  });
  const soak = (...args: string[]): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, ["--expose-gc", "build/soak/main.js", ...args], { encoding: "utf8" });

  it("comes to its end without a failure", () => {
    if (isSvm) {
      announceSkip("the short soak run", "the emulated machine is too slow for its deadlines");
      return;
    }
    const { stdout, stderr, status } = soak("--runs", "300", "--seed", "20260103", "--json");
    expect(stderr).toBe("");
    const report = JSON.parse(String(stdout)) as {
      runs: number;
      failures: string[];
      ends: Record<string, number>;
    };
    expect(report.failures).toEqual([]);
    expect(report.runs).toBeGreaterThanOrEqual(300);
    // Results, traps and kills were all among them.
    for (const end of ["returned", "BARECELL_DISPOSED", "BARECELL_TRAP_ACCESS_DENIED"])
      expect(report.ends[end]).toBeGreaterThan(0);
    expect(status).toBe(0);
  });
  it("ends with a line of counts, and says its seed", () => {
    const { stdout } = soak("--runs", "1", "--seed", "3", "--threads", "1", "--vms", "1");
    expect(stdout).toMatch(/^seed 3\n/);
    expect(stdout).toMatch(/\n1 runs, 0 failures\n$/);
  });
  it("wrong usage ends with status 2 and the usage", () => {
    const { stderr, status } = soak("--runs", "many");
    expect(stderr).toMatch(/^soak: --runs takes a whole number .*'many'\nusage: /);
    expect(status).toBe(2);
    expect(soak("--nothing").status).toBe(2);
  });
});
