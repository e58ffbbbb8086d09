import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import wabtInit from "wabt";
import { readElf } from "../../src/image/elf-reader.ts";
import { demangle, mangleFunction, SymbolTable } from "../../src/image/symbols.ts";

const directory = mkdtempSync(join(tmpdir(), "barecell-symbols-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const WASM2C = join(dirname(createRequire(import.meta.url).resolve("wabt")), "bin", "wasm2c");
const wabt = await wabtInit();

describe("SymbolTable", () => {
  const source = `
.text
.skip 16
.globl first, alias, gap, unsized, outer, inner, last
.type first, @function
.type alias, @function
.type local_alias, @function
.type gap, @function
.type unsized, @function
.type outer, @function
.type inner, @function
.type last, @function
.type data, @object
first: .skip 16
.size first, 16
gap: .skip 8
.size gap, 4
local_alias:
alias: .skip 8
.size alias, 8
.size local_alias, 8
unsized: .skip 16
outer: .skip 8
inner: .skip 8
.size inner, 8
.skip 16
.size outer, 32
data: .skip 4
.size data, 4
nothing: .skip 12
last: .skip 16
`;
  const path = join(directory, "t");
  writeFileSync(`${path}.s`, source);
  execFileSync("cc", [
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,-Ttext=0x300001000",
    "-Wl,-e,first",
    `${path}.s`,
    "-o",
    path,
  ]);
  const table = new SymbolTable(readElf(new Uint8Array(readFileSync(path))));
  const base = 0x3_0000_1000n;
  const find = (offset: number) => {
    const found = table.lookup(base + BigInt(offset));
    return found && `${found.name}+${found.offset}`;
  };

  it("finds functions by address, within their size", () => {
    expect(find(15)).toBeUndefined();
    expect(find(16)).toBe("first+0");
    expect(find(31)).toBe("first+15");
    expect(find(35)).toBe("gap+3");
    expect(find(36)).toBeUndefined();
    expect(find(40)).toBe("alias+0");
  });

  it("takes a function without a size to reach to the next one, or to its section's end", () => {
    expect(find(48)).toBe("unsized+0");
    expect(find(63)).toBe("unsized+15");
    expect(find(112)).toBe("last+0");
    expect(find(127)).toBe("last+15");
    expect(find(128)).toBeUndefined();
  });

  it("finds the inner one of nested functions, and the outer one after it", () => {
    expect(find(64)).toBe("outer+0");
    expect(find(72)).toBe("inner+0");
    expect(find(80)).toBe("outer+16");
    expect(find(95)).toBe("outer+31");
  });

  it("knows functions only", () => {
    expect(find(96)).toBeUndefined();
    expect(find(100)).toBeUndefined();
  });

  it("takes any number", () => {
    for (const rip of [0n, -1n, 2n ** 53n, 2n ** 64n - 1n, 10n ** 30n])
      expect(table.lookup(rip)).toBeUndefined();
  });

  it("finds nothing in a file without symbols", () => {
    execFileSync("strip", [path, "-o", `${path}.stripped`]);
    const stripped = new SymbolTable(readElf(new Uint8Array(readFileSync(`${path}.stripped`))));
    expect(stripped.lookup(base + 16n)).toBeUndefined();
  });
});

const leb = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)]);

/** A module of empty functions: import, named ones (undefined: no name), exports as [name, function index]. */
function moduleOf(names: (string | undefined)[], exports: [string, number][]): Uint8Array {
  const string = (text: string) => {
    const bytes = [...new TextEncoder().encode(text)];
    return [...leb(bytes.length), ...bytes];
  };
  const section = (id: number, bytes: number[]) => [id, ...leb(bytes.length), ...bytes];
  const nameMap = names.flatMap((name, i) => (name === undefined ? [] : [[...leb(i), ...string(name)]]));
  const nameBytes = [...leb(nameMap.length), ...nameMap.flat()];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 0, 0]),
    ...section(3, [...leb(names.length), ...names.map(() => 0)]),
    ...section(7, [
      ...leb(exports.length),
      ...exports.flatMap(([name, index]) => [...string(name), 0, ...leb(index)]),
    ]),
    ...section(10, [...leb(names.length), ...names.flatMap(() => [2, 0, 0x0b])]),
    ...section(0, [...string("name"), 1, ...leb(nameBytes.length), ...nameBytes]),
  ]);
}

