/** Every trap that WebAssembly itself knows, apart from memory (traps-memory.test.ts), by its own code and with the guest's call stack. */
import { describe, expect, it } from "vitest";
import { type ErrorCode, MicroVM } from "../support/barecell.ts";
import { failure, names } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const INT_MIN: Record<"i32" | "i64", string> = { i32: "0x80000000", i64: "0x8000000000000000" };

interface TrapCase {
  readonly name: string;
  /** Body of a function without parameters and results. */
  readonly body: string;
  readonly code: ErrorCode;
}

const arithmetic: TrapCase[] = [
  { name: "unreachable", body: "unreachable", code: "BARECELL_TRAP_UNREACHABLE" },
];
for (const type of ["i32", "i64"] as const) {
  for (const operation of ["div_s", "div_u", "rem_s", "rem_u"]) {
    arithmetic.push({
      name: `${type}_${operation}_zero`,
      body: `(drop (${type}.${operation} (global.get $${type}_one) (global.get $${type}_zero)))`,
      code: "BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO",
    });
  }
  arithmetic.push({
    name: `${type}_div_overflow`,
    body: `(drop (${type}.div_s (global.get $${type}_min) (global.get $${type}_minus_one)))`,
    code: "BARECELL_TRAP_INTEGER_OVERFLOW",
  });
  for (const from of ["f32", "f64"]) {
    for (const sign of ["s", "u"]) {
      const convert = `${type}.trunc_${from}_${sign}`;
      for (const [what, code] of [
        ["big", "BARECELL_TRAP_INTEGER_OVERFLOW"],
        ["negative", "BARECELL_TRAP_INTEGER_OVERFLOW"],
        ["infinite", "BARECELL_TRAP_INTEGER_OVERFLOW"],
        ["nan", "BARECELL_TRAP_INVALID_CONVERSION"],
      ] as const) {
        arithmetic.push({
          name: `${type}_trunc_${from}_${sign}_${what}`,
          body: `(drop (${convert} (global.get $${from}_${what})))`,
          code,
        });
      }
    }
  }
}

/** Mutable, so that no compiler knows their values; their own exports would be the place to change them. */
const GLOBALS = `
  (global $i32_one (export "g0") (mut i32) (i32.const 1)) (global $i32_zero (export "g1") (mut i32) (i32.const 0))
  (global $i32_minus_one (export "g2") (mut i32) (i32.const -1)) (global $i32_min (export "g3") (mut i32) (i32.const ${INT_MIN.i32}))
  (global $i64_one (export "g4") (mut i64) (i64.const 1)) (global $i64_zero (export "g5") (mut i64) (i64.const 0))
  (global $i64_minus_one (export "g6") (mut i64) (i64.const -1)) (global $i64_min (export "g7") (mut i64) (i64.const ${INT_MIN.i64}))
  ${["f32", "f64"]
    .map(
      (type) => `
  (global $${type}_big (mut ${type}) (${type}.const 1e30)) (global $${type}_negative (mut ${type}) (${type}.const -1e30))
  (global $${type}_infinite (mut ${type}) (${type}.const inf)) (global $${type}_nan (mut ${type}) (${type}.const nan))`,
    )
    .join("")}`;

function functions(cases: readonly TrapCase[]): string {
  return cases.map(({ name, body }) => `(func $${name} (export "${name}") ${body})`).join("\n");
}

