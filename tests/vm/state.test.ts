/** States of a VM, and what each method does in them. */
import { describe, expect, it } from "vitest";
import { type BootOptions, type Image, MicroVM } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const image = await imageOf(
  "state",
  `(module (memory (export "memory") 1) (global $n (export "n") (mut i32) (i32.const 0))
    (func (export "count") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
    (func (export "trap") (global.set $n (i32.add (global.get $n) (i32.const 100))) unreachable)
    (func (export "loop") (loop $l (br $l))))`,
);

describe("one call at a time", () => {
  it("a second call is BARECELL_BUSY, and harms neither", () =>
    withVm(image, { timeoutMs: 500 }, async (vm) => {
      const running = vm.call("loop");
      expect(vm.state).toBe("running");
      await failure(() => vm.call("count"), "BARECELL_BUSY");
      await failure(() => vm.callSync("count"), "BARECELL_BUSY");
      await failure(() => vm.timeline, "BARECELL_BUSY");
      await failure(() => vm.exits, "BARECELL_BUSY");
      await failure(() => vm.stdout(), "BARECELL_BUSY");
      await failure(() => vm.call("nothing"), "BARECELL_EXPORT_NOT_FOUND");
      expect(vm.memory.byteLength).toBe(65_536);
      await failure(() => running, "BARECELL_TIMEOUT");
    }));
  it("calls without waiting: the first runs, the others are refused", () =>
    withVm(image, {}, async (vm) => {
      const results = await Promise.allSettled(Array.from({ length: 20 }, () => vm.call("count")));
      expect(results[0]).toEqual({ status: "fulfilled", value: 1 });
      const codes = results.slice(1).map((result) => result.status === "rejected" && result.reason.code);
      expect(codes).toEqual(Array.from({ length: 19 }, () => "BARECELL_BUSY"));
      expect(await vm.call("count")).toBe(2);
    }));
});

describe("after a trap", () => {
  it("a VM is poisoned: only reading and dispose are left", () =>
    withVm(image, {}, async (vm) => {
      await failure(() => vm.call("trap"), "BARECELL_TRAP_UNREACHABLE");
      expect(vm.state).toBe("poisoned");
      const error = await failure(() => vm.call("count"), "BARECELL_POISONED");
      expect(error.backtrace).toEqual([]);
      await failure(() => vm.callSync("count"), "BARECELL_POISONED");
      // What a post-mortem needs stays readable.
      expect(vm.memory.read(0, 1)).toEqual(new Uint8Array(1));
      expect(vm.exits.io).toBeGreaterThan(0);
      expect(vm.timeline.totalUs).toBeGreaterThan(0);
    }));
  it('afterTrap "keep": memory and globals stay as the trap left them, as WebAssembly has it', () =>
    withVm(image, { afterTrap: "keep" }, async (vm) => {
      expect(await vm.call("count")).toBe(1);
      await failure(() => vm.call("trap"), "BARECELL_TRAP_UNREACHABLE");
      expect(vm.state).toBe("ready");
      expect(await vm.call("count")).toBe(102);
      await failure(() => vm.callSync("trap"), "BARECELL_TRAP_UNREACHABLE");
      expect(vm.callSync("count")).toBe(203);
    }));
  it('afterTrap "keep" does not keep a VM that was killed', () =>
    withVm(image, { afterTrap: "keep", timeoutMs: 50 }, async (vm) => {
      await failure(() => vm.call("loop"), "BARECELL_TIMEOUT");
      expect(vm.state).toBe("poisoned");
      await failure(() => vm.call("count"), "BARECELL_POISONED");
    }));
});

