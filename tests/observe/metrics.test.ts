/** Counters and histograms of a thread, and the statistics of one VM. */
import { describe, expect, it } from "vitest";
import { type Metrics, MicroVM, metrics } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { echo, observedGuest as guest } from "../support/observed-guest.ts";

const boot = { imports: echo, wasi: {}, maxMemoryBytes: 3 * 65536 };
const YIELD = "wasi_snapshot_preview1.sched_yield";

/** What something changed. */
async function changes(act: () => unknown): Promise<{ before: Metrics; after: Metrics }> {
  const before = metrics();
  await act();
  return { before, after: metrics() };
}

describe("metrics", () => {
  it("count boots, calls, and what ended them", async () => {
    const { before, after } = await changes(async () => {
      await withVm(guest, boot, async (vm) => {
        vm.callSync("seven");
        await vm.call("seven");
        vm.callSync("host", 1, 1n, 1);
        await failure(() => vm.callSync("trap"), "BARECELL_TRAP_UNREACHABLE");
        await failure(() => vm.callSync("seven"), "BARECELL_POISONED");
        await failure(() => vm.call("seven"), "BARECELL_POISONED");
      });
      await withVm(guest, boot, (vm) => failure(() => vm.callSync("exit", 3), "BARECELL_GUEST_EXIT"));
      await failure(() => MicroVM.boot(guest, {}), "BARECELL_IMPORT_DENIED");
    });
    expect(after.boots - before.boots).toBe(3);
    expect(after.calls - before.calls).toBe(5);
    expect(after.bootLatency.count - before.bootLatency.count).toBe(3);
    expect(after.callLatency.count - before.callLatency.count).toBe(5);
    expect(after.callLatency.sumUs).toBeGreaterThan(before.callLatency.sumUs);
    const more = (list: "traps" | "kills" | "otherErrors", code: string): number => {
      const count = (from: Metrics): number => (from[list] as Record<string, number>)[code] ?? 0;
      return count(after) - count(before);
    };
    expect(more("traps", "BARECELL_TRAP_UNREACHABLE")).toBe(1);
    expect(more("otherErrors", "BARECELL_GUEST_EXIT")).toBe(1);
    expect(more("otherErrors", "BARECELL_IMPORT_DENIED")).toBe(1);
    expect(after.kills).toEqual(before.kills);
    expect(after.otherErrors).not.toHaveProperty("BARECELL_POISONED");
  });

  it("put each duration into the first bucket that holds it", async () => {
    await withVm(guest, boot, async (vm) => {
      const { before, after } = await changes(() =>
        failure(() => vm.call("loop", { timeoutMs: 40 }), "BARECELL_TIMEOUT"),
      );
      const { boundsUs, counts } = after.callLatency;
      expect(counts.length).toBe(boundsUs.length + 1);
      expect(boundsUs).toEqual(boundsUs.map((_, i) => 2 ** i));
      const place = counts.findIndex((count, i) => count !== before.callLatency.counts[i]);
      const us = after.callLatency.sumUs - before.callLatency.sumUs;
      expect(us).toBeGreaterThan(40_000);
      expect(boundsUs[place] ?? Number.POSITIVE_INFINITY).toBeGreaterThanOrEqual(us);
      expect(boundsUs[place - 1]).toBeLessThan(us);
      expect(after.kills.BARECELL_TIMEOUT).toBe((before.kills.BARECELL_TIMEOUT ?? 0) + 1);
    });
  });

  it("know host calls by name, also of VMs that are gone, and while one runs", async () => {
    const { before, after } = await changes(async () => {
      const vm = await MicroVM.boot(guest, boot);
      const start = metrics().hostCalls[YIELD] ?? 0;
      const running = failure(() => vm.call("yield_forever", { timeoutMs: 10_000 }), "BARECELL_DISPOSED");
      while ((metrics().hostCalls[YIELD] ?? 0) < start + 10) await new Promise((next) => setImmediate(next));
      vm.dispose();
      await running;
      const other = MicroVM.bootSync(guest, boot);
      other.callSync("host", 1, 1n, 1);
      other.callSync("grow", 3);
      other.dispose();
      other.dispose();
    });
    expect(after.hostCalls[YIELD]).toBeGreaterThanOrEqual((before.hostCalls[YIELD] ?? 0) + 10);
    expect(after.hostCalls["env.host"]).toBe((before.hostCalls["env.host"] ?? 0) + 1);
    expect(after.growthRefusals).toBe(before.growthRefusals + 1);
  });

  it("have no name of a tenant's choice", async () => {
    const image = await imageOf(
      "tenant",
      `(module (import "tenant" "name" (func $f)) (func (export "f") (call $f)))`,
    );
    const { before, after } = await changes(() =>
      withVm(image, { unknownImports: "default" }, (vm) => vm.callSync("f")),
    );
    expect(after.hostCalls["(unknown imports)"]).toBe((before.hostCalls["(unknown imports)"] ?? 0) + 1);
    expect(Object.keys(after.hostCalls).join()).not.toContain("tenant");
  });
});

describe("stats()", () => {
  it("say what a VM did", async () => {
    await withVm(guest, { ...boot, usage: true }, async (vm) => {
      vm.callSync("yield", 5);
      await vm.call("host", 1, 1n, 1);
      vm.callSync("grow", 1);
      vm.callSync("grow", 2);
      const stats = vm.stats();
      expect(stats).toMatchObject({ calls: 4, linearBytes: 2 * 65536, growthRefusals: 1, resets: 0 });
      expect(stats.hostCalls).toEqual({ [YIELD]: 5, "env.host": 1 });
      expect(stats.exits.io).toBeGreaterThanOrEqual(5 + 1 + 2 + 4);
      expect(stats.wallUs).toBeGreaterThan(0);
      expect(stats.cpu?.minorFaults).toBeGreaterThan(0);
      if (Object.keys(stats.kvm).length > 0) {
        expect(stats.kvm["exits"]).toBeGreaterThan(0);
        expect(stats.kvm["io_exits"]).toBeGreaterThanOrEqual(0);
      }
    });
  });

  it("have the CPU time of what computed", async () => {
    await withVm(guest, { ...boot, usage: true }, async (vm) => {
      await failure(() => vm.call("loop", { timeoutMs: 10_000, cpuTimeMs: 60 }), "BARECELL_TIMEOUT");
      const { cpu } = vm.stats();
      expect((cpu?.userUs ?? 0) + (cpu?.systemUs ?? 0)).toBeGreaterThanOrEqual(50_000);
    });
    await withVm(guest, boot, (vm) => expect(vm.stats().cpu).toBe(undefined));
  });

  it("are for VMs that are there and do not run", async () => {
    const vm = await MicroVM.boot(guest, boot);
    const running = failure(() => vm.call("loop"), "BARECELL_DISPOSED");
    await failure(() => vm.stats(), "BARECELL_BUSY");
    vm.dispose();
    await running;
    await failure(() => vm.stats(), "BARECELL_DISPOSED");
    await failure(() => MicroVM.boot(guest, { usage: 1 as never }), "BARECELL_ARGUMENT_INVALID");
  });
});
