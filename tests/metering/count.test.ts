/** Fuel is exactly what docs/limits.md says, at every level of optimisation and for every processor. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { V8Engine } from "../fuzz/engines/v8.ts";
import { bootUnits, compileUnits, VmEngine } from "../fuzz/engines/vm.ts";
import { ownUnit } from "../fuzz/harness/make-unit.ts";
import type { Unit } from "../fuzz/harness/unit.ts";
import { type CompileOptions, compile, type Image, MicroVM } from "../support/barecell.ts";
import { hasSimde, slowness } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { CACHE_FOLDER, imageOfModules, wat } from "../support/modules.ts";
import { COUNT, countingModule, HOST_CALL } from "./reference.ts";

const WAYS: readonly CompileOptions[] = [
  { optimize: 0 },
  { optimize: 1 },
  { optimize: 2 },
  { optimize: 2, targetCpu: "x86-64-v2" },
  { optimize: 3 },
];
const wayName = ({ optimize, targetCpu = "host" }: CompileOptions): string => `-O${optimize} ${targetCpu}`;

/** Export, arguments, what the call costs counted by hand; code. */
const CASES: readonly (readonly [name: string, args: readonly number[], cost: bigint, code: string])[] = [
  ["nothing", [], 0n, ""],
  ["nop", [], 2n, "nop nop"],
  ["structure", [], 1n, "(block (block (nop))) (block)"],
  ["return", [], 1n, "return nop nop"],
  ["constant", [], 2n, "(drop (i32.const 1))"],
  // local.get, if; then 3, else 1.
  ["if_taken", [1], 5n, "(param i32) (if (local.get 0) (then nop nop nop) (else nop))"],
  ["if_not_taken", [0], 3n, "(param i32) (if (local.get 0) (then nop nop nop) (else nop))"],
  ["if_without_else", [0], 3n, "(param i32) (if (local.get 0) (then nop nop)) nop"],
  ["if_without_else_taken", [1], 5n, "(param i32) (if (local.get 0) (then nop nop)) nop"],
  // Six a round.
  ["loop_1", [1], 6n, "(param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))) nop)"],
  [
    "loop_9",
    [9],
    46n,
    "(param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))) nop)",
  ],
  ["loop_falls_through", [], 2n, "(loop nop) nop"],
  ["branch", [], 2n, "(block (br 0) nop) nop"],
  ["branch_taken", [1], 3n, "(param i32) (block (br_if 0 (local.get 0)) nop nop) nop"],
  ["branch_not_taken", [0], 5n, "(param i32) (block (br_if 0 (local.get 0)) nop nop) nop"],
  ["branch_out", [1], 3n, "(param i32) (block (block (if (local.get 0) (then (br 2))) nop) nop)"],
  // local.get, br_table, and what stands behind the target's end.
  ["table_0", [0], 5n, "(param i32) (block (block (block (br_table 0 1 2 (local.get 0))) nop) nop) nop"],
  ["table_1", [1], 4n, "(param i32) (block (block (block (br_table 0 1 2 (local.get 0))) nop) nop) nop"],
  [
    "table_default",
    [7],
    3n,
    "(param i32) (block (block (block (br_table 0 1 2 (local.get 0))) nop) nop) nop",
  ],
  ["dead_code", [], 1n, "(block (br 0) (block (loop nop (br 0)) nop) (if (i32.const 1) (then nop)) nop)"],
  ["dead_end", [], 2n, "(block (block (br 1)) nop) nop"],
  ["call", [], 4n, "(call $two) nop"],
  ["call_indirect", [], 5n, "(call_indirect (i32.const 0)) nop"],
  // local.get, if, local.get, i32.const, i32.sub, call: 6 a level, 2 in the last.
  [
    "recursion",
    [5],
    32n,
    "(param i32) (if (local.get 0) (then (call $recursion (i32.sub (local.get 0) (i32.const 1)))))",
  ],
  ["fill_0", [0], 4n, "(param i32) (memory.fill (i32.const 0) (i32.const 0) (local.get 0))"],
  ["fill_7", [7], 4n, "(param i32) (memory.fill (i32.const 0) (i32.const 0) (local.get 0))"],
  ["fill_8", [8], 5n, "(param i32) (memory.fill (i32.const 0) (i32.const 0) (local.get 0))"],
  ["copy", [], 4n + 1000n, "(memory.copy (i32.const 100) (i32.const 0) (i32.const 8000))"],
  ["init", [], 4n + 2n, "(memory.init $data (i32.const 0) (i32.const 0) (i32.const 16))"],
  ["table_fill", [], 4n + 3n, "(table.fill $t (i32.const 1) (ref.null func) (i32.const 3))"],
  ["table_copy", [], 4n + 5n, "(table.copy $t $t (i32.const 1) (i32.const 2) (i32.const 5))"],
  ["table_init", [], 4n + 1n, "(table.init $t $elements (i32.const 4) (i32.const 0) (i32.const 1))"],
  ["table_grow", [], 4n + 2n, "(drop (table.grow $t (ref.null func) (i32.const 2)))"],
  ["table_grow_refused", [], 4n + 5000n, "(drop (table.grow $t (ref.null func) (i32.const 5000)))"],
  ["memory_grow", [], 3n + 1000n, "(drop (memory.grow (i32.const 1)))"],
  ["memory_grow_refused", [], 3n + 1000n, "(drop (memory.grow (i32.const 10)))"],
  ["memory_size", [], 2n, "(drop (memory.size))"],
  ["host_call", [], 2n + HOST_CALL, "(drop (call $host))"],
  ["host_call_indirect", [], 3n + HOST_CALL, "(drop (call_indirect (result i32) (i32.const 9)))"],
];