describe("arithmetic traps", async () => {
  const image = await imageOf("arithmetic", `(module ${GLOBALS} ${functions(arithmetic)})`);
  it.each(arithmetic)("$name: $code", ({ name, code }) =>
    withVm(image, {}, async (vm) => {
      const error = await failure(() => vm.call(name), code);
      expect(names(error)).toEqual([name]);
      expect(error.backtrace[0]?.functionIndex).toBeTypeOf("number");
      expect(error.backtrace[0]?.address).toMatch(/^0x3[0-9a-f]{8}$/);
      expect(error.kind).toBe("trap");
      expect(error.message).toContain(`'${name}'`);
      expect(vm.state).toBe("poisoned");
    }),
  );
  it("traps by callSync and with a direct boot alike", async () => {
    for (const boot of ["staged", "direct"] as const) {
      const vm = MicroVM.bootSync(image, { boot });
      const error = await failure(
        () => vm.callSync("i32_div_s_zero"),
        "BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO",
      );
      expect(names(error)).toEqual(["i32_div_s_zero"]);
      vm.dispose();
    }
  });
  it("saturating conversions and rem_s of the smallest number by -1 do not trap", async () => {
    const saturating = await imageOf(
      "saturating",
      `(module
        (func (export "sat") (param f64) (result i32) (i32.trunc_sat_f64_s (local.get 0)))
        (func (export "rem") (param i32 i32) (result i32) (i32.rem_s (local.get 0) (local.get 1)))
        (func (export "rem64") (param i64 i64) (result i64) (i64.rem_s (local.get 0) (local.get 1))))`,
    );
    await withVm(saturating, {}, async (vm) => {
      expect(await vm.call("sat", Number.NaN)).toBe(0);
      expect(await vm.call("sat", 1e30)).toBe(2 ** 31 - 1);
      expect(await vm.call("rem", -(2 ** 31), -1)).toBe(0);
      expect(await vm.call("rem64", -(2n ** 63n), -1n)).toBe(0n);
    });
  });
});

