/** Calls through tables: a table that nothing can change becomes a constant, and every other one stays what it is. */
import { describe, expect, it } from "vitest";
import { type Image, MicroVM } from "../support/barecell.ts";
import { failure, names } from "../support/errors.ts";
import { imageOf, imageOfModules, withVm } from "../support/modules.ts";

const OOB_TABLE = "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE";
const NULL_ELEMENT = "BARECELL_TRAP_UNINITIALIZED_ELEMENT";
const OTHER_TYPE = "BARECELL_TRAP_INDIRECT_CALL_TYPE_MISMATCH";
const KEEP = { afterTrap: "keep" } as const;

/** The arrays have symbols in the image. */
const hasConstantTable = (image: Image): boolean => Buffer.from(image.bytes).includes("_w2c_T0_type_");

/** A table of five: $one, $two, null, $wide, null, and whatever a case adds. */
const withTable = (rest: string, table = "(table $t 5 10 funcref)", imports = ""): string => `(module
  (type $number (func (result i32))) (type $same (func (result i32))) (type $wide (func (result i64)))
  ${imports}
  ${table}
  (elem (i32.const 0) $one $one) (elem (i32.const 1) $two) (elem (i32.const 3) $wide)
  (func $one (result i32) (i32.const 1)) (func $two (type $same) (i32.const 2)) (func $wide (result i64) (i64.const 3))
  (func (export "call") (param i32) (result i32) (call_indirect (type $number) (local.get 0)))
  (func (export "same") (param i32) (result i32) (call_indirect (type $same) (local.get 0)))
  (func (export "null") (result i32) (call_indirect (type $number) (i32.const 2)))
  (func (export "other") (result i64) (call_indirect (type $wide) (i32.const 1)))
  (func (export "past") (result i32) (call_indirect (type $number) (i32.const 9999)))
  (func (export "two") (result i32) (call_indirect (type $number) (i32.const 1)))
  (func (export "wide") (param i32) (result i64) (call_indirect (type $wide) (local.get 0)))
  ${rest})`;

/** What holds for the table in every case. */
async function checkCalls(vm: MicroVM): Promise<void> {
  expect([0, 1].map((index) => vm.callSync("call", index))).toEqual([1, 2]);
  expect([0, 1].map((index) => vm.callSync("same", index))).toEqual([1, 2]);
  expect(vm.callSync("wide", 3)).toBe(3n);
  // Indexes that the C compiler knows.
  expect(vm.callSync("two")).toBe(2);
  await failure(() => vm.call("null"), NULL_ELEMENT);
  await failure(() => vm.call("other"), OTHER_TYPE);
  await failure(() => vm.call("past"), OOB_TABLE);
  for (const [name, index, code] of [
    ["call", 2, NULL_ELEMENT],
    ["call", 3, OTHER_TYPE],
    ["wide", 0, OTHER_TYPE],
    ["wide", 4, NULL_ELEMENT],
    ["call", -1, OOB_TABLE],
    ["wide", 0x8000_0000, OOB_TABLE],
  ] as const) {
    const error = await failure(() => vm.call(name, index), code);
    expect(names(error)).toEqual([name]);
  }
}

describe.each(["quick", 2, 3] as const)("at optimisation level %s", (optimize) => {
  it("a table that nothing changes is a constant", async () => {
    const image = await imageOf("fixed", withTable(""), { optimize });
    expect(hasConstantTable(image)).toBe(true);
    await withVm(image, KEEP, async (vm) => {
      await checkCalls(vm);
      await failure(() => vm.call("call", 5), OOB_TABLE);
    });
  });

  it.each([
    ["table.set", `(func (export "change") (table.set $t (i32.const 0) (ref.func $two)))`],
    ["table.fill", `(func (export "change") (table.fill $t (i32.const 0) (ref.func $two) (i32.const 1)))`],
    ["table.copy", `(func (export "change") (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 1)))`],
    [
      "table.init",
      `(elem $late func $two) (func (export "change") (table.init $t $late (i32.const 0) (i32.const 0) (i32.const 1)))`,
    ],
  ])("a table that %s changes is not", async (_instruction, change) => {
    const image = await imageOf("changed", withTable(change), { optimize });
    expect(hasConstantTable(image)).toBe(false);
    await withVm(image, KEEP, async (vm) => {
      await checkCalls(vm);
      vm.callSync("change");
      expect(vm.callSync("call", 0)).toBe(2);
      await failure(() => vm.call("wide", 0), OTHER_TYPE);
    });
  });

  it("a table that grows is not", async () => {
    const grow = `(func (export "grow") (result i32) (table.grow $t (ref.func $two) (i32.const 3)))`;
    const image = await imageOf("growing", withTable(grow), { optimize });
    await withVm(image, KEEP, async (vm) => {
      await checkCalls(vm);
      await failure(() => vm.call("call", 7), OOB_TABLE);
      expect(vm.callSync("grow")).toBe(5);
      expect(vm.callSync("call", 7)).toBe(2);
      await failure(() => vm.call("call", 8), OOB_TABLE);
    });
  });
});

