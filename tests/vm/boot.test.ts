/** The two ways to boot: staged from real mode, and directly in ring 3. Both must come to the same. */
import { describe, expect, it } from "vitest";
import { MicroVM } from "../support/barecell.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { assemble, RawHost } from "../support/raw-code.ts";

const image = await imageOf(
  "boot",
  `(module (memory (export "memory") 2) (data (i32.const 10) "data")
    (global $started (mut i32) (i32.const 0))
    (table 4 funcref) (elem (i32.const 1) $seven)
    (func $seven (result i32) (i32.const 7))
    (func $start (global.set $started (i32.const 41)) (i64.store (i32.const 65536) (i64.const -2)))
    (func (export "sum") (param f64) (result f64)
      (f64.add (f64.sqrt (local.get 0)) (f64.convert_i32_s (i32.add (global.get $started) (call_indirect (result i32) (i32.const 1))))))
    (start $start))`,
);

describe.each(["staged", "direct"] as const)("boot: %s", (boot) => {
  it("gives the same results and memory", () =>
    withVm(image, { boot }, async (vm) => {
      expect(vm.state).toBe("ready");
      expect(await vm.call("sum", 2)).toBe(Math.sqrt(2) + 48);
      expect(vm.callSync("sum", 4)).toBe(50);
      expect(Buffer.from(vm.memory.read(10, 4)).toString()).toBe("data");
      expect(vm.memory.read(65_536, 8)).toEqual(Uint8Array.of(254, 255, 255, 255, 255, 255, 255, 255));
      const other = MicroVM.bootSync(image, { boot });
      // Not by toEqual, which takes its time over each of so many bytes.
      expect(Buffer.compare(other.memory.read(0, 2 * 65_536), vm.memory.read(0, 2 * 65_536))).toBe(0);
      other.dispose();
    }));
  it("has a timeline of consecutive steps", () =>
    withVm(image, { boot }, (vm) => {
      const { steps, totalUs } = vm.timeline;
      expect(totalUs).toBeGreaterThan(0);
      let at = 0;
      for (const step of steps) {
        expect(step.durationUs, step.name).toBeGreaterThanOrEqual(0);
        expect(step.startUs, step.name).toBeCloseTo(at, 3);
        at = step.startUs + step.durationUs;
      }
      const names = steps.map((step) => step.name);
      for (const name of ["create VM", "memory and its slots", "create vCPU", "module's own start"])
        expect(names).toContain(name);
      expect(names.includes("real mode to protected mode")).toBe(boot === "staged");
    }));
  it("counts exits", () =>
    withVm(image, { boot }, async (vm) => {
      const { io } = vm.exits;
      expect(io).toBeGreaterThanOrEqual(1);
      await vm.call("sum", 1);
      expect(vm.exits.io).toBe(io + 1);
      expect(vm.exits.mmio).toBe(0);
    }));
});

/** Stores what ring 3 can see of the processor at address 0 and up. Registers that carry arguments are the compiler's business. */
const DUMP = `
  mov %rsp, 0x00
  pushfq
  popq 0x08
  xor %eax, %eax
  mov %cs, %eax
  mov %rax, 0x10
  mov %ss, %eax
  mov %rax, 0x18
  mov %ds, %eax
  mov %rax, 0x20
  mov %es, %eax
  mov %rax, 0x28
  mov %fs, %eax
  mov %rax, 0x30
  mov %gs, %eax
  mov %rax, 0x38
  movl $0, 0x40
  stmxcsr 0x40
  movl $0, 0x44
  fnstcw 0x44
  fnstsw 0x46
  fnstenv 0x100
  lar 0x10, %eax
  mov $1, %eax
  ret`;

describe("the state of the processor in ring 3", async () => {
  const raw = await RawHost.create();
  const dump = raw.withCode(assemble(new Map([["dump", DUMP]])).get("dump") as Uint8Array);
  const look = (boot: "staged" | "direct", calls: number): Promise<string> =>
    withVm(dump, { boot, wasi: {}, unknownImports: "trap" }, async (vm) => {
      for (let i = 0; i < calls; i++) expect(await vm.call("victim")).toBe(1n);
      // Up to the x87 environment's tag word: behind it are pointers to the last instruction.
      return Buffer.from([...vm.memory.read(0, 0x48), ...vm.memory.read(0x100, 12)]).toString("hex");
    });
  it("is the same however the VM was booted, and in each call", async () => {
    const staged = await look("staged", 1);
    expect(await look("direct", 1)).toBe(staged);
    expect(await look("staged", 3)).toBe(staged);
    expect(await look("direct", 3)).toBe(staged);
  });
  it("is what it should be", async () => {
    const state = Buffer.from(await look("direct", 1), "hex");
    // Only the fixed bit and what arithmetic sets: no TF, IF, DF, NT, AC; IOPL 0. PVM shows IF as the host has it.
    expect(state.readUInt32LE(8) & ~0x8d5 & ~0x200).toBe(2);
    expect(state.readUInt16LE(0x10) & 3, "CPL").toBe(3);
    expect(state.readUInt16LE(0x18) & 3).toBe(3);
    expect(state.readUInt32LE(0x40) & ~0x3f, "MXCSR").toBe(0x1f80);
    expect(state.readUInt16LE(0x44), "x87 control").toBe(0x37f);
    expect(state.readUInt16LE(0x46), "x87 status").toBe(0);
  });
});

describe("many at once", () => {
  it("50 VMs of one image, staged and direct, by promises", async () => {
    const vms = await Promise.all(
      Array.from({ length: 50 }, (_, i) => MicroVM.boot(image, { boot: i % 2 ? "direct" : "staged" })),
    );
    const results = await Promise.all(vms.map((vm, i) => vm.call("sum", i * i)));
    expect(results).toEqual(vms.map((_, i) => 48 + i));
    await Promise.all(vms.map((vm) => vm[Symbol.asyncDispose]()));
  });
  it("synchronous and asynchronous calls of several VMs in turn", async () => {
    const vms = Array.from({ length: 4 }, () => MicroVM.bootSync(image));
    for (let i = 0; i < 100; i++) {
      const vm = vms[i % 4] as MicroVM;
      expect(i % 3 ? vm.callSync("sum", i * i) : await vm.call("sum", i * i)).toBe(48 + i);
    }
    for (const vm of vms) vm.dispose();
  });
});
