/** Counts of VMs that share a buffer: each has its own, whichever of them comes and goes. */
import { describe, expect, it } from "vitest";
import { MicroVM, metrics } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { imageOf } from "../support/modules.ts";

const image = await imageOf(
  "counters",
  `(module (import "env" "tick" (func $tick)) (import "env" "tock" (func $tock)) (memory 1)
    (func (export "tick") (param i32)
      (loop $more (if (local.get 0) (then
        (call $tick) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br $more)))))
    (func (export "refuse") (drop (memory.grow (i32.const 10000)))))`,
);
const imports = { env: { tick: () => {}, tock: () => {} } };
const boot = (): MicroVM => MicroVM.bootSync(image, { imports, maxMemoryBytes: 2 * 65_536 });
const ticks = (vm: MicroVM): number => vm.stats().hostCalls["env.tick"] ?? 0;
const allTicks = (): number => metrics().hostCalls["env.tick"] ?? 0;

describe("counts", () => {
  it("are each VM's own, in more VMs than share a buffer", () => {
    const before = metrics();
    // 64 share one.
    const vms = Array.from({ length: slowness > 1 ? 70 : 140 }, boot);
    vms.forEach((vm, i) => {
      vm.callSync("tick", i % 7);
      if (i % 3 === 0) vm.callSync("refuse");
    });
    const expected = (i: number) => ({ ticks: i % 7, refusals: i % 3 === 0 ? 1 : 0 });
    const check = (vm: MicroVM, i: number): void => {
      if (vm.state === "disposed") return;
      expect({ ticks: ticks(vm), refusals: vm.stats().growthRefusals }).toEqual(expected(i));
    };
    vms.forEach(check);
    vms
      .filter((_, i) => i % 2 === 0)
      .forEach((vm) => {
        vm.dispose();
      });
    const later = Array.from({ length: 10 }, boot);
    for (const vm of later) expect(ticks(vm)).toBe(0);
    for (const vm of later) vm.callSync("tick", 2);
    vms.forEach(check);
    const sum = vms.reduce((all, _, i) => all + expected(i).ticks, 0) + 20;
    expect(allTicks() - (before.hostCalls["env.tick"] ?? 0)).toBe(sum);
    for (const vm of [...vms, ...later]) vm.dispose();
    expect(allTicks() - (before.hostCalls["env.tick"] ?? 0)).toBe(sum);
    expect(metrics().growthRefusals - before.growthRefusals).toBe(Math.ceil(vms.length / 3));
  });

  it("have room for more imports than a buffer that is shared", async () => {
    const count = 700;
    const declared = Array.from({ length: count }, (_, i) => `(import "env" "f${i}" (func $f${i}))`);
    const called = [0, 511, 512, 699, 699];
    const text = `(module ${declared.join("")} (func (export "run") ${called.map((i) => `(call $f${i})`).join("")}))`;
    const functions = Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, () => {}]));
    const vm = MicroVM.bootSync(await imageOf("many imports", text), { imports: { env: functions } });
    try {
      vm.callSync("run");
      expect(vm.stats().hostCalls).toEqual({ "env.f0": 1, "env.f511": 1, "env.f512": 1, "env.f699": 2 });
    } finally {
      vm.dispose();
    }
  });
});
