/**
 * Nothing stays behind a VM: no descriptor, no thread, no mapping, whatever way it ended. The addon itself keeps one spare VM for the process
 * from the second on, so counts are compared after some use.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { type BarecellError, compile, Image, MicroVM } from "../support/barecell.ts";
import { isSvm } from "../support/environment.ts";
import { imageOf, wat } from "../support/modules.ts";

const image = await imageOf(
  "leaks",
  `(module (import "env" "zero" (func $zero (result i32))) (memory (export "memory") 1)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "grow") (result i32) (memory.grow (i32.const 40)))
    (func (export "trap") unreachable)
    (func (export "recurse") (param i32) (result i32) (i32.add (i32.const 1) (call 4 (i32.add (local.get 0) (local.get 0)))))
    (func (export "loop") (loop $l (br $l))))`,
);

interface Resources {
  readonly descriptors: number;
  readonly threads: number;
  readonly mappings: number;
  readonly vms: number;
}

function resources(): Resources {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // the descriptor of the listing itself
    }
  });
  return {
    descriptors: links.length,
    threads: readdirSync("/proc/self/task").length,
    mappings: readFileSync("/proc/self/maps", "utf8").split("\n").length,
    vms: links.filter((link) => /kvm-(vm|vcpu)/.test(link)).length,
  };
}

async function round(i: number): Promise<void> {
  const boot = i % 2 ? "direct" : "staged";
  const options = { unknownImports: "default", boot, timeoutMs: i % 6 === 4 ? 2 : 10_000 } as const;
  let vm: MicroVM;
  try {
    vm = i % 3 ? await MicroVM.boot(image, options) : MicroVM.bootSync(image, options);
  } catch (error) {
    expect((error as BarecellError).code).toBe("BARECELL_TIMEOUT");
    return;
  }
  const name = ["add", "grow", "trap", "recurse", "loop", "add"][i % 6] as string;
  const args = { add: [1, 2], recurse: [1] }[name] ?? [];
  const running = Promise.resolve(vm.call(name, ...args)).catch((error: BarecellError) => error.code);
  if (i % 7 === 3) vm.dispose();
  await running;
  await vm[Symbol.asyncDispose]();
}

describe("leaks", () => {
  beforeAll(async () => {
    for (let i = 0; i < 42; i++) await round(i);
    expect(resources().vms).toBeLessThanOrEqual(2);
  });
  it("300 boots, calls and disposals with traps, kills and growth leave the counts as they were", async () => {
    const rounds = isSvm ? 60 : 300;
    const before = resources();
    for (let i = 0; i < rounds; i++) await round(i);
    const after = resources();
    expect(after.vms).toBe(before.vms);
    expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 2);
    expect(after.threads).toBeLessThanOrEqual(before.threads + 2);
    // V8's own heap comes and goes in mappings; a VM has a dozen, so a leak would show by thousands.
    expect(after.mappings).toBeLessThan(before.mappings + 150);
  });
  it("boots that are refused or fail leave nothing", async () => {
    const failing = await imageOf("failing", `(module (memory 1) (func $start unreachable) (start $start))`);
    const before = resources();
    for (let i = 0; i < 50; i++) {
      await expect(MicroVM.boot(failing)).rejects.toMatchObject({ code: "BARECELL_TRAP_UNREACHABLE" });
      expect(() => MicroVM.bootSync(failing)).toThrow();
      await expect(MicroVM.boot(image)).rejects.toMatchObject({ code: "BARECELL_IMPORT_DENIED" });
    }
    const after = resources();
    expect(after.vms).toBe(before.vms);
    expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 2);
    expect(after.mappings).toBeLessThan(before.mappings + 150);
  });
  it("many images: each holds one descriptor at most, until it is collected", async () => {
    const before = resources();
    for (let i = 0; i < 30; i++) {
      const vm = await MicroVM.boot(Image.fromBytes(image.bytes), { unknownImports: "default" });
      expect(await vm.call("add", i, i)).toBe(2 * i);
      vm.dispose();
    }
    const after = resources();
    expect(after.vms).toBe(before.vms);
    expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + 32);
  });
  it("compiling without a cache leaves no descriptor", async () => {
    const before = resources();
    await compile(wat("leak", `(module (func (export "f")))`), { cache: false });
    expect(resources().descriptors).toBeLessThanOrEqual(before.descriptors + 1);
  });
});
