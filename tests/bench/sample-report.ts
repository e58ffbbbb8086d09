/** A report that nobody measured, for tests of what is made of one. */
import { type IsolationReport, SCHEMA } from "../../bench/isolation/result.ts";

/** @param medians by peer; those whose names begin with `own` are barecell's, and those that end with `ahead` make instances before the request */
export function sampleReport(medians: Readonly<Record<string, number>>): IsolationReport {
  const names = Object.entries(medians);
  return {
    schema: SCHEMA,
    command: "barecell bench isolation",
    started: "2000-01-01T00:00:00.000Z",
    finished: "2000-01-01T00:01:00.000Z",
    interrupted: false,
    quick: false,
    machine: {
      ...{ date: "2000-01-01T00:00:00.000Z", cpu: "a processor", cores: 2, memoryGiB: 4, kernel: "6.0" },
      ...{
        node: "v20",
        v8: "11",
        compiler: "cc",
        kvm: "none",
        mitigations: {},
        hugePages: "",
        barecell: "0",
      },
      ...{ commit: "0", load: 0, liveVms: 0 },
    },
    plan: {},
    workloads: [{ name: "nothing", title: "nothing", n: 1 }],
    peers: names.map(([name]) => ({
      ...{
        name,
        title: name,
        wall: "vm",
        isOwn: name.startsWith("own"),
        isAhead: name.endsWith("ahead"),
        status: "measured",
        reason: null,
      },
      ...{ install: null, version: "1", settings: null, includes: "all", leavesOut: "nothing" },
      ...{ crash: null, stop: null, memory: null, memoryProblem: null, throughput: [] },
    })),
    cells: names.map(([peer, p50]) => {
      const values = [0.98, 0.99, 1, 1.01, 1.02].map((factor) => p50 * factor);
      const interval = { low: p50 * 0.98, high: p50 * 1.02 };
      const figures = {
        count: 5,
        p50,
        p90: p50 * 1.02,
        p99: p50 * 1.02,
        max: p50 * 1.02,
        p50Interval: interval,
      };
      return {
        ...{ peer, workload: "nothing", status: "measured", reason: null },
        ...{ ready: figures, result: figures, end: figures },
        samples: values.map((us) => ({ turn: 0, readyUs: us / 2, resultUs: us, endUs: us * 2 })),
      };
    }),
    timelines: [],
    warnings: [],
  };
}
