/** The fuzzer's own reading and writing of modules, and its generators: what they make is valid, and the same for the same seed. */
import { afterAll, describe, expect, it } from "vitest";
import { BinaryenGenerator } from "./generator/binaryen.ts";
import { Streams } from "./generator/choices.ts";
import { generateModule } from "./generator/index.ts";
import { binaryenUnit, ownUnit, replayedUnit } from "./harness/make-unit.ts";
import { makeNansDetermined, NanHelpers, nansAreDetermined } from "./harness/nan.ts";
import type { Unit } from "./harness/unit.ts";
import { Writer } from "./wasm/bytes.ts";
import { decodeModule } from "./wasm/decode.ts";
import { instructions } from "./wasm/instructions.ts";
import { emptyModule, encodeModule, type Module, typeIndex } from "./wasm/module.ts";
import { LOADS_AND_STORES, NUMERIC, type Op, SIMD } from "./wasm/opcodes.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** A function of the instruction alone, with its operands as parameters. */
function moduleOf(op: Op): Module {
  const module = emptyModule();
  module.memories.push({ min: 1, max: 1 });
  const code = new Writer();
  op.params.forEach((_, i) => {
    code.u8(0x20).u32(i);
  });
  if (op.code > 0xff) code.u8(op.code >> 8).u32(op.code & 0xff);
  else code.u8(op.code);
  if (op.immediates.startsWith("memarg")) code.u32(0).u32(0);
  if (op.immediates.endsWith("lane")) code.u8(0);
  if (op.immediates === "v128") code.raw(new Uint8Array(16));
  module.functions.push({
    type: typeIndex(module, { params: op.params, results: op.results }),
    locals: [],
    code: code.u8(0x0b).finish(),
  });
  return module;
}

const TYPED = [...NUMERIC, ...LOADS_AND_STORES, ...SIMD];

describe("table of instructions", () => {
  it.each(TYPED.map((op) => [op.name, op] as const))("%s has its types", (_, op) => {
    expect(() => new WebAssembly.Module(encodeModule(moduleOf(op)))).not.toThrow();
  });

  it("has all of WebAssembly 2.0", () => {
    expect(NUMERIC.length).toBe(136);
    expect(LOADS_AND_STORES.length).toBe(23);
    expect(SIMD.length).toBe(236);
  });
});

const SEEDS = Array.from({ length: 150 }, (_, i) => i);
const bytesOf = (unit: Unit): string[] => unit.modules.map(({ bytes }) => hex(bytes));

describe("own generator", () => {
  it("makes valid modules", () => {
    for (const seed of SEEDS) {
      const { unit } = ownUnit(seed);
      for (const { bytes } of unit.modules) {
        expect(() => new WebAssembly.Module(bytes), `seed ${seed}`).not.toThrow();
      }
    }
  });

  it("makes the same of a seed, and of the decisions that it led to", () => {
    for (const seed of SEEDS.slice(0, 30)) {
      const { unit, decisions } = ownUnit(seed);
      expect(bytesOf(ownUnit(seed).unit)).toEqual(bytesOf(unit));
      const replayed = replayedUnit("again", decisions);
      expect(bytesOf(replayed.unit)).toEqual(bytesOf(unit));
      expect(replayed.unit.calls).toEqual(unit.calls);
    }
  });

  it("makes something small and valid of no decisions at all, and of any", () => {
    const smallest = replayedUnit("nothing", {}).unit;
    expect(smallest.modules.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeLessThan(500);
    const { decisions } = ownUnit(5);
    for (let cut = 0; cut < 200; cut++) {
      const main = (decisions["main"] ?? []).filter((_, i) => i % 200 !== cut);
      for (const { bytes } of replayedUnit("cut", { ...decisions, main }).unit.modules) {
        expect(WebAssembly.validate(bytes)).toBe(true);
      }
    }
  });

  it("uses nearly every instruction", () => {
    const seen = new Set<string>();
    for (const seed of Array.from({ length: 1000 }, (_, i) => i)) {
      const { module } = generateModule(Streams.ofSeed(seed), "main");
      for (const { code } of module.functions) for (const { op } of instructions(code)) seen.add(op.name);
    }
    const missing = TYPED.filter(({ name }) => !seen.has(name)).map(({ name }) => name);
    expect(missing).toEqual([]);
    for (const name of ["call_indirect", "br_table", "memory.init", "table.init", "elem.drop", "select_t"]) {
      expect(seen).toContain(name);
    }
  });
});

describe("binaryen's generator", () => {
  const generator = new BinaryenGenerator();
  afterAll(() => generator.dispose());

  it("makes valid modules, the same of the same seed", async () => {
    for (const seed of SEEDS.slice(0, 6)) {
      const unit = await binaryenUnit(seed, generator);
      for (const { bytes } of unit.modules) {
        expect(() => new WebAssembly.Module(bytes), `seed ${seed}`).not.toThrow();
      }
      expect(bytesOf(await binaryenUnit(seed, generator))).toEqual(bytesOf(unit));
    }
  });

  it("is read and written again without a change to the code", async () => {
    const source = decodeModule(await generator.generate(3));
    const again = decodeModule(encodeModule(source));
    expect(again).toEqual(source);
    expect(source.functions.length).toBeGreaterThan(0);
  });
});

describe("determined NaNs", () => {
  it("a module is changed so that none is left open, and a cut shows", () => {
    for (const rule of ["arithmetic", "observed"] as const) {
      for (const seed of SEEDS.slice(0, 30)) {
        const { module } = generateModule(Streams.ofSeed(seed), "main");
        makeNansDetermined(module, rule, new NanHelpers(module));
        expect(WebAssembly.validate(encodeModule(module))).toBe(true);
        expect(nansAreDetermined(module, rule)).toBe(true);
      }
    }
    const add = moduleOf(NUMERIC.find(({ name }) => name === "f64.add") as Op);
    expect(nansAreDetermined(add, "arithmetic")).toBe(false);
    expect(nansAreDetermined(add, "observed")).toBe(true);
  });
});
