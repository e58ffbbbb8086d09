/** How a large module's C is divided: nothing is lost or twice, neighbours stay together, and what has no loop is compiled at a lower level. */
import { describe, expect, it } from "vitest";
import { divide } from "../../src/compiler/parts.ts";

const declare = (index: number): string => `u32 w2c_m0_name_f${index}(w2c_m0*, u32, u32);\n`;
const SHARED = "#define TRAP(x) wasm_rt_trap(x)\nvoid w2c_m0_e0(w2c_m0*);\n";
const HEADER = SHARED + Array.from({ length: 600 }, (_, i) => declare(i)).join("");
const INCLUDE = '#include "m0-impl.h"\n';

const define = (index: number, lines: number, hasLoop = false): string =>
  `u32 w2c_m0_name_f${index}(w2c_m0* instance, u32 var_p0, \n    u32 var_p1) {\n${hasLoop ? "  var_L1:;\n" : ""}${"  var_i0 = var_i1;\n".repeat(lines)}  {\n  }\n}\n`;
const STATIC = "static void init_tables(w2c_m0* instance) {\n  call(instance);\n}\n";
const DATA = "const u8 data_segment_data_w2c_m0_d0[] = {\n  0x20,\n};\n\n";
const EXPORT = "u32 w2c_m0_e0(w2c_m0* instance) {\n  return w2c_m0_name_f1(instance, 0, 0);\n}\n";

/** Two of wasm2c's files, by a hash of the names: the order of the functions is nobody's. */
function files(functions: readonly string[]): string[] {
  const odd = functions.filter((_, i) => i % 2 === 1);
  const even = functions.filter((_, i) => i % 2 === 0).reverse();
  return [
    HEADER,
    `${INCLUDE}\n${DATA}${odd.join("\n")}\n${STATIC}\n${EXPORT}`,
    `${INCLUDE}\n${even.join("\n")}\n`,
  ];
}

describe("dividing", () => {
  const functions = Array.from({ length: 600 }, (_, i) => define(i, i % 7 === 0 ? 400 : 20, i % 3 === 0));
  const parts = divide("m0", files(functions), 2);
  const code = parts.filter(({ name }) => name.endsWith(".c"));

  it("leaves a module alone that wasm2c has not divided", () => {
    expect(divide("m3", ["text"], 2)).toEqual([{ name: "m3.c", text: "text", level: 2 }]);
  });

  it("has each function once, and all else in the first part", () => {
    expect(parts[0]).toEqual({ name: "m0-impl.h", text: SHARED, level: 2 });
    const all = code.map(({ text }) => text).join("");
    for (const text of functions) expect(all.split(text)).toHaveLength(2);
    for (const text of [DATA, STATIC, EXPORT]) expect(code[0]?.text).toContain(text);
    const others = functions.reduce((rest, text) => rest.replace(text, ""), all).split("\n");
    const own = others.filter(
      (line) => line !== "" && !/^#include |^u32 w2c_m0_name_f\d+\(w2c_m0\*, /.test(line),
    );
    expect(own).toEqual((DATA + STATIC + EXPORT).split("\n").filter((line) => line !== ""));
    expect(new Set(code.map(({ name }) => name)).size).toBe(code.length);
    for (const { text } of code) expect(text.split(INCLUDE)).toHaveLength(2);
  });

  it("declares in each part what it uses", () => {
    for (const { text } of code) {
      const used = new Set(text.match(/w2c_m0_name_f\d+/g));
      for (const name of used) expect(text.split(`u32 ${name}(w2c_m0*, u32, u32);\n`)).toHaveLength(2);
      expect(text.match(/\(w2c_m0\*, u32, u32\);/g)).toHaveLength(used.size);
    }
  });

  it("keeps the module's order, in parts of about the same size", () => {
    for (const prefix of [/^m0_\d+\.c$/, /^m0_f\d+\.c$/]) {
      const own = code.filter(({ name }) => prefix.test(name));
      expect(own.length).toBeGreaterThan(1);
      const order = own.flatMap(({ text }) =>
        [...text.matchAll(/^u32 w2c_m0_name_f(\d+)\(w2c_m0\* i/gm)].map(([, n]) => Number(n)),
      );
      expect(order.length).toBeGreaterThan(10);
      expect(order).toEqual([...order].sort((a, b) => a - b));
      const sizes = own.map(({ text }) => text.length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThan(20_000);
    }
  });

  it("compiles long functions without a loop at level 1, and only at level 2", () => {
    for (const { name, text, level } of code) {
      const isSimple = !name.startsWith("m0_f");
      expect(level).toBe(isSimple ? 1 : 2);
      for (const [body] of text.matchAll(/^u32 w2c_m0_name_f\d+\(w2c_m0\* instance[\s\S]*?^\}\n/gm)) {
        expect(body.length > 1000 && !body.includes("var_L1:;")).toBe(isSimple);
      }
    }
    for (const level of [0, 1, 3, "g"] as const) {
      expect(new Set(divide("m0", files(functions), level).map((file) => file.level))).toEqual(
        new Set([level]),
      );
    }
  });

  it("compiles all of a very large module at level 1 where 2 is asked for", () => {
    const many = Array.from({ length: 250 }, (_, i) => define(i, 10_000, true));
    expect(
      new Set(
        divide("m0", files(many), 2)
          .slice(1)
          .map(({ level }) => level),
      ),
    ).toEqual(new Set([1]));
    expect(
      new Set(
        divide("m0", files(many), 3)
          .slice(1)
          .map(({ level }) => level),
      ),
    ).toEqual(new Set([3]));
  });
});
