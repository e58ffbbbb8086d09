/** The reader of scripts: what it makes of good ones, and that bad ones are told, never thrown. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Command, nameOfCommand, readScript } from "./script.ts";
import { LineIndex, readForms, stringBytes } from "./sexpr.ts";

const read = (text: string): Command[] => readScript(Buffer.from(text));
const only = (text: string): Command => {
  const commands = read(text);
  expect(commands).toHaveLength(1);
  return commands[0] as Command;
};

describe("forms", () => {
  it.each([
    ["(a (b c)", "never closed"],
    ["(a))", "closes nothing"],
    ['(a "b', "string that does not end"],
    ["(a (; b", "comment that does not end"],
    ["(; (; ;) a", "comment that does not end"],
    [")", "closes nothing"],
  ])("says what is wrong with %j", (text, words) => {
    expect(readForms(Buffer.from(text)).error?.message).toContain(words);
  });

  it("keeps what stands before an error", () => {
    const { forms, error } = readForms(Buffer.from("(a)\n(b)\n(c"));
    expect(forms).toHaveLength(2);
    expect(error?.offset).toBe(8);
  });

  it("reads comments as WebAssembly does", () => {
    const { forms } = readForms(Buffer.from("(; (; ;) ) ;)(a ;; )\n) ;; b\r(c)(;;)"));
    expect(forms).toHaveLength(2);
  });

  it("takes nesting of any depth", () => {
    const depth = 200_000;
    expect(readForms(Buffer.from("(".repeat(depth) + ")".repeat(depth))).error).toBeUndefined();
    expect(readForms(Buffer.from("(".repeat(depth))).error?.offset).toBe(0);
  });

  it("skips annotations", () => {
    expect(readForms(Buffer.from('(@custom "x" (y)) (a)')).forms).toHaveLength(1);
  });

  it.each([
    [String.raw`"a\t\n\r\"\'\\\00\fF"`, [97, 9, 10, 13, 34, 39, 92, 0, 255]],
    [String.raw`"\u{e9}\u{1F600}"`, [0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80]],
    ['"é"', [0xc3, 0xa9]],
  ])("decodes %s", (text, bytes) => {
    const form = readForms(Buffer.from(text)).forms[0];
    expect(form?.kind).toBe("string");
    if (form?.kind === "string") expect([...stringBytes(form)]).toEqual(bytes);
  });

  it("counts lines", () => {
    const lines = new LineIndex(Buffer.from("a\nbc\n\nd"));
    expect([0, 1, 2, 4, 5, 6].map((offset) => lines.lineOf(offset))).toEqual([1, 1, 2, 2, 3, 4]);
  });
});

describe("commands", () => {
  it("keeps a module's text as it is, and its line", () => {
    const command = read("\n\n(module $m ;; a (comment\n  (func))")[0];
    expect(command).toMatchObject({
      kind: "module",
      id: "$m",
      line: 3,
      module: { encoding: "text", line: 3 },
    });
    if (command?.kind !== "module") throw new Error("not a module");
    expect(Buffer.from(command.module.bytes).toString()).toBe("(module $m ;; a (comment\n  (func))");
  });

  it("joins the strings of other encodings", () => {
    const binary = only(String.raw`(module binary "\00a" "sm")`);
    expect(binary).toMatchObject({ module: { encoding: "binary", bytes: Buffer.from("\0asm") } });
    const quote = only('(module $q quote "(fu" "nc)")');
    expect(quote).toMatchObject({ id: "$q", module: { encoding: "quote", bytes: Buffer.from("(func)") } });
  });

  it("takes fields without a module around them as one module", () => {
    const commands = read('(memory 1)\n(func (export "f"))\n(assert_return (invoke "f"))');
    expect(commands.map(nameOfCommand)).toEqual(["module", "assert_return"]);
    expect(commands[0]).toMatchObject({ module: { bytes: Buffer.from('(memory 1)\n(func (export "f"))') } });
  });

  it("reads definitions and instances", () => {
    const text = "(module definition $d (func))(module instance $i $d)(module instance)";
    expect(read(text)).toMatchObject([
      { kind: "definition", id: "$d", module: { bytes: Buffer.from("(module            $d (func))") } },
      { kind: "instance", id: "$i", definition: "$d" },
      { kind: "instance", id: undefined, definition: undefined },
    ]);
    expect(only('(module definition $d binary "x")')).toMatchObject({
      kind: "definition",
      id: "$d",
      module: { encoding: "binary", bytes: Buffer.from("x") },
    });
  });

  it("reads actions and what is expected of them", () => {
    const text = `(assert_return (invoke $m "f" (i32.const -1) (f32.const 0x1p3) (ref.extern 2) (ref.null func))
      (i64.const 0x10) (f64.const nan:canonical) (v128.const f32x4 1 nan:arithmetic 2 3) (ref.func)
      (either (i32.const 1) (i32.const 2)))`;
    expect(only(text)).toMatchObject({
      kind: "returns",
      action: {
        kind: "invoke",
        module: "$m",
        name: "f",
        args: [
          { kind: "constant", text: "i32.const 4294967295" },
          { kind: "constant", text: "f32.const 0x1p3" },
          { kind: "host", number: 2 },
          { kind: "null", type: "funcref" },
        ],
      },
      expected: [
        { kind: "constant", text: "i64.const 16" },
        { kind: "nan", type: "f64", nan: "canonical" },
        { kind: "lanes", laneBytes: 4, nans: [undefined, "arithmetic", undefined, undefined] },
        { kind: "reference", type: "funcref" },
        { kind: "either" },
      ],
    });
  });

  it("reads names as UTF-8, a byte order mark included", () => {
    expect(only(String.raw`(get "\ef\bb\bf\u{e9}")`)).toMatchObject({
      action: { kind: "get", name: "\ufeffé" },
    });
    expect(only(String.raw`(get "\ff")`)).toMatchObject({
      kind: "broken",
      reason: "a name that is not UTF-8",
    });
  });

  it("tells modules that trap from calls that trap", () => {
    expect(only('(assert_trap (module) "x")')).toMatchObject({
      kind: "unusable",
      how: "assert_trap",
      text: "x",
    });
    expect(only('(assert_trap (invoke "f") "x")')).toMatchObject({
      kind: "fails",
      how: "assert_trap",
      text: "x",
    });
  });

  it.each([
    ['(assert_somehow (invoke "f"))', "unknown command 'assert_somehow'"],
    ["(assert_return)", "expected a form in parentheses"],
    ["(assert_return (f))", "expected an action, not 'f'"],
    ["(assert_invalid)", "expected a form in parentheses"],
    ['(assert_invalid (func) "x")', "expected a module"],
    ["(invoke f)", "expected a string"],
    ['(invoke "f" 1)', "expected a value in parentheses"],
    ['(invoke "f" (i32.const))', "takes one number"],
    ['(invoke "f" (i32.const 1.5))', "'1.5' is not a whole number"],
    ['(invoke "f" (i32.const 4294967296))', "does not fit in 32 bits"],
    ['(invoke "f" (v128.const i32x4 1 2 3))', "as many lanes"],
    ['(invoke "f" (i31.const 1))', "unknown kind of value"],
    ['(assert_return (invoke "f") (either))', "'either' without a choice"],
    ['(get "f" (i32.const 1))', "'get' takes no arguments"],
    ['(assert_trap (invoke "f") "a" "b")', "goes on where it should end"],
    ['(module binary "\\zz")', "unknown escape"],
    ["(module quote (func))", "expected a string", "made of strings only"],
    ["word", "no parentheses"],
    ["()", "no name"],
    ['("a")', "no name"],
  ])("tells that %j is wrong", (text, ...words) => {
    const command = only(text);
    expect(command.kind).toBe("broken");
    if (command.kind === "broken") expect(words.some((word) => command.reason.includes(word))).toBe(true);
  });

  it("says where parentheses are not balanced, and runs what stands before", () => {
    const commands = read('(module)\n(invoke "f")\n(assert_return (invoke "g")\n(module)');
    expect(commands.map(({ kind, line }) => [kind, line])).toEqual([
      ["module", 1],
      ["action", 2],
      ["broken", 3],
    ]);
  });

  it("does not throw for any piece of a script", () => {
    const whole = readFileSync(new URL("./fixtures/representative.wast", import.meta.url));
    for (let end = 0; end < whole.length; end += 37) readScript(whole.subarray(0, end));
    for (let at = 0; at < whole.length; at += 17) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] as number) ^ 0x55;
      readScript(damaged);
    }
  });
});
