/** Several modules in one VM: what they share, in which order they start, what a failure leaves behind. */
import { describe, expect, it } from "vitest";
import { MicroVM } from "../support/barecell.ts";
import { failure, names } from "../support/errors.ts";
import { imageOfModules, type NamedText, withVm } from "../support/modules.ts";

const PAGE = 65_536;
const OOB_MEMORY = "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY";
const OOB_TABLE = "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE";
const KEEP = { afterTrap: "keep" } as const;

/** A module that owns one of everything. `log` adds a decimal digit to `trace`. */
const OWNER: NamedText = [
  "owner",
  `(module (type $number (func (result i32)))
    (memory (export "m") 1 10) (table (export "t") 4 20 funcref) (table (export "x") 2 6 externref)
    (global (export "three") i32 (i32.const 3)) (global $trace (export "trace") (mut i32) (i32.const 0))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "grow_t") (param i32) (result i32) (table.grow 0 (ref.null func) (local.get 0)))
    (func (export "size_x") (result i32) (table.size 1))
    (func (export "log") (param i32) (global.set $trace (i32.add (i32.mul (global.get $trace) (i32.const 10)) (local.get 0))))
    (func (export "call") (param i32) (result i32) (call_indirect (type $number) (local.get 0)))
    (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0))))`,
];
const LOG = `(import "owner" "log" (func $log (param i32)))`;
const trace = (vm: MicroVM): unknown => vm.module("owner").global("trace");

describe("what modules share", async () => {
  const image = await imageOfModules([
    OWNER,
    [
      "middle",
      `(module (import "owner" "m" (memory 1)) (import "owner" "t" (table $t 4 funcref)) (import "owner" "peek" (func $peek (param i32) (result i32)))
        (import "owner" "three" (global $three i32)) ${LOG}
        (export "memory" (memory 0)) (export "peek" (func $peek)) (export "table" (table $t)) (export "log" (func $log))
        (func $ninety (result i32) (i32.const 90)) (elem (global.get $three) $ninety) (data (i32.const 100) "middle"))`,
    ],
    [
      "main",
      `(module (import "middle" "memory" (memory 1)) (import "middle" "peek" (func $peek (param i32) (result i32))) (import "middle" "table" (table $t 4 funcref))
        (import "owner" "x" (table $x 2 externref)) (import "middle" "log" (func $log (param i32)))
        (type $number (func (result i32))) (func $five (result i32) (i32.const 5)) (elem declare func $five)
        (data (i32.const 101) "AIN") (start $start) (func $start (call $log (i32.const 7)))
        (func (export "peek") (param i32) (result i32) (i32.add (i32.mul (i32.const 1000) (call $peek (local.get 0))) (i32.load8_u (local.get 0))))
        (func (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
        (func (export "size") (result i32) (memory.size)) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "grow_t") (param i32) (result i32) (table.grow $t (ref.func $five) (local.get 0)))
        (func (export "grow_x") (param i32 externref) (result i32) (table.grow $x (local.get 1) (local.get 0)))
        (func (export "call") (param i32) (result i32) (call_indirect $t (type $number) (local.get 0))))`,
    ],
  ]);

  it("one memory under three names: data of all of them in order, growth by any of them", () =>
    withVm(image, KEEP, async (vm) => {
      const owner = vm.module("owner");
      expect(Buffer.from(vm.memory.read(100, 6)).toString()).toBe("mAINle");
      expect(Buffer.from(owner.memory.read(100, 6)).toString()).toBe("mAINle");
      vm.callSync("poke", 9, 42);
      expect(vm.callSync("peek", 9)).toBe(42_042);
      await failure(() => vm.call("peek", PAGE), OOB_MEMORY);
      expect(owner.callSync("grow", 2)).toBe(1);
      expect([vm.callSync("size"), vm.memory.byteLength]).toEqual([3, 3 * PAGE]);
      expect(vm.callSync("peek", 3 * PAGE - 1)).toBe(0);
      expect(vm.callSync("grow", 7)).toBe(3);
      expect(owner.callSync("grow", 1), "the owner's maximum").toBe(-1);
      expect(owner.callSync("peek", 10 * PAGE - 1)).toBe(0);
      await failure(() => owner.call("peek", 10 * PAGE), OOB_MEMORY);
    }));

  it("one table: a module grows it, the others see its elements", () =>
    withVm(image, KEEP, async (vm) => {
      const owner = vm.module("owner");
      expect([owner.callSync("call", 3), vm.callSync("call", 3)]).toEqual([90, 90]);
      await failure(() => owner.call("call", 4), OOB_TABLE);
      expect(vm.callSync("grow_t", 6)).toBe(4);
      expect([owner.callSync("call", 4), vm.callSync("call", 9)]).toEqual([5, 5]);
      expect(owner.callSync("grow_t", 10)).toBe(10);
      await failure(() => vm.call("call", 19), "BARECELL_TRAP_UNINITIALIZED_ELEMENT");
      expect(vm.callSync("grow_t", 1)).toBe(-1);
      expect(vm.callSync("grow_x", 4, "filled")).toBe(2);
      expect(owner.callSync("size_x")).toBe(6);
      expect(vm.callSync("grow_x", 1, null)).toBe(-1);
    }));

  it("start functions have run when the boot is over", () =>
    withVm(image, { boot: "direct" }, (vm) => expect(trace(vm)).toBe(7)));

  it("are found by name, and only by name", () =>
    withVm(image, {}, async (vm) => {
      expect(vm.modules.map(({ name }) => name)).toEqual(["owner", "middle", "main"]);
      expect(vm.module("main")).toBe(vm.modules[2]);
      for (const name of ["Owner", "", "__proto__", undefined]) {
        const error = await failure(() => vm.module(name as string), "BARECELL_ARGUMENT_INVALID");
        expect(error.message).toContain("'middle'");
      }
      await failure(() => vm.module("middle").call("grow", 1), "BARECELL_EXPORT_NOT_FOUND");
      await failure(() => vm.instantiate("main"), "BARECELL_NOT_INSTANTIATED");
    }));
});

