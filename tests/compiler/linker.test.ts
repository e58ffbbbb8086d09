/** Which import of which module becomes what: decided when compiling, without a VM. */
import { describe, expect, it } from "vitest";
import { EntryList } from "../../src/compiler/entries.ts";
import { linkedSymbols, mailboxSlots } from "../../src/compiler/glue.ts";
import { dataInImage, linearLayout } from "../../src/compiler/linear-layout.ts";
import { type LinkPlan, type LinkUnit, linkModules } from "../../src/compiler/linker.ts";
import { ModuleInfo, readModule } from "../../src/compiler/wasm-reader.ts";
import { BarecellError, type ErrorCode } from "../../src/errors.ts";
import { wat } from "../support/modules.ts";

type Entry = readonly [name: string, text: string, link?: Readonly<Record<string, string>>];

const units = (modules: readonly Entry[]): LinkUnit[] =>
  modules.map(([name, text, link = {}]) => ({
    name,
    link,
    info: readModule(wat("module", `(module ${text})`)),
  }));
const plan = (...modules: Entry[]): LinkPlan => linkModules(units(modules));

/** As `failure` of the tests of the built package, whose error class is another one than the sources'. */
function failure(link: () => unknown, code: ErrorCode): BarecellError {
  try {
    link();
  } catch (error) {
    if (!(error instanceof BarecellError)) throw error;
    expect(error.code, error.message).toBe(code);
    return error;
  }
  throw new Error(`expected ${code}, but it was linked`);
}

const BASE = `(func (export "f") (param i32) (result i64) (i64.const 0)) (func $hidden) (memory (export "m") 2 5)
  (table (export "t") 3 9 funcref) (table (export "x") 1 externref)
  (global (export "c") i32 (i32.const 1)) (global (export "v") (mut f64) (f64.const 2))`;

/** A module that imports `what` from base. */
const importing = (what: string): Entry => ["user", `(import "base" ${what})`];
const LINK_FAILED = "BARECELL_LINK_FAILED";

