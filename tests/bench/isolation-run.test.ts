/** `barecell bench` as its users run it. No time is asserted: a test machine may be as slow as it likes. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { IsolationReport } from "../../bench/isolation/result.ts";
import { cli, jsonOf, newFolder } from "../cli/support.ts";

const read = (folder: string, name: string): string => readFileSync(join(folder, name), "utf8");
const OWN = ["microvm-staged", "microvm-shell", "microvm-pool", "microvm-snapshot"];
const AHEAD = ["microvm-shell", "microvm-pool"];
const MEASURED = ["process", ...OWN];
const PEERS = [...MEASURED, "qemu-microvm"];

describe("bench isolation", () => {
  const out = join(newFolder(), "made", "on the way");
  let answer: Record<string, unknown>;
  let report: IsolationReport;

  beforeAll(async () => {
    const names = ["--peers", PEERS.join(), "--workload", "nothing,echo"];
    const options = ["--quick", ...names, "--samples", "6", "--out", out, "--json"];
    const run = await cli(["bench", "isolation", ...options], {
      env: { BARECELL_GUEST_KERNEL: "/nonexistent/vmlinuz" },
    });
    expect(run.status, run.stderr + run.stdout).toBe(0);
    answer = jsonOf(run);
    report = JSON.parse(read(out, "report.json")) as IsolationReport;
  }, 170_000);

  it("measures each peer with each workload, and keeps every sample", () => {
    expect(answer).toMatchObject({ ok: true, interrupted: false });
    expect(report.cells.map(({ peer, workload, status }) => `${workload} ${peer} ${status}`)).toEqual([
      ...MEASURED.map((name) => `nothing ${name} measured`),
      ...MEASURED.map((name) => `echo ${name} measured`),
    ]);
    for (const { peer, samples, ready, result, end } of report.cells) {
      expect(samples).toHaveLength(6);
      for (const { readyUs, resultUs, endUs } of samples) {
        // What is there before the request is ready at once.
        if (AHEAD.includes(peer)) expect(readyUs).toBe(0);
        else expect(readyUs).toBeGreaterThan(0);
        expect(resultUs).toBeGreaterThan(readyUs ?? 0);
        expect(endUs).toBeGreaterThan(resultUs);
      }
      expect(result?.p50).toBe([...samples.map(({ resultUs }) => resultUs)].sort((a, b) => a - b)[2]);
      expect(result?.max).toBe(Math.max(...samples.map(({ resultUs }) => resultUs)));
      expect(ready?.count).toBe(6);
      expect(end?.p50Interval.low).toBeLessThanOrEqual(end?.p50 ?? 0);
    }
  });

  it("tries out crashes and endless loops, and looks at memory and throughput", () => {
    const measured = report.peers.filter(({ status }) => status === "measured");
    expect(measured.map(({ name }) => name)).toEqual(MEASURED);
    expect(measured.filter(({ isAhead }) => isAhead).map(({ name }) => name)).toEqual(AHEAD);
    for (const { crash, stop, memory, throughput, name } of measured) {
      expect(crash, name).toMatchObject({ verdict: "contained" });
      expect(stop, name).toMatchObject({ verdict: "stopped" });
      expect(stop?.lateMs, name).toHaveLength(2);
      expect(memory?.instances, name).toBe(8);
      expect(memory?.proportionalBytes, name).toEqual(expect.any(Number));
      // Of instances within the measuring process so few may drown in what its own heap does.
      if (name === "process") expect(memory?.proportionalBytes, name).toBeGreaterThan(0);
      expect(throughput.map(({ cores }) => cores)[0], name).toBe(1);
      for (const { requestsPerSecond } of throughput) expect(requestsPerSecond, name).toBeGreaterThan(0);
    }
    expect(report.timelines).toMatchObject([{ peer: "microvm-staged" }, { peer: "microvm-snapshot" }]);
    expect(report.timelines[0]?.steps.map(({ name }) => name)).toContain("iretq to ring 3");
  });

  it("lists what is not there with the reason", () => {
    const guest = report.peers.find(({ name }) => name === "qemu-microvm");
    // Where there is no QEMU that is the reason, and else its guest's kernel.
    expect(guest).toMatchObject({
      status: "unavailable",
      reason: expect.stringMatching(/is not installed|\/nonexistent\/vmlinuz/),
      install: expect.stringMatching(/apt-get/),
    });
    for (const name of ["report.md", "report.html"]) expect(read(out, name)).toContain(guest?.reason);
  });

  it("writes everything in four forms", () => {
    expect(readdirSync(out).sort()).toEqual(["report.csv", "report.html", "report.json", "report.md"]);
    expect(answer["files"]).toEqual(
      ["report.json", "report.csv", "report.md", "report.html"].map((name) => join(out, name)),
    );
    expect(read(out, "report.csv").trim().split("\n")).toHaveLength(1 + MEASURED.length * 2 * 6);
    const page = read(out, "report.html");
    // Two widths of: isolation, comparison, start, two latencies, throughput, memory, timeline.
    expect(page.match(/<svg /g)?.length).toBe(2 * 8);
    for (const { command, machine } of [report]) {
      for (const name of ["report.md", "report.html"]) {
        expect(read(out, name)).toContain(command);
        expect(read(out, name)).toContain(machine.kernel);
      }
    }
    // Self-contained: nothing is fetched, nothing is run.
    expect(page).not.toMatch(/<script|<link|<iframe|@import|(?:src|href)=["'](?!#)/);
    expect(page.replaceAll("http://www.w3.org/", "")).not.toMatch(/url\((?!#)/);
  });
});
