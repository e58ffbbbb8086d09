/** Constants, patterns and trap texts. */
import { beforeAll, describe, expect, it } from "vitest";
import { checkResults, type ValueType, writeArguments } from "./compare.ts";
import { ConstantPool, constantsOf, SLOT_BYTES } from "./constants.ts";
import { readForms } from "./sexpr.ts";
import { codesOfTrap } from "./traps.ts";
import { type Argument, type Pattern, readArgument, readPattern } from "./values.ts";
import { Wat } from "./wabt.ts";

let wat: Wat;
beforeAll(async () => {
  wat = await Wat.create();
});

const parse = <T>(text: string, read: (form: never) => T): T[] =>
  readForms(Buffer.from(text)).forms.map((form) => read(form as never));
const patterns = (text: string): Pattern[] => parse(text, readPattern as (form: never) => Pattern);
const args = (text: string): Argument[] => parse(text, readArgument as (form: never) => Argument);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

async function encode(text: string): Promise<string> {
  const [value] = args(text);
  if (value?.kind !== "constant") throw new Error("not a constant");
  const slot = (await ConstantPool.encode([value], wat)).slot(value);
  return typeof slot === "string" ? slot : hex(slot);
}

/** @param slots hexadecimal, each filled up with zeros */
async function mismatch(
  text: string,
  types: readonly ValueType[],
  slots: readonly string[],
): Promise<string | undefined> {
  const expected = patterns(text);
  const pool = await ConstantPool.encode(constantsOf(expected), wat);
  const bytes = Buffer.from(slots.map((slot) => slot.padEnd(2 * SLOT_BYTES, "0")).join(""), "hex");
  try {
    checkResults(expected, types, bytes, pool);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

describe("constants", () => {
  it.each([
    ["(i32.const -1)", "ffffffff"],
    ["(i32.const 0xdead_beef)", "efbeadde"],
    ["(i64.const -0x8000000000000000)", "0000000000000080"],
    ["(f32.const -0x1.8p+1)", "000040c0"],
    ["(f32.const nan:0x200001)", "0100a07f"],
    ["(f64.const -inf)", "000000000000f0ff"],
    ["(f64.const 0.1)", "9a9999999999b93f"],
    ["(v128.const i16x8 1 2 3 4 5 6 7 -1)", "01000200030004000500060007 00ffff".replace(" ", "")],
    ["(v128.const f64x2 1 -nan)", "000000000000f03f000000000000f8ff"],
  ])("encodes %s", async (text, bytes) => {
    expect(await encode(text)).toBe(bytes.padEnd(2 * SLOT_BYTES, "0"));
  });

  it("finds the one that is wrong, and keeps the others", async () => {
    const values = args("(f32.const 1) (f32.const 1e) (f64.const 2) (f64.const 0x1p99999)").filter(
      (value) => value.kind === "constant",
    );
    const pool = await ConstantPool.encode(values, wat);
    const slots = values.map((value) => pool.slot(value));
    expect(slots.map((slot) => typeof slot)).toEqual(["object", "string", "object", "string"]);
    expect(slots[1]).toContain("f32.const 1e");
  });
});

describe("arguments", () => {
  const write = async (text: string, types: ValueType[]): Promise<string> => {
    const values = args(text);
    const pool = await ConstantPool.encode(constantsOf(values), wat);
    return hex(writeArguments(values, types, pool));
  };

  it("are written one in a slot", async () => {
    const slots = await write("(i32.const 1) (ref.extern 0) (ref.null extern)", [
      "i32",
      "externref",
      "externref",
    ]);
    expect(slots).toBe(["01", "01", "00"].map((slot) => slot.padEnd(32, "0")).join(""));
  });

  it.each<[string, ValueType[]]>([
    ["(i32.const 1)", ["i64"]],
    ["(i32.const 1)", []],
    ["", ["i32"]],
    ["(ref.null func)", ["externref"]],
    ["(ref.struct)", ["funcref"]],
  ])("%s do not fit (%j)", async (text, types) => {
    await expect(write(text, types)).rejects.toThrow(/argument/);
  });
});

describe("results", () => {
  it.each<[string, ValueType[], string[]]>([
    ["(i32.const -1)", ["i32"], ["ffffffff"]],
    ["(i32.const 1) (i64.const 2)", ["i32", "i64"], ["01", "02"]],
    ["(f32.const nan:canonical)", ["f32"], ["0000c07f"]],
    ["(f32.const nan:canonical)", ["f32"], ["0000c0ff"]],
    ["(f32.const nan:arithmetic)", ["f32"], ["0100c0ff"]],
    ["(f64.const nan:canonical)", ["f64"], ["000000000000f87f"]],
    ["(f64.const nan:arithmetic)", ["f64"], ["010000000000f8ff"]],
    ["(v128.const f32x4 1 nan:canonical -0 nan:arithmetic)", ["v128"], ["0000803f0000c0ff000000800100c07f"]],
    ["(v128.const f64x2 nan:canonical 1)", ["v128"], ["000000000000f87f000000000000f03f"]],
    ["(ref.null extern)", ["externref"], ["00"]],
    ["(ref.null)", ["funcref"], ["00"]],
    ["(ref.extern 0)", ["externref"], ["01"]],
    ["(ref.extern)", ["externref"], ["ff"]],
    ["(ref.func)", ["funcref"], ["10"]],
    ["(either (i32.const 1) (i32.const 2))", ["i32"], ["02"]],
    ["(either (f32.const 1) (f32.const nan:canonical))", ["f32"], ["0000c07f"]],
    ["", [], []],
  ])("%s is %j %j", async (text, types, slots) => {
    expect(await mismatch(text, types, slots)).toBeUndefined();
  });

  it.each<[string, ValueType[], string[]]>([
    ["(i32.const 1)", ["i32"], ["02"]],
    ["(i32.const 1)", ["i64"], ["01"]],
    ["(i32.const 0)", ["f32"], ["00"]],
    ["(i64.const 1)", ["i64"], ["0100000001"]],
    ["(i32.const 1)", [], []],
    ["", ["i32"], ["01"]],
    ["(i32.const 1) (i32.const 2)", ["i32", "i32"], ["01", "03"]],
    ["(f32.const 0)", ["f32"], ["00000080"]],
    ["(f32.const nan)", ["f32"], ["0000c0ff"]],
    ["(f32.const nan:canonical)", ["f32"], ["0100c07f"]],
    ["(f32.const nan:canonical)", ["f32"], ["0000807f"]],
    ["(f32.const nan:arithmetic)", ["f32"], ["0100807f"]],
    ["(f32.const nan:arithmetic)", ["f32"], ["0000803f"]],
    ["(f64.const nan:canonical)", ["f64"], ["0000c07f"]],
    ["(v128.const f32x4 1 nan:canonical 0 0)", ["v128"], ["0000803f0100c07f"]],
    ["(v128.const f32x4 1 nan:canonical 0 0)", ["v128"], ["000080400000c07f"]],
    ["(v128.const f64x2 nan:arithmetic 1)", ["v128"], ["000000000000f07f000000000000f03f"]],
    ["(ref.null extern)", ["externref"], ["01"]],
    ["(ref.null extern)", ["funcref"], ["00"]],
    ["(ref.extern 1)", ["externref"], ["01"]],
    ["(ref.func)", ["funcref"], ["00"]],
    ["(either (i32.const 1) (i32.const 2))", ["i32"], ["03"]],
  ])("%s is not %j %j", async (text, types, slots) => {
    expect(await mismatch(text, types, slots)).toMatch(/expected/);
  });

  it("are not taken for there if they are not", async () => {
    expect(await mismatch("(i32.const 0)", ["i32"], [])).toContain("0 bytes");
  });
});

describe("trap texts", () => {
  it.each([
    ["integer divide by zero", ["BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO"]],
    ["uninitialized element 2", ["BARECELL_TRAP_UNINITIALIZED_ELEMENT"]],
    ["uninitialized", ["BARECELL_TRAP_UNINITIALIZED_ELEMENT"]],
    ["undefined element", ["BARECELL_TRAP_OUT_OF_BOUNDS_TABLE"]],
    ["out of bounds memory access", ["BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY"]],
    ["out of bounds table access", ["BARECELL_TRAP_OUT_OF_BOUNDS_TABLE"]],
    ["indirect call type mismatch", ["BARECELL_TRAP_INDIRECT_CALL_TYPE_MISMATCH"]],
    ["integer", ["BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO", "BARECELL_TRAP_INTEGER_OVERFLOW"]],
    ["null reference", []],
    ["", []],
  ])("'%s' is %j", (text, codes) => {
    expect(codesOfTrap(text)).toEqual(codes);
  });
});