describe("dispose", () => {
  it("is idempotent, and everything afterwards is BARECELL_DISPOSED", async () => {
    const vm = await MicroVM.boot(image);
    vm.dispose();
    vm.dispose();
    await vm[Symbol.asyncDispose]();
    vm[Symbol.dispose]();
    expect(vm.state).toBe("disposed");
    await failure(() => vm.call("count"), "BARECELL_DISPOSED");
    await failure(() => vm.callSync("count"), "BARECELL_DISPOSED");
    await failure(() => vm.memory.byteLength, "BARECELL_DISPOSED");
    await failure(() => vm.memory.read(0, 1), "BARECELL_DISPOSED");
    await failure(() => vm.memory.write(0, new Uint8Array(1)), "BARECELL_DISPOSED");
    await failure(() => vm.timeline, "BARECELL_DISPOSED");
    await failure(() => vm.exits, "BARECELL_DISPOSED");
    await failure(() => vm.stdout(), "BARECELL_DISPOSED");
    await failure(() => vm.stderr(), "BARECELL_DISPOSED");
  });
  it("works on a poisoned VM", async () => {
    const vm = await MicroVM.boot(image);
    await failure(() => vm.call("trap"), "BARECELL_TRAP_UNREACHABLE");
    vm.dispose();
    expect(vm.state).toBe("disposed");
  });
  it("during a call: the call rejects, the VM is released", async () => {
    const vm = await MicroVM.boot(image, { timeoutMs: Number.POSITIVE_INFINITY });
    const running = vm.call("loop");
    await new Promise((resolve) => setTimeout(resolve, 20));
    vm.dispose();
    vm.dispose();
    expect(vm.state).toBe("disposed");
    await soon(
      "the disposed call",
      failure(() => running, "BARECELL_DISPOSED"),
    );
    await soon("the release", vm[Symbol.asyncDispose]());
    await failure(() => vm.call("count"), "BARECELL_DISPOSED");
  });
  it("in the same turn as the call, before the vCPU ran", async () => {
    for (let i = 0; i < 50; i++) {
      const vm = await MicroVM.boot(image, { timeoutMs: Number.POSITIVE_INFINITY });
      const running = vm.call("loop");
      vm.dispose();
      await soon(
        "the disposed call",
        failure(() => running, "BARECELL_DISPOSED"),
      );
    }
  });
  it("of a call that comes to its end by itself", async () => {
    for (let i = 0; i < 50; i++) {
      const vm = await MicroVM.boot(image);
      const running = vm.call("count");
      if (i % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      vm.dispose();
      const result = await Promise.allSettled([soon("the call", running)]);
      // It ended first, or the disposal was first; nothing else.
      if (result[0]?.status === "rejected") expect(result[0].reason.code).toBe("BARECELL_DISPOSED");
      else expect(result[0]?.value).toBe(1);
    }
  });
  it("by `using` and `await using`", async () => {
    let sync: MicroVM;
    let async: MicroVM;
    {
      const stack = new DisposableBlock();
      sync = stack.use(await MicroVM.boot(image));
      async = await MicroVM.boot(image);
      expect(await sync.call("count")).toBe(1);
      stack.end();
      await async[Symbol.asyncDispose]();
    }
    expect(sync.state).toBe("disposed");
    expect(async.state).toBe("disposed");
  });
});

/** What `using` does; written out, because the oldest Node we support does not parse the keyword. */
class DisposableBlock {
  readonly #resources: Disposable[] = [];
  use<T extends Disposable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }
  end(): void {
    for (const resource of this.#resources.reverse()) resource[Symbol.dispose]();
  }
}

describe("boot options", () => {
  it.each([
    [null],
    [{ boot: "warm" }],
    [{ boot: 1 }],
    [{ maxMemoryBytes: -1 }],
    [{ maxMemoryBytes: 1.5 }],
    [{ maxMemoryBytes: 100 * 2 ** 32 + 1 }],
    [{ maxMemoryBytes: "1" }],
    [{ timeoutMs: 0 }],
    [{ timeoutMs: -1 }],
    [{ timeoutMs: Number.NaN }],
    [{ timeoutMs: "1" }],
    [{ unknownImports: "allow" }],
    [{ afterTrap: "ignore" }],
    [{ maxOutputBytes: -1 }],
    [{ wasi: null }],
    [{ wasi: { args: "a" } }],
    [{ wasi: { args: [1] } }],
    [{ wasi: { args: ["a\0b"] } }],
    [{ wasi: { env: { "A=B": "c" } } }],
    [{ wasi: { env: { A: 1 } } }],
    [{ wasi: { env: { A: "x\0" } } }],
    [{ wasi: { stdin: 5 } }],
    [{ wasi: { stdout: "file" } }],
    [{ wasi: { stderr: { fd: -1 } } }],
    [{ wasi: { stdout: { fd: "1" } } }],
  ])("refused: %j", async (options) => {
    const wrong = options as unknown as BootOptions;
    await failure(() => MicroVM.boot(image, wrong), "BARECELL_ARGUMENT_INVALID");
    await failure(() => MicroVM.bootSync(image, wrong), "BARECELL_ARGUMENT_INVALID");
  });
  it.each([undefined, null, {}, new Uint8Array(4), "image.cell"])(
    "what is no image is refused (%#)",
    async (wrong) => {
      await failure(() => MicroVM.boot(wrong as unknown as Image), "BARECELL_ARGUMENT_INVALID");
    },
  );
  it("a memory limit below the module's initial memory is refused by name and size", async () => {
    const error = await failure(
      () => MicroVM.boot(image, { maxMemoryBytes: 65_535 }),
      "BARECELL_MEMORY_LIMIT",
    );
    expect(error.message).toContain("65536");
  });
});
