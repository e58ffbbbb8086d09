/** Fuel as a limit: who may set it, what it ends, and what is left afterwards. What is counted: tests/metering. */
import { describe, expect, it } from "vitest";
import { compile, type HostImports, Image, MicroVM } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure, names } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { assemble, RawHost } from "../support/raw-code.ts";

const LOOPS: Record<string, string> = {
  empty: "(loop $l (br $l))",
  nested: "(loop $a (loop $b (loop $c (br $a))))",
  by_table: "(loop $a (loop $b (br_table $a $b (i32.const 1))))",
  storing: "(loop $l (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1))) (br $l))",
  host_calls: "(loop $l (drop (call $host)) (br $l))",
  growing: "(loop $l (drop (memory.grow (i32.const 0))) (br $l))",
  filling: "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l))",
  calling: "(loop $l (call $nothing) (br $l))",
  indirect: "(loop $l (call_indirect (i32.const 0)) (br $l))",
  recursing: "(call $recursing) (call $nothing)",
  mutual: "(call $mutual_too)",
};
const TEXT = `(module (import "env" "host" (func $host (result i32)))
  (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 0) $nothing) (func $nothing)
  (global $calls (export "calls") (mut i32) (i32.const 0))
  (func $mutual_too (call $mutual))
  (func (export "three") nop nop nop)
  (func (export "host_once") (global.set $calls (call $host)))
  ${Object.entries(LOOPS)
    .map(([name, body]) => `(func $${name} (export "${name}") ${body})`)
    .join("\n")})`;
const image = await imageOf("fuel", TEXT, { metering: true });
const unmetered = await imageOf("fuel", TEXT);
const OPTIONS = { unknownImports: "default" } as const;

describe("endless", () => {
  it.each(Object.keys(LOOPS))("%s ends when its fuel does", async (name) => {
    for (const boot of ["staged", "direct"] as const) {
      await withVm(image, { ...OPTIONS, boot, fuel: 20_000 }, async (vm) => {
        const error = await soon(
          "the call",
          failure(() => vm.call(name), "BARECELL_FUEL_EXHAUSTED"),
        );
        expect(error.kind).toBe("limit");
        expect(error.message).toContain(`'${name}'`);
        // A host call is not inside of the function that makes it.
        expect(names(error)).toContain(name);
        expect(vm.fuelUsed).toBe(20_000n);
        expect(vm.state).toBe("poisoned");
        await failure(() => vm.call("three"), "BARECELL_POISONED");
      });
      await withVm(image, { ...OPTIONS, boot, fuel: 20_000n }, (vm) =>
        failure(() => vm.callSync(name), "BARECELL_FUEL_EXHAUSTED"),
      );
    }
  });

  it("a start function ends the boot", async () => {
    const endless = await imageOf("start", "(module (func $start (loop (br 0))) (start $start))", {
      metering: true,
    });
    for (const boot of ["staged", "direct"] as const) {
      const error = await failure(
        () => MicroVM.boot(endless, { boot, fuel: 100 }),
        "BARECELL_FUEL_EXHAUSTED",
      );
      expect(error.message).toContain("starting the module");
      await failure(() => MicroVM.bootSync(endless, { boot, fuel: 100 }), "BARECELL_FUEL_EXHAUSTED");
    }
  });

  it("and the timeout still holds; what was used until then is known", () =>
    withVm(image, { ...OPTIONS, timeoutMs: 100 }, async (vm) => {
      await failure(() => vm.call("storing"), "BARECELL_TIMEOUT");
      expect(vm.fuelUsed).toBeGreaterThan(100_000n);
    }));
});

describe("a limit", () => {
  it("is of each call, not of all together", () =>
    withVm(image, { ...OPTIONS, fuel: 3 }, async (vm) => {
      for (let i = 0; i < 5; i++) {
        await vm.call("three");
        expect(vm.fuelUsed).toBe(3n);
        vm.callSync("three");
        expect(vm.fuelUsed).toBe(3n);
      }
    }));

  it("of a single call takes the place of the VM's", () =>
    withVm(image, { ...OPTIONS, fuel: 3 }, async (vm) => {
      await vm.call("host_once", { fuel: 2000n });
      expect(vm.fuelUsed).toBe(1002n);
      await vm.call("three");
      await failure(() => vm.callSync("three", { fuel: 2 }), "BARECELL_FUEL_EXHAUSTED");
      expect(vm.fuelUsed).toBe(2n);
    }));

  it("holds for a call and what host functions call in it", async () => {
    const reentrant = await imageOf(
      "reentrant",
      `(module (import "env" "back" (func $back (param i32)))
        (func (export "outer") (param i32) (call $back (local.get 0)) (if (local.get 0) (then nop nop)))
        (func (export "inner") (param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))`,
      { metering: true },
    );
    const imports: HostImports = {
      env: {
        back: (context, rounds) => {
          context.callSync("inner", rounds);
        },
      },
    };
    // local.get, call, the host call, local.get, if, nop, nop; and five for each round of the inner one.
    const cost = (rounds: number): bigint => 1006n + 5n * BigInt(rounds);
    await withVm(reentrant, { imports, fuel: cost(10), afterTrap: "keep" }, async (vm) => {
      for (const rounds of [1, 10]) {
        vm.callSync("outer", rounds);
        expect(vm.fuelUsed).toBe(cost(rounds));
      }
      // Enough for the inner one, but not for what comes after it.
      await failure(() => vm.callSync("outer", 10, { fuel: cost(10) - 1n }), "BARECELL_FUEL_EXHAUSTED");
      // What ends the inner one is for the host function to handle, and this one does not.
      const error = await failure(() => vm.callSync("outer", 1000), "BARECELL_HOST_FUNCTION_FAILED");
      expect(error.cause).toMatchObject({ code: "BARECELL_FUEL_EXHAUSTED" });
      expect(vm.fuelUsed).toBe(cost(10));
    });
  });

  it("keeps a host call from being made that cannot be paid for", () =>
    withVm(image, { ...OPTIONS, fuel: 1001 }, async (vm) => {
      const before = vm.exits.io;
      await failure(() => vm.call("host_once"), "BARECELL_FUEL_EXHAUSTED");
      // Only the trap's.
      expect(vm.exits.io - before).toBe(1);
    }));

  it("can be met again and again where a trap keeps the VM", () =>
    withVm(image, { ...OPTIONS, fuel: 50, afterTrap: "keep" }, async (vm) => {
      for (let i = 0; i < 3; i++) {
        await failure(() => vm.call("empty"), "BARECELL_FUEL_EXHAUSTED");
        expect(vm.fuelUsed).toBe(50n);
        await vm.call("three");
        expect(vm.fuelUsed).toBe(3n);
      }
    }));

  it("of any whole number up to 2^63 - 1 is one; anything else is none", async () => {
    for (const fuel of [3, 3n, Number.MAX_SAFE_INTEGER, 2n ** 63n - 1n]) {
      await withVm(image, { ...OPTIONS, fuel }, async (vm) => {
        await vm.call("three");
        expect(vm.fuelUsed).toBe(3n);
      });
    }
    for (const fuel of [
      -1,
      -1n,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 53,
      2n ** 63n,
      "5",
      null,
      {},
    ]) {
      const wrong = { ...OPTIONS, fuel: fuel as number };
      await failure(() => MicroVM.boot(image, wrong), "BARECELL_ARGUMENT_INVALID");
      await failure(() => MicroVM.bootSync(image, wrong), "BARECELL_ARGUMENT_INVALID");
    }
  });
});

