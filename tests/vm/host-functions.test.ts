/** Functions of the host's in TypeScript: values both ways, synchronous and asynchronous, failures, calls back into the guest. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { BarecellError, HostContext, HostImports, MicroVM } from "../support/barecell.ts";
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
