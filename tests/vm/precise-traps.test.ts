/** What a trap leaves behind: everything that was written before it, and nothing of what comes after, whatever the C compiler would like to merge. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Image, MicroVM } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf } from "../support/modules.ts";

const SOURCE = `(module
  (memory (export "memory") 1)
  (global $mark (export "mark") (mut i32) (i32.const 0))
  (func (export "two_stores") (param i32)
    (i32.store (local.get 0) (i32.const 0x04030201))
    (i32.store offset=4 (local.get 0) (i32.const 0x08070605)))
  (func (export "eight_stores") (param i32)
    ${[0, 1, 2, 3, 4, 5, 6, 7].map((i) => `(i32.store8 offset=${i} (local.get 0) (i32.const ${i + 1}))`).join("\n")})
  (func (export "overwritten") (param i32)
    (i32.store (local.get 0) (i32.const 1))
    (drop (i32.load offset=4 (local.get 0)))
    (i32.store (local.get 0) (i32.const 2)))
  (func (export "load_first") (param i32) (result i32) (local i32)
    (local.set 1 (i32.load offset=4 (local.get 0)))
    (i32.store (local.get 0) (i32.const 9))
    (local.get 1))
  (func (export "global_around") (param i32)
    (global.set $mark (i32.const 1))
    (i32.store (local.get 0) (i32.const 7))
    (global.set $mark (i32.const 2)))
  (func (export "global_after") (param i32)
    (drop (i32.load (local.get 0)))
    (global.set $mark (i32.const 3)))
  ;; Loads whose value is not needed, or only on one way.
  (func (export "void") (param i32) (result i32) (i32.and (i32.load (local.get 0)) (i32.const 0)))
  (func (export "narrow") (param i32) (i32.store8 (i32.const 0) (i32.shl (i32.load8_u (local.get 0)) (i32.const 8))))
  (func (export "known") (param i32) (result i32) (i32.lt_u (i32.load8_u (local.get 0)) (i32.const 256)))
  (func (export "one_way") (param i32 i32) (result i32) (local i32)
    (local.set 2 (i32.load (local.get 0)))
    (if (result i32) (local.get 1) (then (local.get 2)) (else (i32.const 1))))
  (func (export "in_loop") (param i32) (result i32) (local i32)
    (loop
      (global.set $mark (i32.add (global.get $mark) (i32.const 1)))
      (drop (i32.load (local.get 0)))
      (local.set 0 (i32.add (local.get 0) (i32.const 4)))
      (br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 100))))
    (local.get 1))
  ;; Without effects but for its traps: not inlined, since it calls itself.
  (func $divide (param i32 i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 3) (call $divide (i32.sub (local.get 0) (i32.const 1)) (local.get 1))))
      (else (i32.div_u (i32.const 100) (local.get 1)))))
  (func (export "before_call") (param i32 i32 i32) (result i32) (local i32)
    (global.set $mark (i32.const 1))
    (local.set 3 (i32.load (local.get 0)))
    (global.set $mark (i32.const 2))
    (drop (call $divide (i32.const 5) (local.get 1)))
    (global.set $mark (i32.const 3))
    (if (result i32) (local.get 2) (then (local.get 3)) (else (i32.const 1))))
  (func (export "straddling") (param i32) (i64.store (local.get 0) (i64.const -1)))
  (func (export "division") (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 5))
    (local.set 1 (i32.div_s (i32.const 7) (local.get 1)))
    (i32.store (local.get 0) (i32.const 6))
    (local.get 1)))`;

/** Address of the last four bytes. */
const LAST = 65_532;

describe.each([1, 2, 3] as const)("at -O%i", (optimize) => {
  let image: Image;
  let vm: MicroVM;
  beforeAll(async () => {
    image = await imageOf("precise", SOURCE, { optimize });
    vm = MicroVM.bootSync(image, { afterTrap: "keep" });
  });
  afterAll(() => vm.dispose());

  const lastBytes = (): number[] => [...vm.memory.read(LAST, 4)];
  const traps = (name: string, ...args: unknown[]): Promise<unknown> =>
    failure(() => vm.call(name, ...args), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");

  it("of two neighbouring stores the first is done, if the second is out of bounds", async () => {
    await traps("two_stores", LAST);
    expect(lastBytes()).toEqual([1, 2, 3, 4]);
  });
  it("of eight neighbouring stores those are done that fit", async () => {
    vm.memory.write(LAST, new Uint8Array(4));
    await traps("eight_stores", LAST + 1);
    expect(lastBytes()).toEqual([0, 1, 2, 3]);
  });
  it("a store that a later one overwrites is there when a load between them traps", async () => {
    await traps("overwritten", LAST);
    expect(lastBytes()).toEqual([1, 0, 0, 0]);
  });
  it("a store after a load that traps is not done", async () => {
    vm.memory.write(LAST, new Uint8Array(4));
    await traps("load_first", LAST);
    expect(lastBytes()).toEqual([0, 0, 0, 0]);
  });
  it("a global has the value of before a store that traps", async () => {
    await traps("global_around", LAST + 1);
    expect(vm.global("mark")).toBe(1);
    await traps("global_after", LAST + 1);
    expect(vm.global("mark")).toBe(1);
  });
  it.each(["void", "narrow", "known", "one_way"])(
    "a load whose value decides nothing traps: %s",
    async (name) => {
      const rest = name === "one_way" ? [0] : [];
      await traps(name, LAST + 4, ...rest);
      await vm.call(name, LAST, ...rest);
    },
  );
  it("a loop of loads ends at the first that does not fit", async () => {
    vm.setGlobal("mark", 0);
    await traps("in_loop", LAST - 8);
    expect(vm.global("mark")).toBe(4);
  });
  it("a load before a call that traps traps first, and a global has the value of that moment", async () => {
    await traps("before_call", LAST + 4, 0, 0);
    expect(vm.global("mark")).toBe(1);
    await failure(() => vm.call("before_call", LAST, 0, 0), "BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO");
    expect(vm.global("mark")).toBe(2);
    expect(await vm.call("before_call", LAST, 5, 0)).toBe(1);
  });
  it("nothing of a straddling store is written", async () => {
    vm.memory.write(LAST, new Uint8Array(4));
    await traps("straddling", LAST);
    expect(lastBytes()).toEqual([0, 0, 0, 0]);
  });
  it("stores before a division by zero are done, those after are not", async () => {
    await failure(() => vm.call("division", LAST, 0), "BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO");
    expect(lastBytes()).toEqual([5, 0, 0, 0]);
  });
});