it("a table that another module changes is not a constant, and types are the same in both", async () => {
  const image = await imageOfModules([
    ["owner", withTable("", `(table $t (export "t") 5 10 funcref)`)],
    [
      "main",
      `(module (type $unused (func (param f64))) (type $wide (func (result i64))) (type $number (func (result i32)))
        (import "owner" "t" (table $t 5 funcref))
        (func $nine (result i32) (i32.const 9)) (func $float (result f32) (f32.const 1)) (elem declare func $nine $float)
        (func (export "number") (param i32) (result i32) (call_indirect $t (type $number) (local.get 0)))
        (func (export "change") (table.set $t (i32.const 0) (ref.func $nine)) (table.set $t (i32.const 1) (ref.func $float))))`,
    ],
  ]);
  expect(hasConstantTable(image)).toBe(false);
  await withVm(image, KEEP, async (vm) => {
    const owner = vm.module("owner");
    expect([vm.callSync("number", 0), vm.callSync("number", 1)]).toEqual([1, 2]);
    await failure(() => vm.call("number", 3), OTHER_TYPE);
    vm.callSync("change");
    expect(owner.callSync("call", 0)).toBe(9);
    await failure(() => owner.call("call", 1), OTHER_TYPE);
  });
});

it("two modules have constant tables of their own", async () => {
  const image = await imageOfModules([
    ["first", withTable("")],
    ["main", withTable("").replace("(i32.const 2))", "(i32.const 20))")],
  ]);
  expect(hasConstantTable(image)).toBe(true);
  await withVm(image, KEEP, async (vm) => {
    const first = vm.module("first");
    expect([first.callSync("call", 1), vm.callSync("call", 1)]).toEqual([2, 20]);
    expect([first.callSync("two"), vm.callSync("two")]).toEqual([2, 20]);
    await failure(() => first.call("call", 3), OTHER_TYPE);
  });
});

it("of many tables all work", async () => {
  const tables = Array.from(
    { length: 20 },
    (_, i) =>
      `(table $t${i} 1 funcref) (elem (table $t${i}) (i32.const 0) func $f${i}) (func $f${i} (result i32) (i32.const ${i}))
      (func (export "call${i}") (param i32) (result i32) (call_indirect $t${i} (type $number) (local.get 0)))`,
  ).join("\n");
  const image = await imageOf("tables", `(module (type $number (func (result i32))) ${tables})`);
  await withVm(image, KEEP, async (vm) => {
    for (let i = 0; i < 20; i++) {
      expect(vm.callSync(`call${i}`, 0)).toBe(i);
      await failure(() => vm.call(`call${i}`, 1), OOB_TABLE);
    }
  });
});

it("host functions in a table are called through it", async () => {
  const image = await imageOf(
    "imported",
    withTable("(elem (i32.const 4) $f)", undefined, `(import "env" "f" (func $f (result i32)))`),
  );
  const options = { ...KEEP, imports: { env: { f: () => 77 } } };
  await withVm(image, options, (vm) => {
    expect(vm.callSync("call", 4)).toBe(77);
    expect(vm.callSync("call", 1)).toBe(2);
  });
});

it("a segment past the end of its table still traps when the module is instantiated", async () => {
  const image = await imageOf("too-long", withTable("(elem (i32.const 4) $one $one)"));
  await failure(() => MicroVM.boot(image), OOB_TABLE);
});

it("a table too large for constants works as well", async () => {
  const image = await imageOf("large", withTable("", "(table $t 9000 funcref)"));
  expect(hasConstantTable(image)).toBe(false);
  await withVm(image, KEEP, async (vm) => {
    await checkCalls(vm);
    await failure(() => vm.call("call", 8999), NULL_ELEMENT);
    await failure(() => vm.call("call", 9000), OOB_TABLE);
  });
});

it("a fresh call after a reset finds the same table", async () => {
  const image = await imageOf("fixed", withTable(""));
  await withVm(image, KEEP, async (vm) => {
    await checkCalls(vm);
    vm.resetSync();
    await checkCalls(vm);
  });
});
