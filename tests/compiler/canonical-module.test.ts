/** No name of the tenant's reaches the C compiler, and every symbol leads back to its function. */
import { describe, expect, it } from "vitest";
import wabtInit from "wabt";
import { canonicalModule, importModule, symbolName } from "../../src/compiler/canonical-module.ts";

import { readModule } from "../../src/compiler/wasm-reader.ts";

const wabt = await wabtInit();

const HOSTILE = [
  "*/ int main(){} /*",
  "\\n#include \\22/etc/passwd\\22",
  "__attribute__",
  "f12",
  "\\e6\\97\\a5\\e6\\9c\\ac",
  "",
  "a b.c-d",
  "_start",
];

describe("canonical module", () => {
  const source = `(module
    ${HOSTILE.map((name, i) => `(import "${name}" "${name}${i}" (func (param i32)))`).join("\n")}
    (memory (export "mem${HOSTILE[0]}") 1) (data (i32.const 8) "data stays")
    ${HOSTILE.map((name, i) => `(func (export "${name}") (result i32) (i32.const ${i}))`).join("\n")})`;
  const module = wabt.parseWat("hostile.wat", source, {}).toBinary({}).buffer;
  const info = readModule(module);
  const canonical = canonicalModule(module, info, () => importModule(0), false);
  const after = readModule(canonical);

  it("has harmless names only", () => {
    expect(after.imports.map((entry) => `${entry.module}.${entry.name}`)).toEqual(
      HOSTILE.map((_, i) => `h0.i${i}`),
    );
    expect(after.exports.map((entry) => entry.name)).toEqual(info.exports.map((_, i) => `e${i}`));
    for (const name of after.functionNames.values()) expect(name).toMatch(/^[A-Za-z0-9_]+$/);
    expect(Buffer.from(canonical).includes("include")).toBe(false);
  });

  it("is the same module otherwise, and valid", () => {
    expect(WebAssembly.validate(canonical)).toBe(true);
    expect(after.types).toEqual(info.types);
    expect(after.functions).toEqual(info.functions);
    expect(after.exports.map(({ kind, index }) => ({ kind, index }))).toEqual(
      info.exports.map(({ kind, index }) => ({ kind, index })),
    );
    expect(after.dataSegments.map((segment) => segment.length)).toEqual([10]);
  });

  it("leaves out data that the image has, and only that", () => {
    const text = `(module (memory 1000) (func (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 7)))
      (data (i32.const 8) "first") (data "passive") (data (i32.const 63) "") (data (i32.const 64) "two") (data (i32.const 65535999) "x"))`;
    const bytes = wabt.parseWat("data.wat", text, {}).toBinary({}).buffer;
    const emptied = canonicalModule(bytes, readModule(bytes), () => importModule(0), true);
    expect(WebAssembly.validate(emptied)).toBe(true);
    const { dataSegments } = readModule(emptied);
    expect(dataSegments.map(({ mode, offset, length }) => [mode, offset, length])).toEqual([
      ["active", 8, 0],
      ["passive", undefined, 7],
      ["active", 63, 0],
      ["active", 64, 0],
      ["active", 65535999, 0],
    ]);
    const kept = Buffer.from(emptied);
    expect(kept.includes("passive")).toBe(true);
    expect(kept.includes("first") || kept.includes("two")).toBe(false);
  });

  it("names functions by their index, whatever they are called", () => {
    expect(symbolName("main", 3)).toBe("main_f3");
    expect(symbolName(undefined, 3)).toBe("f3");
    expect(symbolName("f12", 3)).toBe("f12_f3");
    expect(symbolName("_ZN3foo*/", 7)).toBe("ZN3foo__f7");
    expect(symbolName("x".repeat(5000), 1).length).toBeLessThan(110);
    const names = [...after.functionNames.entries()];
    expect(names.every(([index, name]) => name.endsWith(`f${index}`))).toBe(true);
  });
});