describe("an image without metering", () => {
  it("takes no limit, and has no count", async () => {
    const error = await failure(
      () => MicroVM.boot(unmetered, { ...OPTIONS, fuel: 5 }),
      "BARECELL_METERING_MISSING",
    );
    expect(error.message).toContain("metering: true");
    await withVm(unmetered, OPTIONS, async (vm) => {
      await vm.call("three");
      await failure(() => vm.fuelUsed, "BARECELL_METERING_MISSING");
      await failure(() => vm.call("three", { fuel: 5 }), "BARECELL_METERING_MISSING");
      await vm.call("three");
    });
  });

  it("is another one in the cache, and a saved one knows what it is", async () => {
    expect(unmetered.digest).not.toBe(image.digest);
    expect(Image.fromBytes(image.bytes).manifest.metering).toBe(true);
    expect(unmetered.manifest.metering).toBe(false);
  });

  it("metering that is neither true nor false is refused", async () => {
    const wrong = { metering: "yes" as unknown as boolean };
    await failure(() => compile(new Uint8Array(0), wrong), "BARECELL_ARGUMENT_INVALID");
  });
});

describe("the count", () => {
  it("cannot be asked for while a call runs, nor after disposal", async () => {
    const vm = await MicroVM.boot(image, { ...OPTIONS, fuel: 10n ** 12n });
    const running = failure(() => vm.call("empty"), "BARECELL_DISPOSED");
    await failure(() => vm.fuelUsed, "BARECELL_BUSY");
    vm.dispose();
    await running;
    await failure(() => vm.fuelUsed, "BARECELL_DISPOSED");
  });

  it("of an export that is read is nothing", () =>
    withVm(image, OPTIONS, (vm) => {
      expect(vm.global("calls")).toBe(0);
      expect(vm.fuelUsed).toBe(0n);
    }));

  it("from a guest that got out of WebAssembly is never more than the limit, nor less than nothing", async () => {
    const host = await RawHost.create("", undefined, { metering: true });
    const values = ["0", "1", "-1", "0x7fffffffffffffff", "0x8000000000000000", "1000", "1001"];
    const pieces = assemble(
      new Map(
        values.flatMap((value) => [
          [`return ${value}`, `movabs $${value}, %r15\n xor %eax, %eax\n ret`],
          [`trap ${value}`, `movabs $${value}, %r15\n ud2`],
        ]),
      ),
    );
    const told = new Set<string>();
    for (const [name, code] of pieces) {
      const raw = host.withCode(code);
      const vm = MicroVM.bootSync(raw, { wasi: {}, unknownImports: "trap", fuel: 1000, afterTrap: "keep" });
      try {
        vm.callSync("victim");
        told.add("returned");
      } catch (error) {
        told.add((error as { code: string }).code);
      }
      expect(vm.fuelUsed, name).toBeGreaterThanOrEqual(0n);
      expect(vm.fuelUsed, name).toBeLessThanOrEqual(1000n);
      // The next call starts from what the host says.
      vm.callSync("peek", 0);
      expect(vm.fuelUsed, name).toBe(2n);
      vm.dispose();
    }
    expect([...told].sort()).toEqual([
      "BARECELL_FUEL_EXHAUSTED",
      "BARECELL_TRAP_ILLEGAL_INSTRUCTION",
      "returned",
    ]);
  });

  it("an image without metering that says its fuel is used up lies", async () => {
    const host = await RawHost.create();
    const code = assemble(
      new Map([["lie", "mov $BC_TRAP_FUEL_EXHAUSTED, %eax\n out %al, $BC_PORT_TRAP"]]),
    ).get("lie");
    const vm = MicroVM.bootSync(host.withCode(code as Uint8Array), { wasi: {}, unknownImports: "trap" });
    await failure(() => vm.callSync("victim"), "BARECELL_GUEST_PROTOCOL");
    vm.dispose();
  });
});