/** A table of 10: functions of type () -> () at 0 and 1, of another type at 2, nothing from 3 on. */
const tables: TrapCase[] = [
  {
    name: "call_past_end",
    body: "(call_indirect (type $plain) (global.get $ten))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "call_far_past_end",
    body: "(call_indirect (type $plain) (global.get $minus_one))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "call_null",
    body: "(call_indirect (type $plain) (global.get $three))",
    code: "BARECELL_TRAP_UNINITIALIZED_ELEMENT",
  },
  {
    name: "call_other_type",
    body: "(call_indirect (type $plain) (global.get $two))",
    code: "BARECELL_TRAP_INDIRECT_CALL_TYPE_MISMATCH",
  },
  {
    name: "get_past_end",
    body: "(drop (table.get $t (global.get $ten)))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "set_past_end",
    body: "(table.set $t (global.get $ten) (ref.null func))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "get_extern_past_end",
    body: "(drop (table.get $e (global.get $ten)))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "set_extern_far",
    body: "(table.set $e (global.get $minus_one) (ref.null extern))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "fill_past_end",
    body: "(table.fill $t (i32.const 5) (ref.null func) (global.get $ten))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "copy_from_past_end",
    body: "(table.copy $t $t (i32.const 0) (i32.const 5) (global.get $ten))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "copy_to_past_end",
    body: "(table.copy $t $t (i32.const 5) (i32.const 0) (global.get $ten))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "copy_wraps",
    body: "(table.copy $t $t (global.get $minus_one) (i32.const 0) (i32.const 2))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "init_past_segment",
    body: "(table.init $t $passive (i32.const 0) (i32.const 1) (global.get $three))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "init_past_table",
    body: "(table.init $t $passive (global.get $ten) (i32.const 0) (i32.const 1))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
  {
    name: "init_dropped",
    body: "(elem.drop $passive) (table.init $t $passive (i32.const 0) (i32.const 0) (i32.const 1))",
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
  },
];

describe("table traps", async () => {
  const image = await imageOf(
    "tables",
    `(module
      (type $plain (func)) (type $other (func (param i32)))
      (table $t 10 10 funcref) (table $e 10 10 externref)
      (global $two (export "a") (mut i32) (i32.const 2)) (global $three (export "b") (mut i32) (i32.const 3))
      (global $ten (export "c") (mut i32) (i32.const 10)) (global $minus_one (export "d") (mut i32) (i32.const -1))
      (func $first) (func $second) (func $third (type $other))
      (elem (table $t) (i32.const 0) func $first $second $third)
      (elem $passive func $first $second)
      (func (export "is_null") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
      (func (export "works") (call_indirect (type $plain) (i32.const 1)))
      ${functions(tables)})`,
  );
  it.each(tables)("$name: $code", ({ name, code }) =>
    withVm(image, { afterTrap: "keep" }, async (vm) => {
      const error = await failure(() => vm.call(name), code);
      expect(names(error)).toContain(name);
      // Bulk operations out of bounds do nothing at all.
      const nulls = [0, 1, 2, 3, 9].map((index) => vm.callSync("is_null", index));
      expect(nulls).toEqual([0, 0, 0, 1, 1]);
      await vm.call("works");
    }),
  );
});

describe("call stack", async () => {
  /** Nothing inlines through a table whose index is not known when compiling. */
  const image = await imageOf(
    "stack",
    `(module
      (type $plain (func)) (type $deep (func (param i64) (result i64)))
      (memory (export "memory") 1)
      (table 8 funcref) (elem (i32.const 0) $innermost $middle $ping $pong)
      (global $depth (export "depth") (mut i64) (i64.const 0))
      (global $first (export "first") (mut i32) (i32.const 0))
      (func $innermost (type $plain) unreachable)
      (func $middle (type $plain) (call_indirect (type $plain) (global.get $first)))
      (func $outer (export "outer") (call_indirect (type $plain) (i32.add (global.get $first) (i32.const 1))))
      (func $direct (export "direct") (param i64) (result i64)
        (i64.add (i64.const 1) (call $direct (i64.add (local.get 0) (global.get $depth)))))
      (func $ping (export "mutual") (type $deep)
        (i64.add (i64.const 1) (call_indirect (type $deep) (i64.mul (local.get 0) (i64.const 3)) (i32.add (global.get $first) (i32.const 3)))))
      (func $pong (type $deep)
        (i64.add (i64.const 2) (call_indirect (type $deep) (i64.add (local.get 0) (i64.const 3)) (i32.add (global.get $first) (i32.const 2)))))
      (func $big (export "big") (param i64) (result i64) (local ${"i64 ".repeat(2000)})
        ${Array.from({ length: 500 }, (_, i) => `(local.set ${i + 1} (i64.load (i32.and (i32.wrap_i64 (local.get ${i})) (i32.const 0xff8))))`).join("")}
        (call $big (i64.add (local.get 0) (i64.const 1)))
        ${Array.from({ length: 500 }, (_, i) => `(local.get ${i + 1}) i64.add`).join(" ")})
      (func (export "count") (param i64) (result i64) (local i64)
        (if (result i64) (i64.eqz (local.get 0)) (then (i64.const 0))
          (else (i64.add (i64.const 1) (call 6 (i64.sub (local.get 0) (i64.const 1))))))))`,
  );
  it("names every function of the stack, innermost first", () =>
    withVm(image, {}, async (vm) => {
      const error = await failure(() => vm.call("outer"), "BARECELL_TRAP_UNREACHABLE");
      expect(names(error)).toEqual(["innermost", "middle", "outer"]);
    }));
  it.each([
    ["direct", ["direct"]],
    ["mutual", ["ping", "pong"]],
    ["big", ["big"]],
  ])("exhaustion by %s recursion", (name, expected) =>
    withVm(image, {}, async (vm) => {
      const error = await failure(() => vm.call(name, 1n), "BARECELL_TRAP_STACK_EXHAUSTED");
      expect(error.backtrace.length).toBeGreaterThan(10);
      expect(error.backtrace.length).toBeLessThanOrEqual(64);
      expect([...new Set(names(error))].sort()).toEqual(expected);
    }),
  );
  it("a larger stack reaches deeper, and recursion that ends is no trap", async () => {
    const text = `(module (func $down (export "down") (param i32) (result i32)
      (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
        (else (i32.const 0)))))`;
    // Without optimisation, so that the recursion is one.
    const small = await imageOf("down", text, { stackBytes: 65_536, optimize: 0 });
    const large = await imageOf("down", text, { stackBytes: 64 * 2 ** 20, optimize: 0 });
    await withVm(small, {}, (vm) => failure(() => vm.call("down", 100_000), "BARECELL_TRAP_STACK_EXHAUSTED"));
    await withVm(large, {}, async (vm) => expect(await vm.call("down", 100_000)).toBe(100_000));
  });
  it("can be called again with a clean stack", () =>
    withVm(image, { afterTrap: "keep" }, async (vm) => {
      for (let i = 0; i < 3; i++) {
        await failure(() => vm.call("direct", 1n), "BARECELL_TRAP_STACK_EXHAUSTED");
        const error = await failure(() => vm.call("outer"), "BARECELL_TRAP_UNREACHABLE");
        expect(names(error)).toEqual(["innermost", "middle", "outer"]);
      }
    }));
});

describe("imports", async () => {
  const image = await imageOf(
    "imports",
    `(module
      (import "env" "zero" (func $zero (param i32 i64 f32 f64) (result i64)))
      (import "other module" "a \\"quoted\\" name" (func $odd))
      (import "env" "many" (func $many (result i32 i64 f32 f64)))
      (func $caller (export "caller") (param i32) (result i64)
        (call $zero (local.get 0) (i64.const -1) (f32.const 1) (f64.const 2)))
      (func (export "odd") (call $odd))
      (func (export "many") (result i32 i64 f32 f64) (call $many)))`,
  );
  it("are refused at boot by name", async () => {
    const error = await failure(() => MicroVM.boot(image), "BARECELL_IMPORT_DENIED");
    for (const name of ["env.zero", 'other module.a "quoted" name', "env.many"])
      expect(error.message).toContain(name);
  });
  it("trap names the import that was called", () =>
    withVm(image, { unknownImports: "trap", afterTrap: "keep" }, async (vm) => {
      const error = await failure(() => vm.call("caller", 7), "BARECELL_TRAP_IMPORT_DENIED");
      expect(error.message).toContain("'env.zero'");
      expect(names(error)).toEqual(["env.zero", "caller"]);
      const odd = await failure(() => vm.call("odd"), "BARECELL_TRAP_IMPORT_DENIED");
      expect(odd.message).toContain('other module.a "quoted" name');
    }));
  it("default answers zeros", () =>
    withVm(image, { unknownImports: "default" }, async (vm) => {
      expect(await vm.call("caller", 7)).toBe(0n);
      expect(await vm.call("many")).toEqual([0, 0n, 0, 0]);
    }));
});

describe("start function", () => {
  it.each([
    ["unreachable", "unreachable", "BARECELL_TRAP_UNREACHABLE"],
    ["out of bounds", "(i32.store (i32.const 0x20000) (i32.const 1))", "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY"],
    ["recursion", "(call $start)", "BARECELL_TRAP_STACK_EXHAUSTED"],
  ] as const)("traps at boot: %s", async (_, body, code) => {
    const image = await imageOf("start", `(module (memory 1) (func $start ${body}) (start $start))`);
    for (const boot of ["staged", "direct"] as const) {
      const error = await failure(() => MicroVM.boot(image, { boot }), code);
      // The compiler may have moved the start function into the runtime's function that calls it.
      expect(["start", "instantiate"]).toContain(names(error)[0]);
      expect(error.message).toContain("starting the module");
    }
  });
  it("a data segment out of bounds traps at boot", async () => {
    const image = await imageOf("segment", `(module (memory 1) (data (i32.const 0xffff) "ab"))`);
    await failure(() => MicroVM.boot(image), "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
  });
  it("an element segment out of bounds traps at boot", async () => {
    const image = await imageOf("element", `(module (table 1 funcref) (func $f) (elem (i32.const 1) $f))`);
    await failure(() => MicroVM.boot(image), "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE");
  });
});
