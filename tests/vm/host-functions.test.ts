/** Functions of the host's in TypeScript: values both ways, synchronous and asynchronous, failures, calls back into the guest. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  type BarecellError,
  defineStruct,
  type ErrorCode,
  FunctionReference,
  type HostContext,
  type HostImports,
  MicroVM,
} from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const values = await imageOf(
  "host-values",
  `(module
    (import "env" "mix" (func $mix (param i32 i64 f32 f64) (result f64 f32 i64 i32)))
    (import "env" "one" (func $one (param i32) (result i32)))
    (import "env" "none" (func $none))
    (func (export "mix") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
      (call $mix (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
    (func (export "one") (param i32) (result i32) (i32.add (call $one (local.get 0)) (i32.const 1000)))
    (func (export "none") (call $none)))`,
);

const none = { mix: () => [0, 0, 0n, 0], one: () => 0, none: () => {} };

describe("values", () => {
  for (const mode of ["sync", "async"] as const) {
    const call = async (vm: MicroVM, name: string, ...args: unknown[]): Promise<unknown> =>
      mode === "sync" ? vm.callSync(name, ...args) : vm.call(name, ...args);

    it(`go both ways, ${mode}`, async () => {
      const seen: unknown[] = [];
      const imports: HostImports = {
        env: {
          ...none,
          mix(_context, a: number, b: bigint, c: number, d: number) {
            seen.push([a, b, c, d]);
            return [d, c, b, a];
          },
        },
      };
      await withVm(values, { imports }, async (vm) => {
        expect(await call(vm, "mix", -5, -(2n ** 63n), 1.5, Number.NaN)).toEqual([
          Number.NaN,
          1.5,
          -(2n ** 63n),
          -5,
        ]);
        expect(seen).toEqual([[-5, -(2n ** 63n), 1.5, Number.NaN]]);
      });
    });

    it(`many calls in a row, ${mode}`, async () => {
      let count = 0;
      const imports = { env: { ...none, one: (_: HostContext, value: number) => value + count++ } };
      await withVm(values, { imports }, async (vm) => {
        for (let i = 0; i < 200; i++) expect(await call(vm, "one", i)).toBe(1000 + 2 * i);
      });
    });
  }

  it("a promise's value goes back to the guest, and the event loop turns meanwhile", async () => {
    let turns = 0;
    const imports = {
      env: {
        ...none,
        async one(_: HostContext, value: number) {
          const timer = setInterval(() => turns++, 1);
          await sleep(30);
          clearInterval(timer);
          return value * 2;
        },
      },
    };
    await withVm(values, { imports }, async (vm) => {
      expect(await vm.call("one", 21)).toBe(1042);
      expect(turns).toBeGreaterThan(2);
    });
  });
});

const caller = await imageOf(
  "host-caller",
  `(module
    (import "env" "again" (func $again (param i32) (result i32)))
    (memory (export "memory") 1)
    (global $depth (mut i32) (i32.const 0))
    (func (export "down") (param i32) (result i32) (local f64 f64)
      (local.set 1 (f64.convert_i32_s (local.get 0)))
      (local.set 2 (f64.mul (local.get 1) (f64.const 3)))
      (i32.add (call $again (local.get 0)) (i32.trunc_f64_s (f64.add (local.get 1) (local.get 2)))))
    (func (export "leaf") (param i32) (result i32) (local f64)
      (local.set 1 (f64.div (f64.const 1) (f64.convert_i32_s (local.get 0))))
      (i32.store (i32.const 0) (local.get 0)) (i32.add (local.get 0) (i32.const 1)))
    (func (export "trap") (result i32) unreachable)
    (func (export "spin") (loop $l (br $l))))`,
);

describe("calls back into the guest", () => {
  it("synchronously, several levels deep", async () => {
    let depth = 0;
    const imports = {
      env: {
        again(context: HostContext, n: number) {
          depth++;
          return n === 0 ? context.callSync("leaf", 99) : context.callSync("down", n - 1);
        },
      },
    };
    await withVm(caller, { imports }, async (vm) => {
      // 100 from the leaf, and 4n on each level
      expect(vm.callSync("down", 5)).toBe(100 + 4 * (5 + 4 + 3 + 2 + 1));
      expect(depth).toBe(6);
      expect(await vm.call("down", 5)).toBe(160);
      expect(vm.memory.read(0, 4)).toEqual(new Uint8Array([99, 0, 0, 0]));
      expect(vm.state).toBe("ready");
    });
  });

  it("asynchronously, several levels deep, and both ways mixed", async () => {
    const imports = {
      env: {
        async again(context: HostContext, n: number) {
          await sleep(1);
          if (n === 0) return context.call("leaf", 99);
          await context.call("leaf", n);
          return context.call("down", n - 1);
        },
      },
    };
    await withVm(caller, { imports }, async (vm) => {
      expect(await vm.call("down", 5)).toBe(160);
    });
    const mixed = {
      env: {
        async again(context: HostContext, n: number) {
          await sleep(1);
          const leaf = context.callSync("leaf", n);
          return (leaf as number) + ((await context.call("leaf", n)) as number);
        },
      },
    };
    await withVm(caller, { imports: mixed }, async (vm) => {
      expect(await vm.call("down", 7)).toBe(8 + 8 + 28);
    });
  });

  it("to a depth only", async () => {
    const codes: string[] = [];
    const imports = {
      env: {
        again(context: HostContext, n: number): unknown {
          try {
            return context.callSync("down", n + 1);
          } catch (error) {
            codes.push((error as BarecellError).code);
            throw error;
          }
        },
      },
    };
    await withVm(caller, { imports, maxCallDepth: 3 }, async (vm) => {
      const error = await failure(() => vm.callSync("down", 0), "BARECELL_HOST_FUNCTION_FAILED");
      expect(codes[0]).toBe("BARECELL_CALL_DEPTH");
      expect(codes).toHaveLength(4);
      expect(error.backtrace[0]?.name).toContain("again");
      expect(vm.state).toBe("poisoned");
    });
  });
});

describe("failures", () => {
  const boot = (again: HostImports[string][string], options = {}) =>
    MicroVM.bootSync(caller, { imports: { env: { again } }, ...options });

  for (const mode of ["sync", "async"] as const) {
    const down = async (vm: MicroVM, n: number): Promise<unknown> =>
      mode === "sync" ? vm.callSync("down", n) : vm.call("down", n);

    it(`what is thrown is the cause, with the guest's backtrace, ${mode}`, async () => {
      const thrown = new TypeError("no such row");
      const vm = boot(() => {
        throw thrown;
      });
      const error = await failure(() => down(vm, 1), "BARECELL_HOST_FUNCTION_FAILED");
      expect(error.cause).toBe(thrown);
      expect(error.message).toContain("'env.again'");
      expect(error.message).toContain("no such row");
      expect(error.backtrace.map(({ name }) => name)).toEqual(["env.again", "down"]);
      await failure(() => down(vm, 1), "BARECELL_POISONED");
      vm.dispose();
    });

    for (const thrown of [
      undefined,
      null,
      0,
      "text",
      Symbol("s"),
      {
        toString: () => {
          throw new Error("again");
        },
      },
    ]) {
      it(`anything can be thrown: ${typeof thrown}, ${mode}`, async () => {
        const vm = boot(() => {
          throw thrown;
        });
        const error = await failure(() => down(vm, 1), "BARECELL_HOST_FUNCTION_FAILED");
        expect(error.cause).toBe(thrown);
        vm.dispose();
      });
    }

    for (const result of [undefined, null, "5", 5n, 1.5, 2 ** 32, [1], {}, true]) {
      it(`a result of the wrong type: ${JSON.stringify(typeof result === "bigint" ? "5n" : result)}, ${mode}`, async () => {
        const vm = boot(() => result);
        const error = await failure(() => down(vm, 1), "BARECELL_HOST_FUNCTION_FAILED");
        expect((error.cause as BarecellError).code).toBe("BARECELL_ARGUMENT_INVALID");
        vm.dispose();
      });
    }

    it(`a trap in a call back into the guest is the function's error, and ends the guest even if it is caught, ${mode}`, async () => {
      let code: unknown;
      const vm = boot((context: HostContext) => {
        try {
          context.callSync("trap");
        } catch (error) {
          code = (error as BarecellError).code;
        }
        return 1;
      });
      const error = await failure(() => down(vm, 1), "BARECELL_HOST_FUNCTION_FAILED");
      expect(code).toBe("BARECELL_TRAP_UNREACHABLE");
      expect((error.cause as BarecellError).code).toBe("BARECELL_TRAP_UNREACHABLE");
      expect((error.cause as BarecellError).backtrace[0]?.name).toBe("trap");
      expect(vm.state).toBe("poisoned");
      vm.dispose();
    });

    it(`with afterTrap "keep" the guest goes on, as WebAssembly does, ${mode}`, async () => {
      const vm = boot(
        (context: HostContext) => {
          try {
            context.callSync("trap");
          } catch {
            return 1;
          }
          return 0;
        },
        { afterTrap: "keep" },
      );
      expect(await down(vm, 10)).toBe(41);
      expect(await down(vm, 20)).toBe(81);
      vm.dispose();
    });

    it(`the VM itself is busy meanwhile, ${mode}`, async () => {
      const codes: unknown[] = [];
      const vm: MicroVM = boot(() => {
        for (const use of [
          () => vm.callSync("leaf", 1),
          () => vm.stdout(),
          () => vm.exits,
          () => vm.timeline,
        ]) {
          try {
            use();
            codes.push("none");
          } catch (error) {
            codes.push((error as BarecellError).code);
          }
        }
        return 5;
      });
      expect(await down(vm, 0)).toBe(5);
      expect(codes).toEqual(Array(4).fill("BARECELL_BUSY"));
      vm.dispose();
    });

    it(`a function may dispose the VM that called it, ${mode}`, async () => {
      const vm: MicroVM = boot((context: HostContext) => {
        vm.dispose();
        expect(vm.state).toBe("disposed");
        expect(() => context.callSync("leaf", 1)).toThrow();
        return 5;
      });
      await failure(() => down(vm, 0), "BARECELL_DISPOSED");
      vm.dispose();
      await vm[Symbol.asyncDispose]();
    });

    it(`a context is of no use afterwards, ${mode}`, async () => {
      let kept: HostContext | undefined;
      const vm = boot((context: HostContext) => {
        kept = context;
        expect(context.signal.aborted).toBe(false);
        return 5;
      });
      await down(vm, 0);
      for (const use of [
        (c: HostContext) => c.memory.byteLength,
        (c: HostContext) => c.memory.read(0, 1),
        (c: HostContext) => c.memory.write(0, new Uint8Array(1)),
        (c: HostContext) => c.callSync("leaf", 1),
        (c: HostContext) => c.call("leaf", 1),
      ]) {
        await failure(async () => use(kept as HostContext), "BARECELL_CONTEXT_STALE");
      }
      expect(vm.state).toBe("ready");
      vm.dispose();
    });
  }

  it("a promise in a synchronous call has a code of its own, and what it comes to is nobody's", async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", listen);
    const vm = boot(async () => {
      await sleep(1);
      throw new Error("late");
    });
    await failure(() => vm.callSync("down", 1), "BARECELL_HOST_FUNCTION_ASYNC");
    await sleep(20);
    process.off("unhandledRejection", listen);
    expect(unhandled).toEqual([]);
    vm.dispose();
  });

  it("context.call in a synchronous call has that code too", async () => {
    let inner: Promise<unknown> | undefined;
    const vm = boot((context: HostContext) => {
      inner = context.call("leaf", 1);
      inner.catch(() => {});
      return 1;
    });
    expect(vm.callSync("down", 0)).toBe(1);
    await failure(() => inner, "BARECELL_HOST_FUNCTION_ASYNC");
    vm.dispose();
  });

  it("one call back at a time, and none that outlives its function", async () => {
    const codes: unknown[] = [];
    let forgotten: Promise<unknown> | undefined;
    const vm = boot(async (context: HostContext, n: number) => {
      forgotten = context.call("leaf", 50);
      for (const second of [() => context.call("leaf", 1), async () => context.callSync("leaf", 1)]) {
        codes.push(await second().then(String, (error: BarecellError) => error.code));
      }
      return n;
    });
    expect(await vm.call("down", 3)).toBe(15);
    expect(codes).toEqual(["BARECELL_BUSY", "BARECELL_BUSY"]);
    expect(await forgotten).toBe(51);
    vm.dispose();
  });
});

describe("memory of the context", () => {
  it("takes pointers as they came, checks ranges, knows text and structures", async () => {
    const point = defineStruct({ tag: "u8", x: "i32", y: "f64", name: { bytes: 4 } });
    expect(point.sizeBytes).toBe(24);
    const seen: unknown[] = [];
    const vm = MicroVM.bootSync(caller, {
      imports: {
        env: {
          again({ memory }: HostContext) {
            memory.writeString(100, "grüß dich\0", 20);
            seen.push(memory.readCString(100, 50), memory.readString(100, 6));
            memory.writeStruct(200, point, { tag: 7, x: -5, y: 2.5, name: new Uint8Array([1, 2, 3, 4]) });
            memory.writeStruct(200, point, { x: 6 });
            seen.push(memory.readStruct(200, point));
            const codes = [
              () => memory.read(-1, 1),
              () => memory.read(0, -1),
              () => memory.read(65535, 2),
              () => memory.write(65536, new Uint8Array(1)),
              () => memory.writeString(0, "long", 3),
              () => memory.readCString(65530, 100),
              () => memory.readStruct(65530, point),
              () => memory.writeStruct(0, point, { x: 1.5 }),
              () => memory.readString(0, 1, { fatal: true }),
            ].map((use) => {
              try {
                return use();
              } catch (error) {
                return (error as BarecellError).code;
              }
            });
            seen.push(codes);
            return 0;
          },
        },
      },
    });
    vm.memory.write(0, new Uint8Array([0xff]));
    vm.memory.write(65530, new Uint8Array(6).fill(65));
    vm.callSync("down", 0);
    vm.dispose();
    const range = "BARECELL_MEMORY_RANGE";
    const wrong = "BARECELL_ARGUMENT_INVALID";
    expect(seen).toEqual([
      "grüß dich",
      "grüß",
      { tag: 7, x: 6, y: 2.5, name: new Uint8Array([1, 2, 3, 4]) },
      [range, range, range, range, range, range, range, wrong, wrong],
    ]);
  });
});

describe("binding", () => {
  const refused = async (imports: unknown, code: ErrorCode, text: string): Promise<void> => {
    const error = await failure(() => MicroVM.bootSync(values, { imports: imports as HostImports }), code);
    expect(error.message).toContain(text);
  };
  const typed = (params: string[], results: string[]) => ({
    env: { ...none, one: { params, results, call: () => 1 } },
  });

  it("refuses what is no function, types that differ, and imports that are left over", async () => {
    await refused(null, "BARECELL_ARGUMENT_INVALID", "imports");
    await refused({ env: 5 }, "BARECELL_ARGUMENT_INVALID", "imports.env");
    await refused({ env: { ...none, one: 5 } }, "BARECELL_ARGUMENT_INVALID", "imports.env.one");
    await refused(typed(["i32"], ["int"]), "BARECELL_ARGUMENT_INVALID", "imports.env.one.results");
    await refused(typed(["i32"], ["i64"]), "BARECELL_IMPORT_DENIED", "env.one");
    await refused({ env: { mix: none.mix } }, "BARECELL_IMPORT_DENIED", "env.one, env.none");
  });

  it("takes functions with their types", () => {
    const vm = MicroVM.bootSync(values, { imports: typed(["i32"], ["i32"]) as HostImports });
    expect(vm.callSync("one", 5)).toBe(1001);
    vm.dispose();
  });
});

describe("references", () => {
  it("cross both ways", async () => {
    const image = await imageOf(
      "host-references",
      `(module
        (import "env" "swap" (func $swap (param externref funcref) (result funcref externref)))
        (func $seven (result i32) (i32.const 7))
        (elem declare func $seven)
        (func (export "swap") (param externref) (result externref) (local externref)
          (call $swap (local.get 0) (ref.func $seven)) (local.set 1) (drop) (local.get 1)))`,
    );
    const seen: unknown[] = [];
    const other = { other: true };
    const imports = {
      env: {
        swap(_: HostContext, a: unknown, f: unknown) {
          seen.push(a, f instanceof FunctionReference);
          return [f, other];
        },
      },
    };
    await withVm(image, { imports }, (vm) => {
      const value = { some: "value" };
      expect(vm.callSync("swap", value)).toBe(other);
      expect(seen).toEqual([value, true]);
      expect(seen[0]).toBe(value);
    });
  });
});