describe("names", () => {
  it("may be any strings", async () => {
    const odd = ["", "__proto__", "constructor", "a=b", "naïve ☃\n\0", "x".repeat(10_000), "*/ #include"];
    const spell = (name: string): string =>
      [...Buffer.from(name)].map((byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("");
    const modules = odd.map(
      (name, i): NamedText => [
        name,
        `(module (func (export "${spell(name)}") (result i32) (i32.const ${2 ** i})))`,
      ],
    );
    const imports = odd.map(
      (name, i) => `(import "${spell(name)}" "${spell(name)}" (func $f${i} (result i32)))`,
    );
    const sum = `${odd.map((_, i) => `(call $f${i})`).join(" ")} ${"i32.add ".repeat(odd.length - 1)}`;
    const image = await imageOfModules(
      [...modules, ["main", `(module ${imports.join(" ")} (func (export "sum") (result i32) ${sum}))`]],
      { optimize: 0 },
    );
    await withVm(image, {}, (vm) => {
      expect(vm.callSync("sum")).toBe(2 ** odd.length - 1);
      odd.forEach((name, i) => {
        expect(vm.module(name).callSync(name)).toBe(2 ** i);
      });
    });
  });
});

describe("instantiation, one by one", async () => {
  const TABLE = `(import "owner" "t" (table 4 funcref))`;
  const FIRST = `(memory 1) (func $first (result i32) (i32.load8_u (i32.const 0)))`;
  const image = await imageOfModules(
    [
      OWNER,
      [
        "needs",
        `(module (import "owner" "m" (memory 3)) (import "owner" "t" (table 8 funcref)) ${LOG} (start $s) (func $s (call $log (i32.const 8))))`,
      ],
      [
        "bad data",
        `(module (import "owner" "m" (memory 1)) ${LOG} (start $s) (func $s (call $log (i32.const 9)))
          (data (i32.const 200) "AB") (data (i32.const 65535) "CD") (data (i32.const 300) "E"))`,
      ],
      [
        "bad elements",
        `(module ${TABLE} ${FIRST} (data (i32.const 0) "Z")
          (elem (i32.const 0) $first) (elem (i32.const 3) $first $first) (elem (i32.const 1) $first))`,
      ],
      [
        "bad start",
        `(module ${TABLE} ${LOG} ${FIRST} (data (i32.const 0) "S") (elem (i32.const 2) $first)
          (start $s) (func $s (call $log (i32.const 1)) unreachable))`,
      ],
      [
        "main",
        `(module ${LOG} (memory 2) (data (i32.const 5) "\\05i") (start $s) (func $s (call $log (i32.load8_u (i32.const 5)))) (func (export "run") (result i32) (i32.load8_u (i32.const 6))))`,
      ],
    ],
    { instantiate: "on-demand" },
  );

  it("nothing of a module can be used before", () =>
    withVm(image, {}, async (vm) => {
      const main = vm.module("main");
      expect(main.isInstantiated).toBe(false);
      const early = "BARECELL_NOT_INSTANTIATED";
      await failure(() => vm.call("run"), early);
      await failure(() => vm.global("any"), early);
      await failure(() => main.callRaw("run", new Uint8Array(0)), early);
      await failure(() => main.setGlobal("any", 1), early);
      // Else the host could write what the module's own data should overwrite.
      await failure(() => vm.memory.write(5, new Uint8Array(2)), early);
      await failure(() => vm.memory.byteLength, early);
      const error = await failure(() => vm.instantiate("main"), early);
      expect(error.message).toContain("'main' imports from 'owner'");
      await failure(() => vm.instantiate("nobody"), "BARECELL_ARGUMENT_INVALID");
      await vm.instantiate("owner");
      vm.instantiateSync("main");
      expect(main.isInstantiated).toBe(true);
      expect(vm.callSync("run")).toBe("i".charCodeAt(0));
      expect(Buffer.from(vm.memory.read(5, 2)).toString()).toBe("\x05i");
      expect(trace(vm)).toBe(5);
      for (const name of ["owner", "main"]) await failure(() => vm.instantiate(name), early);
      expect(trace(vm), "no start function ran again").toBe(5);
    }));

  it("an imported memory and table count as they are then, grown or not", async () => {
    await withVm(image, KEEP, async (vm) => {
      vm.instantiateSync("owner");
      const owner = vm.module("owner");
      owner.callSync("grow", 2);
      await failure(() => vm.instantiate("needs"), "BARECELL_LINK_FAILED");
      expect([vm.state, trace(vm)]).toEqual(["ready", 0]);
      owner.callSync("grow_t", 4);
      const again = await failure(() => vm.instantiate("needs"), "BARECELL_NOT_INSTANTIATED");
      expect(again.message).toContain("second time");
    });
    await withVm(image, {}, async (vm) => {
      vm.instantiateSync("owner");
      vm.module("owner").callSync("grow", 2);
      vm.module("owner").callSync("grow_t", 4);
      await vm.instantiate("needs");
      expect(trace(vm)).toBe(8);
    });
  });

  it("what a failed one wrote to others stays, and goes as far as the failure", () =>
    withVm(image, KEEP, async (vm) => {
      vm.instantiateSync("owner");
      const owner = vm.module("owner");
      vm.module("owner").memory.write(65_535, Uint8Array.of(7));
      await failure(() => vm.instantiate("bad data"), OOB_MEMORY);
      expect([200, 201, 65_535, 300].map((at) => owner.callSync("peek", at))).toEqual([65, 66, 7, 0]);
      expect(trace(vm)).toBe(0);
      await failure(() => vm.instantiate("bad elements"), OOB_TABLE);
      // Its function lives on in the table, in an instance whose data were never written.
      expect(owner.callSync("call", 0)).toBe(0);
      await failure(() => owner.call("call", 3), "BARECELL_TRAP_UNINITIALIZED_ELEMENT");
      await failure(() => owner.call("call", 1), "BARECELL_TRAP_UNINITIALIZED_ELEMENT");
      const error = await failure(() => vm.instantiateSync("bad start"), "BARECELL_TRAP_UNREACHABLE");
      expect(names(error)).not.toContainEqual(expect.stringContaining("wasm2c"));
      expect(error.backtrace.at(-1)).toMatchObject({ name: "instantiate", module: "bad start" });
      expect(error.message).toContain("instantiating 'bad start'");
      expect([owner.callSync("call", 2), trace(vm)]).toEqual([83, 1]);
      const unusable = await failure(() => vm.module("bad start").call("any"), "BARECELL_NOT_INSTANTIATED");
      expect(unusable.message).toContain("did not come to its end");
      await vm.instantiate("main");
      expect(trace(vm)).toBe(15);
    }));

  it("a failure poisons the VM unless it is to be kept", () =>
    withVm(image, {}, async (vm) => {
      await vm.instantiate("owner");
      await failure(() => vm.instantiate("bad data"), OOB_MEMORY);
      expect(vm.state).toBe("poisoned");
      await failure(() => vm.instantiate("main"), "BARECELL_POISONED");
      vm.dispose();
      await failure(() => vm.instantiate("main"), "BARECELL_DISPOSED");
    }));

  it("one at a time", () =>
    withVm(image, {}, async (vm) => {
      const first = vm.instantiate("owner");
      await failure(() => vm.instantiate("owner"), "BARECELL_NOT_INSTANTIATED");
      await failure(() => vm.module("owner").call("peek", 0), "BARECELL_NOT_INSTANTIATED");
      await first;
      const second = vm.instantiate("main");
      await failure(() => vm.instantiate("bad data"), "BARECELL_BUSY");
      await second;
      // Refused, not failed: nothing of it has run.
      await failure(() => vm.instantiate("bad data"), OOB_MEMORY);
    }));
});

describe("at boot", () => {
  it("an import that is too small by then ends it with BARECELL_LINK_FAILED", async () => {
    const grower: NamedText = [
      "grower",
      `(module (import "owner" "grow" (func $grow (param i32) (result i32))) (start $s) (func $s (drop (call $grow (i32.const 2)))))`,
    ];
    const user: NamedText = [
      "user",
      `(module (import "owner" "m" (memory 3)) (func (export "size") (result i32) (memory.size)))`,
    ];
    const small = await imageOfModules([OWNER, user]);
    await failure(() => MicroVM.boot(small), "BARECELL_LINK_FAILED");
    await failure(() => MicroVM.bootSync(small), "BARECELL_LINK_FAILED");
    const grown = await imageOfModules([OWNER, grower, user]);
    await withVm(grown, {}, (vm) => expect(vm.callSync("size")).toBe(3));
    await failure(() => MicroVM.boot(grown, { maxMemoryBytes: 2 * PAGE }), "BARECELL_LINK_FAILED");
  });
});
