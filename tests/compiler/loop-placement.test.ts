/** Where short loops come to lie: what is written into the assembler text, and what the assembler makes of it. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { placeLoops } from "../../src/compiler/loop-placement.ts";

const folder = mkdtempSync(join(tmpdir(), "barecell-loops-"));
afterAll(() => rmSync(folder, { recursive: true }));

const ALIGN = "\t.p2align 5\n\t.p2align 3\n";
/** A loop of so many bytes and twelve lines: the last one is a jump of two bytes, or of six where it is long. */
function loop(label: string, bytes: number, head = ALIGN): string {
  const jump = bytes > 128 ? 6 : 2;
  return `${head}${label}:\n${"\tnop\n".repeat(10)}\t.skip ${bytes - jump - 10}, 0x90\n\tjne\t${label}\n`;
}
const functionOf = (body: string): string =>
  `\t.text\n\t.p2align 4\n\t.globl\tf\n\t.type\tf, @function\nf:\n\t.cfi_startproc\n${body}\tret\n\t.cfi_endproc\n\t.size\tf, .-f\n`;

/** Places of the labels in the section, by the assembler itself. */
function placesOf(assembly: string): Map<string, number> {
  const source = join(folder, "f.s");
  const object = join(folder, "f.o");
  writeFileSync(source, assembly);
  execFileSync("cc", ["-c", "-Wa,--keep-locals", source, "-o", object]);
  const table = execFileSync("nm", [object], { encoding: "utf8" });
  const rows = [...table.matchAll(/^([0-9a-f]+) \w (\S+)$/gm)];
  return new Map(rows.map(([, at = "", name = ""]) => [name, Number.parseInt(at, 16)]));
}

describe("a loop", () => {
  const cases: readonly (readonly [bytes: number, offset: number])[] = [
    [20, 0],
    [40, 0],
    [64, 0],
    [65, 32],
    [71, 32],
    [75, 32],
    [76, 0],
    [128, 0],
    [135, 32],
    [139, 32],
    [140, 0],
    [300, 0],
  ];
  it.each(cases)("of %i bytes begins at byte %i of a line", (bytes, offset) => {
    for (const before of [0, 1, 37, 63]) {
      const places = placesOf(placeLoops(functionOf(`\t.skip ${before}, 0x90\n${loop(".L3", bytes)}`)));
      expect((places.get(".L3") ?? -1) % 64).toBe(offset);
      expect((places.get(".Lbc_loop_end_0") ?? -1) - (places.get(".L3") ?? -1)).toBe(bytes);
    }
  });

  it("with jumps to its head from within is as long as the last of them", () => {
    const body = `${ALIGN}.L3:\n${"\tnop\n".repeat(10)}\t.skip 20, 0x90\n\tje\t.L3\n\t.skip 37, 0x90\n\tjne\t.L3\n`;
    const places = placesOf(placeLoops(functionOf(body)));
    expect((places.get(".L3") ?? -1) % 64).toBe(32);
  });

  it("around another one stays where it was, and the inner one is placed", () => {
    const outer = `${ALIGN}.L2:\n\tnop\n${loop(".L3", 71)}\tnop\n\tjne\t.L2\n`;
    const text = functionOf(outer);
    const placed = placeLoops(text);
    expect(placed.match(/\.nops/g)).toHaveLength(1);
    expect(placed).toContain(`${ALIGN}.L2:`);
    expect((placesOf(placed).get(".L3") ?? -1) % 64).toBe(32);
  });

  it("two of them, each by itself", () => {
    const places = placesOf(placeLoops(functionOf(loop(".L3", 71) + loop(".L4", 30))));
    expect((places.get(".L3") ?? -1) % 64).toBe(32);
    expect((places.get(".L4") ?? -1) % 64).toBe(0);
  });
});

describe("what stays as it is", () => {
  it.each([
    ["a loop that the compiler did not align", functionOf(loop(".L3", 71, ""))],
    ["a loop with another alignment", functionOf(loop(".L3", 71, "\t.p2align 4,,10\n\t.p2align 3\n"))],
    ["a jump forward", functionOf(`\tjne\t.L3\n${ALIGN}.L3:\n\tnop\n`)],
    ["clang's labels", functionOf(loop(".LBB0_1", 71))],
    [
      "a jump from another section",
      functionOf(`${ALIGN}.L3:\n\tnop\n\t.section\t.text.unlikely\n\tjmp\t.L3\n\t.text\n`),
    ],
    ["a loop of few instructions", functionOf(`${ALIGN}.L3:\n\t.skip 69, 0x90\n\tjne\t.L3\n`)],
    ["a long loop", functionOf(`${ALIGN}.L3:\n${"\tnop\n".repeat(60)}\tjne\t.L3\n`)],
    ["no code at all", ""],
  ])("%s", (_, text) => expect(placeLoops(text)).toBe(text));
});

it("the text of a real function is changed at its loop only", () => {
  const source = join(folder, "g.c");
  const steps = Array.from({ length: 6 }, (_, i) => `s += a[i + ${i}] * ${2 * i + 3};`).join(" ");
  writeFileSync(
    source,
    `int g(int* a, int n) { int s = 0; for (int i = 0; i < n; i++) { ${steps} __asm__ volatile("" ::: "memory"); } return s; }\n`,
  );
  const assembly = join(folder, "g.s");
  execFileSync("gcc", ["-O2", "-falign-loops=32", "-S", source, "-o", assembly]);
  const text = readFileSync(assembly, "utf8");
  const placed = placeLoops(text);
  expect(placed.match(/\.nops/g)).toHaveLength(1);
  const instructions = (all: string): string[] => all.match(/^\t[a-z].*$/gm) ?? [];
  expect(instructions(placed)).toEqual(instructions(text));
  placesOf(placed);
});