const TEXT = `(module (import "env" "host" (func $host (result i32)))
  (memory (export "memory") 1 2) (table $t 10 20 funcref) (elem (i32.const 0) func $two) (elem (i32.const 9) func $host)
  (data $data "0123456789abcdef") (elem $elements func $two)
  (func $two nop nop)
  ${CASES.map(([name, , , code]) => `(func $${name} (export "${name}") ${code})`).join("\n")})`;

function withVm<T>(image: Image, run: (vm: MicroVM) => T): T {
  const vm = MicroVM.bootSync(image, { unknownImports: "default" });
  try {
    return run(vm);
  } finally {
    vm.dispose();
  }
}

describe("counted by hand", () => {
  const bytes = wat("cases", TEXT);

  it("the reference counts so", () => {
    const { exports } = new WebAssembly.Instance(
      new WebAssembly.Module(countingModule(bytes) as Uint8Array<ArrayBuffer>),
      { env: { host: () => 0 } },
    );
    const count = exports[COUNT] as { value: bigint };
    for (const [name, args, cost] of CASES) {
      count.value = 0n;
      (exports[name] as (...values: readonly number[]) => unknown)(...args);
      // V8 knows nothing of what a host call costs.
      expect([name, count.value]).toEqual([name, name.startsWith("host_call") ? cost - HOST_CALL : cost]);
    }
  });

  it.each(WAYS.map((way) => [wayName(way), way] as const))("%s", async (_, way) => {
    const image = await compile(bytes, { metering: true, cache: CACHE_FOLDER, ...way });
    withVm(image, (vm) => {
      expect(vm.fuelUsed).toBe(0n);
      for (const [name, args, cost] of CASES) {
        vm.callSync(name, ...args);
        expect([name, vm.fuelUsed]).toEqual([name, cost]);
      }
    });
  });

  it("a start function, several modules, and an import that is another module's", async () => {
    const image = await imageOfModules(
      [
        ["lib", '(module (func (export "three") nop nop nop) (func $start nop nop) (start $start))'],
        [
          "main",
          '(module (import "lib" "three" (func $three)) (func $start (call $three)) (start $start) (func (export "twice") (call $three) (call $three)))',
        ],
      ],
      { metering: true },
    );
    withVm(image, (vm) => {
      expect(vm.fuelUsed).toBe(2n + 4n);
      vm.callSync("twice");
      expect(vm.fuelUsed).toBe(8n);
    });
  });

  it.skipIf(!hasSimde)("vectors", async () => {
    const module = wat(
      "vectors",
      `(module (memory 1) (func (export "f") (param i32) (result i32)
        (loop
          (v128.store (i32.const 16) (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 (v128.load (i32.const 0)) (v128.const i32x4 1 2 3 4)))
          (v128.store32_lane 1 (i32.const 32) (i32x4.replace_lane 1 (v128.load32_zero (i32.const 4)) (local.get 0)))
          (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i32x4.extract_lane 2 (v128.load (i32.const 16)))))`,
    );
    for (const way of WAYS.slice(1, 3)) {
      const image = await compile(module, { metering: true, cache: CACHE_FOLDER, ...way });
      withVm(image, (vm) => {
        vm.callSync("f", 7);
        expect(vm.fuelUsed).toBe(7n * 17n + 3n);
      });
    }
  });
});

describe("traps", () => {
  /** Every kind of way to stop in the middle; what stands behind it in its stretch is paid already. */
  const TRAPS: readonly (readonly [name: string, cost: bigint, code: string])[] = [
    ["unreachable", 2n, "nop unreachable"],
    ["load", 6n, "nop (drop (i32.load (i32.const -1))) nop nop"],
    ["store", 5n, "nop (i32.store (i32.const -1) (i32.const 1)) nop"],
    [
      "divide",
      7n,
      "(param i32) (block (br_if 0 (local.get 0)) (drop (i32.div_s (i32.const 1) (local.get 0))) nop)",
    ],
    // Three rounds of 8 and the fourth, which traps in its first part.
    [
      "load_in_loop",
      32n,
      "(local i32) (loop (drop (i32.load (local.tee 0 (i32.add (local.get 0) (i32.const 16384))))) nop (br 0))",
    ],
    ["loads_before_a_loop", 3n, "(drop (i32.load (i32.const -1))) (loop nop nop nop (br 0))"],
    ["store_before_a_loop", 3n, "(i32.store (i32.const -1) (i32.const 1)) (loop nop nop nop (br 0))"],
  ];
  it.each(WAYS.map((way) => [wayName(way), way] as const))("cost what began, %s", async (_, way) => {
    const text = `(module (memory 1) ${TRAPS.map(([name, , code]) => `(func (export "${name}") ${code})`).join("\n")})`;
    const image = await compile(wat("traps", text), { metering: true, cache: CACHE_FOLDER, ...way });
    for (const [name, cost] of TRAPS) {
      const vm = MicroVM.bootSync(image);
      expect(() => vm.callSync(name, ...(name === "divide" ? [0] : []))).toThrow();
      expect([name, vm.fuelUsed]).toEqual([name, cost]);
      vm.dispose();
    }
  });
});