let files = 0;
/** What wasm2c itself calls the functions of a module, in order: the exports' wrappers, then the functions. */
function symbolsOf(wasm: Uint8Array, moduleName: string): { wrappers: string[]; functions: string[] } {
  const path = join(directory, `m${files++}`);
  writeFileSync(`${path}.wasm`, wasm);
  execFileSync(process.execPath, [WASM2C, "-n", moduleName, `${path}.wasm`, "-o", `${path}.c`], {
    stdio: "pipe",
  });
  const code = readFileSync(`${path}.c`, "utf8");
  const functions = [...code.matchAll(/^static void (w2c_\w+)\(.*\);$/gm)].map((m) => m[1] ?? "");
  const defined = [...code.matchAll(/^void (w2c_\w+)\(.*\) \{$/gm)].map((m) => m[1] ?? "");
  return { functions, wrappers: defined.filter((name) => !functions.includes(name)) };
}

describe("demangle undoes what wasm2c does", () => {
  const names = [
    "plain",
    "main.x-y",
    "a b",
    "_start",
    "__wasm_call_ctors",
    "trailing_",
    "_",
    "__",
    "_both_",
    "a__b",
    "a___b",
    "9lives",
    "0x41",
    "0xag",
    "0xAG",
    "x0x0x0",
    "00x41",
    "0x",
    "naïve→😀",
    "<core::fmt::Formatter>::new::h0123456789abcdef",
    "operator+=(int, char const*)",
    "dlmalloc",
    "a.constprop.0",
    'tab\tquote"back\\slash',
    "\ufeffbom",
    "wrap_me",
    "w2c_mod_x",
    "$dollar",
  ];

  it.each(["mod", "my-mod_x__y_", "9", "_", "w2c_mod"])(
    "of a module named %s, not exported",
    (moduleName) => {
      const { functions } = symbolsOf(moduleOf(names, []), moduleName);
      expect(functions.map((symbol) => demangle(symbol, moduleName, new Set()))).toEqual(names);
      // Without the list of exports too: no such name ends in _0.
      expect(functions.map((symbol) => demangle(symbol, moduleName))).toEqual(names);
      expect(names.map((name) => mangleFunction(moduleName, name))).toEqual(functions);
    },
  );

  it.each(["mod", "a_b"])("of a module named %s, all exported", (moduleName) => {
    const all = [...names, ""];
    const { functions, wrappers } = symbolsOf(
      moduleOf(
        names.concat("unlike"),
        all.map((name, i) => [name, i]),
      ),
      moduleName,
    );
    const exports = new Set(all);
    expect(wrappers.map((symbol) => demangle(symbol, moduleName, exports))).toEqual(all);
    expect(functions.map((symbol) => demangle(symbol, moduleName, exports))).toEqual([...names, "unlike"]);
    expect(functions.slice(0, -1).every((symbol) => symbol.endsWith("_0"))).toBe(true);
    expect(functions.map((symbol) => demangle(symbol, moduleName))).toEqual([...names, "unlike"]);
  });

  it("unnamed functions", () => {
    const exported: [string, number][] = [
      ["f1", 1],
      ["expo-rt", 3],
      ["", 4],
    ];
    const { functions, wrappers } = symbolsOf(
      moduleOf([undefined, undefined, "x", undefined, undefined], exported),
      "mod",
    );
    const exports = new Set(exported.map(([name]) => name));
    // Function 1 is exported as "f1", so this is its name and no number.
    expect(functions.map((s) => demangle(s, "mod", exports))).toEqual(["func[0]", "f1", "x", "expo-rt", ""]);
    expect(wrappers.map((s) => demangle(s, "mod", exports))).toEqual(["f1", "expo-rt", ""]);
    expect(demangle("w2c_mod_f12", "mod")).toBe("func[12]");
    expect(demangle("w2c_mod_f012", "mod")).toBe("f012");
  });

  it("names that end like wasm2c's suffixes, if the exports are known", () => {
    const exported: [string, number][] = [
      ["foo_0", 0],
      ["foo", 1],
      ["bar", 3],
    ];
    const { functions, wrappers } = symbolsOf(
      moduleOf(["foo_0", "foo", "baz_0", "bar", "qux_7"], exported),
      "mod",
    );
    expect(functions).toEqual([
      "w2c_mod_foo_0_0",
      "w2c_mod_foo_1",
      "w2c_mod_baz_0",
      "w2c_mod_bar_0",
      "w2c_mod_qux_7",
    ]);
    const exports = new Set(exported.map(([name]) => name));
    expect(functions.map((s) => demangle(s, "mod", exports))).toEqual([
      "foo_0",
      "foo",
      "baz_0",
      "bar",
      "qux_7",
    ]);
    expect(wrappers.map((s) => demangle(s, "mod", exports))).toEqual(["foo_0", "foo", "bar"]);
    // Without: _0 is most often a suffix, other numbers are most often part of the name.
    expect(demangle("w2c_mod_baz_0", "mod")).toBe("baz");
    expect(demangle("w2c_mod_qux_7", "mod")).toBe("qux_7");
  });

  it("what the C compiler appends", () => {
    for (const suffix of [
      ".constprop.0",
      ".isra.0",
      ".part.0",
      ".cold",
      ".part.0.cold",
      ".lto_priv.1",
      ".llvm.123",
    ]) {
      expect(demangle(`w2c_mod_dlmalloc0x2Ea_0${suffix}`, "mod", new Set(["dlmalloc.a"]))).toBe("dlmalloc.a");
      expect(demangle(`w2c_mod_f3${suffix}`, "mod")).toBe("func[3]");
    }
  });

  it("wrappers, and functions that are imported", () => {
    const text = `(module (import "env" "im.p-1" (func $i)) (import "a_b" "_x" (func $j)) (table 2 funcref)
      (elem (i32.const 0) $i $j))`;
    const module = wabt.parseWat("t.wat", text);
    const path = join(directory, "imports");
    writeFileSync(`${path}.wasm`, module.toBinary({ write_debug_names: true }).buffer);
    module.destroy();
    execFileSync(process.execPath, [WASM2C, "-n", "mod", `${path}.wasm`, "-o", `${path}.c`], {
      stdio: "pipe",
    });
    const code = readFileSync(`${path}.c`, "utf8");
    for (const [from, name] of [
      ["env", "im.p-1"],
      ["a_b", "_x"],
    ] as const) {
      const symbol = mangleFunction(from, name);
      expect(code).toContain(` ${symbol}(`);
      expect(code).toContain(` wrap_${symbol}(`);
      expect(demangle(symbol, from)).toBe(name);
      expect(demangle(`wrap_${symbol}`, from)).toBe(name);
      expect(demangle(symbol, "mod")).toBeUndefined();
    }
    // "a" is not "a_b".
    expect(demangle(mangleFunction("a_b", "x"), "a")).toBeUndefined();
  });

  it("symbols that are not of the module, or of nothing", () => {
    const strange = [
      "",
      "main",
      "wasm2c_mod_instantiate",
      "init_memories",
      "w2c_",
      "w2c_mod",
      "w2c_other_x",
      "w2c_modx_a",
    ];
    for (const symbol of strange) expect(demangle(symbol, "mod")).toBeUndefined();
    const impossible = ["a__b", "_a", "a_", "a-b", "a b", "0xFF", "é", "0x61", "a0x5Fb"];
    for (const name of impossible) expect(demangle(`w2c_mod_${name}`, "mod")).toBeUndefined();
    expect(demangle(`w2c_mod_${"0x2E".repeat(100_000)}`, "mod")).toHaveLength(100_000);
    expect(demangle(`w2c_mod_${"_0".repeat(100_000)}`, "mod")).toBeUndefined();
  });
});