describe("imports", () => {
  it("are exports of earlier modules, or the host's, whose ports count through all modules", () => {
    const { modules, hostImports } = plan(
      ["base", `(import "env" "a" (func)) ${BASE}`],
      [
        "user",
        `(import "base" "f" (func (param i32) (result i64))) (import "env" "b" (func)) (import "base" "v" (global (mut f64)))`,
      ],
      ["last", `(import "env" "a" (func))`],
    );
    expect(modules.map(({ imports }) => imports)).toEqual([
      [{ from: "host", port: 0 }],
      [
        { from: "module", module: 0, exportIndex: 0 },
        { from: "host", port: 1 },
        { from: "module", module: 0, exportIndex: 5 },
      ],
      [{ from: "host", port: 2 }],
    ]);
    expect(hostImports).toEqual([
      { module: 0, importIndex: 0 },
      { module: 1, importIndex: 1 },
      { module: 2, importIndex: 0 },
    ]);
  });

  it("from its own name are the host's: a file may be called 'env'", () => {
    expect(plan(["env", `(import "env" "f" (func)) (func (export "f"))`]).hostImports).toHaveLength(1);
  });

  it("go by `link` where it names one, and by nothing that an object inherits", () => {
    const linked = plan(
      ["base", BASE],
      ["other", BASE],
      ["user", `(import "base" "m" (memory 1))`, { base: "other" }],
    );
    expect(linked.modules[2]?.imports).toEqual([{ from: "module", module: 1, exportIndex: 1 }]);
    const inherited = plan(
      ["base", BASE],
      ["user", `(import "toString" "f" (func)) (import "constructor" "f" (func))`],
    );
    expect(inherited.hostImports).toHaveLength(2);
    const own = plan(["__proto__", BASE], ["user", `(import "__proto__" "m" (memory 1))`]);
    expect(own.modules[1]?.imports).toEqual([{ from: "module", module: 0, exportIndex: 1 }]);
  });

  it.each([
    [
      "a later module",
      [
        ["a", `(import "b" "f" (func))`],
        ["b", `(func (export "f"))`],
      ],
      "comes later",
    ],
    [
      "a cycle",
      [
        ["a", `(import "b" "f" (func)) (func (export "f"))`],
        ["b", `(import "a" "f" (func)) (func (export "f"))`],
      ],
      "comes later",
    ],
    ["itself, by link", [["a", `(import "env" "f" (func)) (func (export "f"))`, { env: "a" }]], "itself"],
    ["what nobody exports", [["base", BASE], importing(`"hidden" (func)`)], "exports no 'hidden'"],
    ["another kind", [["base", BASE], importing(`"f" (memory 1)`)], "is a func, not a memory"],
    [
      "other parameters",
      [["base", BASE], importing(`"f" (func (param i64) (result i64))`)],
      "(i32) -> (i64), not (i64) -> (i64)",
    ],
    [
      "more parameters",
      [["base", BASE], importing(`"f" (func (param i32 i32) (result i64))`)],
      "not (i32, i32)",
    ],
    ["no result", [["base", BASE], importing(`"f" (func (param i32))`)], "not (i32) -> ()"],
    [
      "a constant as mutable",
      [["base", BASE], importing(`"c" (global (mut i32))`)],
      "constant global of type i32, not a mutable",
    ],
    ["a variable as constant", [["base", BASE], importing(`"v" (global f64)`)], "mutable global"],
    [
      "a global of another type",
      [["base", BASE], importing(`"c" (global i64)`)],
      "not a constant global of type i64",
    ],
    [
      "elements of another type",
      [["base", BASE], importing(`"t" (table 1 externref)`)],
      "its elements are funcrefs",
    ],
    [
      "a memory with a smaller maximum",
      [["base", BASE], importing(`"m" (memory 1 4)`)],
      "its maximum is 5, and at most 4",
    ],
    [
      "a memory that cannot become so large",
      [["base", BASE], importing(`"m" (memory 6)`)],
      "cannot grow to the 6",
    ],
    [
      "a maximum of what has none",
      [["base", BASE], importing(`"x" (table 1 5 externref)`)],
      "it has no maximum",
    ],
    [
      "a table that cannot become so large",
      [["base", BASE], importing(`"t" (table 10 funcref)`)],
      "cannot grow to the 10",
    ],
  ] as [string, Entry[], string][])("are refused from %s", (_, modules, message) => {
    const error = failure(() => plan(...modules), LINK_FAILED);
    expect(error.message).toContain(message);
    expect(error.message).toContain("cannot import");
  });

  it.each(["memory", "table", "global"])("of a %s are no host's business", (kind) => {
    const types: Record<string, string> = { memory: "1", table: "1 funcref", global: "i32" };
    const error = failure(
      () => plan(["user", `(import "env" "it" (${kind} ${types[kind]}))`]),
      "BARECELL_MODULE_UNSUPPORTED",
    );
    expect(error.message).toContain(`'user' imports the ${kind} 'env.it'`);
    expect(error.message).toContain("a module named 'env'");
  });

  it("stop at 16,384 functions of the host, counted over all modules", () => {
    const unit = (name: string, count: number): LinkUnit => {
      const info = new ModuleInfo();
      const type = { params: [], results: [] };
      for (let i = 0; i < count; i++) {
        info.imports.push({ module: "env", name: `f${i}`, kind: "func", typeIndex: 0, type });
      }
      return { name, info, link: {} };
    };
    expect(linkModules([unit("a", 16_000), unit("b", 384)]).hostImports).toHaveLength(16_384);
    failure(() => linkModules([unit("a", 16_000), unit("b", 385)]), "BARECELL_MODULE_UNSUPPORTED");
  });

  it("take a time that grows with their number, not with its square", () => {
    const count = 200_000;
    const type = { params: [], results: [] };
    const [base, middle, user] = [new ModuleInfo(), new ModuleInfo(), new ModuleInfo()];
    for (const info of [base, middle, user]) info.types.push(type);
    for (let i = 0; i < count; i++) {
      for (const info of [base, middle, user]) info.functions.push(0);
      base.exports.push({ name: `f${i}`, kind: "func", index: i });
      // Exported again in the other order, so that no cleverness about neighbours helps.
      middle.exports.push({ name: `f${i}`, kind: "func", index: count - 1 - i });
      middle.imports.push({ module: "base", name: `f${i}`, kind: "func", typeIndex: 0, type });
      user.imports.push({ module: "middle", name: `f${i}`, kind: "func", typeIndex: 0, type });
    }
    middle.imported.func = count;
    user.imported.func = count;
    const { modules } = linkModules([
      { name: "base", info: base, link: {} },
      { name: "middle", info: middle, link: {} },
      { name: "user", info: user, link: {} },
    ]);
    expect(modules[2]?.imports[count - 1]).toEqual({ from: "module", module: 1, exportIndex: count - 1 });
  });
});

describe("limits of memories and tables", () => {
  it("that growth can still satisfy are checked at instantiation", () => {
    const { modules } = plan(
      ["base", BASE],
      [
        "user",
        `(import "base" "t" (table 3 funcref)) (import "base" "m" (memory 4)) (import "base" "t" (table 9 20 funcref)) (import "base" "x" (table 1000000 externref))`,
      ],
    );
    expect(modules[1]?.sizeChecks).toEqual([
      { importIndex: 1, kind: "memory", minimum: 4 },
      { importIndex: 2, kind: "table", minimum: 9 },
      { importIndex: 3, kind: "table", minimum: 1_000_000 },
    ]);
    expect(modules[0]?.sizeChecks).toEqual([]);
  });

  it("are those of the module that defines them, however often they were exported again", () => {
    const again: Entry = ["again", `(import "base" "m" (memory $m 1)) (export "mem" (memory $m))`];
    const thrice: Entry = ["thrice", `(import "again" "mem" (memory $m 1)) (export "mem" (memory $m))`];
    // `again` asks for no maximum, and the memory has one all the same.
    const { modules, memories } = plan(["base", BASE], again, thrice, [
      "user",
      `(import "thrice" "mem" (memory 2 5))`,
    ]);
    expect(modules[3]?.sizeChecks).toEqual([]);
    expect(memories).toEqual([{ module: 0, index: 0 }]);
    expect(modules.map((module) => module.memories)).toEqual([[0], [0], [0], [0]]);
    failure(
      () => plan(["base", BASE], again, thrice, ["user", `(import "thrice" "mem" (memory 2 4))`]),
      LINK_FAILED,
    );
  });
});