describe("programs", () => {
  const kernels = new URL("../../bench/kernels/", import.meta.url);
  const sizes = new Map(
    (
      JSON.parse(readFileSync(new URL("kernels.json", kernels), "utf8")) as { name: string; quickN: number }[]
    ).map(({ name, quickN }) => [name, quickN]),
  );
  it.each(["lz", "json", "interp", "dispatch", "nbody"])("%s costs as much as V8 counts", async (name) => {
    const bytes = readFileSync(new URL(`wasm/${name}.wasm`, kernels));
    const n = sizes.get(name) as number;
    const counting = new WebAssembly.Module(countingModule(bytes) as Uint8Array<ArrayBuffer>);
    const { exports } = new WebAssembly.Instance(counting, {});
    (exports["kernel_run"] as (n: number) => unknown)(n);
    const expected = (exports[COUNT] as WebAssembly.Global).value as bigint;
    expect(expected).toBeGreaterThan(100_000n);
    for (const way of [WAYS[0], WAYS.at(-1)]) {
      const image = await compile(bytes, { metering: true, cache: CACHE_FOLDER, ...way });
      withVm(image, (vm) => {
        vm.callSync("kernel_run", n);
        expect(vm.fuelUsed).toBe(expected);
      });
    }
  });

  it(
    "random ones cost as much as V8 counts, and no more than a limit of that",
    async () => {
      const units = Array.from({ length: 12 }, (_, i) => ownUnit(7_000_000 + i).unit);
      const counting = units.map((unit) => countingUnit(unit));
      for (const optimize of [0, 3] as const) {
        const vm = bootUnits(await compileUnits(units, { optimize, metering: true }));
        let compared = 0;
        units.forEach((unit, i) => {
          compared += compareUnit(unit, counting[i] as Unit, new VmEngine(vm, unit, i), () => vm.fuelUsed);
        });
        vm.dispose();
        expect(compared).toBeGreaterThan(60);
      }
    },
    180_000 * slowness,
  );
});

const countingUnit = (unit: Unit): Unit => ({
  ...unit,
  modules: unit.modules.map((module) => ({ ...module, bytes: countingModule(module.bytes) })),
});

/** @returns how many calls cost the same; a call that traps has paid for more than it executed */
function compareUnit(unit: Unit, counting: Unit, vm: VmEngine, fuelUsed: () => bigint): number {
  const v8 = new V8Engine(counting);
  const instantiated: string[] = [];
  const total = (): bigint => instantiated.reduce((sum, name) => sum + v8.global(name, COUNT), 0n);
  let compared = 0;
  const same = (what: string, inV8: { kind: string }, inVm: { kind: string }, before: bigint): void => {
    expect([what, inVm.kind]).toEqual([what, inV8.kind]);
    if (inV8.kind !== "values") return;
    expect([unit.origin, what, fuelUsed()]).toEqual([unit.origin, what, total() - before]);
    compared++;
  };
  for (const { name } of unit.modules) {
    const before = total();
    const inV8 = v8.instantiate(name);
    const inVm = vm.instantiate(name);
    // Without its instance nothing more can be asked of the unit.
    if (inV8.kind !== "values") return compared;
    instantiated.push(name);
    same(`instantiating ${name}`, inV8, inVm, before);
  }
  for (const { module, export: name, args } of unit.calls) {
    const before = total();
    same(`${module}.${name}`, v8.call(module, name, args), vm.call(module, name, args), before);
  }
  return compared;
}

describe("a limit", () => {
  it("of exactly what a call costs lets it come to its end; one less does not", async () => {
    const image = await compile(wat("cases", TEXT), { metering: true, cache: CACHE_FOLDER });
    for (const [name, args, cost] of CASES) {
      if (cost === 0n) continue;
      const enough = MicroVM.bootSync(image, { unknownImports: "default", fuel: cost });
      enough.callSync(name, ...args);
      expect([name, enough.fuelUsed]).toEqual([name, cost]);
      enough.dispose();
      const short = MicroVM.bootSync(image, { unknownImports: "default", fuel: cost - 1n });
      await failure(() => short.callSync(name, ...args), "BARECELL_FUEL_EXHAUSTED");
      expect([name, short.fuelUsed]).toEqual([name, cost - 1n]);
      expect(short.state).toBe("poisoned");
      short.dispose();
    }
  });
});