describe("memories", () => {
  it("the main module's comes first, its own or an imported one", () => {
    const own = plan(["a", "(memory 1)"], ["b", ""], ["c", "(memory 2)"], ["main", "(memory 3)"]);
    expect(own.memories.map(({ module }) => module)).toEqual([3, 0, 2]);
    expect(own.modules.map(({ memories }) => memories)).toEqual([[1], [], [2], [0]]);
    const imported = plan(
      ["a", "(memory 1)"],
      ["b", `(memory (export "m") 2)`],
      ["main", `(import "b" "m" (memory 1))`],
    );
    expect(imported.memories.map(({ module }) => module)).toEqual([1, 0]);
    expect(imported.modules.map(({ memories }) => memories)).toEqual([[1], [0], [0]]);
    expect(plan(["a", "(memory 1)"], ["main", ""]).memories).toEqual([{ module: 0, index: 0 }]);
  });

  it("are at most 100", () => {
    const list = (count: number): Entry[] => Array.from({ length: count }, (_, i) => [`m${i}`, "(memory 0)"]);
    expect(plan(...list(100)).memories).toHaveLength(100);
    const error = failure(() => plan(...list(101)), "BARECELL_MODULE_UNSUPPORTED");
    expect(error.message).toContain("101 linear memories");
  });
});

describe("data in the image", () => {
  it.each([
    ["its own memory", `(memory 1) (data (i32.const 65530) "123456")`, true],
    ["no segments", "(memory 1)", true],
    ["passive segments", `(memory 1) (data "x")`, true],
    ["a segment past the end, which has to trap", `(memory 1) (data (i32.const 65530) "1234567")`, false],
    [
      "an offset that only instantiation knows",
      `(import "a" "g" (global i32)) (memory 1) (data (global.get 0) "x")`,
      false,
    ],
    ["somebody else's memory", `(import "a" "m" (memory 1)) (data (i32.const 0) "x")`, false],
    [
      "elements for somebody else's table, which may trap first",
      `(import "a" "t" (table 1 funcref)) (memory 1) (data (i32.const 0) "x") (func $f) (elem (i32.const 0) $f)`,
      false,
    ],
    [
      "elements for its own table",
      `(table 1 funcref) (memory 1) (data (i32.const 0) "x") (func $f) (elem (i32.const 0) $f)`,
      true,
    ],
  ])("%s", (_, text, expected) => {
    const bytes = wat("module", `(module ${text})`);
    const info = readModule(bytes);
    expect(dataInImage(info)).toBe(expected);
    const { chunks } = linearLayout(bytes, info, 0, 3);
    if (!expected) expect(chunks).toEqual([]);
  });
});

describe("entries and symbols", () => {
  const modules = units([
    ["base", BASE],
    [
      "user",
      `(import "base" "f" (func $f (param i32) (result i64))) (export "g" (func $f)) (import "base" "v" (global $v (mut f64))) (export "w" (global $v))`,
    ],
  ]);
  it("each exported function is called, each global read, and written if it is mutable", () => {
    const kinds = (onDemand: boolean): string[] =>
      new EntryList(modules, onDemand).list.map((entry) => `${entry.kind} ${entry.module}`);
    const [base, user] = [
      ["call 0", "get 0", "get 0", "set 0"],
      ["call 1", "get 1", "set 1"],
    ];
    expect(kinds(false)).toEqual([...base, ...user]);
    expect(kinds(true)).toEqual(["instantiate 0", ...base, "instantiate 1", ...user]);
  });
  it("each import from a module is made equal to an export", () => {
    expect(linkedSymbols(modules, linkModules(modules))).toBe(
      "w2c_h1q0_i0 = w2c_m0_e0;\nw2c_h1q0_i1 = w2c_m0_e5;\n",
    );
  });
  it("the mailbox has room for the longest type of any module", () => {
    expect(mailboxSlots(modules)).toBe(8);
    const long = units([
      ["a", `(func (param ${"i32 ".repeat(20)}))`],
      ["b", `(func (result ${"i32 ".repeat(30)}) unreachable)`],
    ]);
    expect(mailboxSlots(long)).toBe(30);
  });
});
