/** What each example must do, in a VM, whoever built it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import type { MicroVM, WasiOptions } from "../support/barecell.ts";
import { imageOfBytes, withVm } from "../support/modules.ts";

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function runProgram(module: Uint8Array, wasi: WasiOptions): Promise<Ended> {
  const image = await imageOfBytes(module);
  const streams = { stdout: "capture", stderr: "capture" } as const;
  return withVm(image, { wasi: { ...streams, ...wasi } }, async (vm) => {
    const status = await vm.start();
    const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
    return { status, stdout: text(vm.stdout()), stderr: text(vm.stderr()) };
  });
}

/** A line as `words` prints it. */
const counted = (numbers: readonly number[], name: string): string =>
  `${numbers.map((number) => String(number).padStart(8)).join(" ")}${name === "" ? "" : ` ${name}`}\n`;

export async function checkWords(module: Uint8Array): Promise<void> {
  const text = "The cat, the dog\nand THE bird.\tÄpfel äpfel\n\nno line feed at the end";
  const bytes = new TextEncoder().encode(text).length;
  const numbers = [text.split("\n").length - 1, text.split(/\s+/).length, bytes];
  const frequent = `${"4".padStart(8)} the\n${"1".padStart(8)} and\n`;
  expect(await runProgram(module, { args: ["words", "-t", "2"], stdin: text })).toEqual({
    status: 0,
    stdout: counted(numbers, "") + frequent,
    stderr: "",
  });

  const folder = mkdtempSync(join(tmpdir(), "barecell-words-"));
  try {
    mkdirSync(join(folder, "inner"));
    writeFileSync(join(folder, "b"), "one two\n");
    writeFileSync(join(folder, "inner", "a"), "three");
    const ended = await runProgram(module, {
      args: ["words", "/data", "/other"],
      preopens: { "/data": folder },
    });
    expect(ended.stdout).toBe(
      counted([1, 2, 8], "/data/b") + counted([0, 1, 5], "/data/inner/a") + counted([1, 3, 13], "total"),
    );
    expect(ended.stderr).toMatch(/^words: \/other: /);
    expect(ended.status).toBe(1);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export async function checkMarkdown(module: Uint8Array): Promise<void> {
  const markdown = [
    "# A *title* #",
    "",
    "First & `a < b` and **strong *both***,",
    "see [this](https://example.org/?a=1&b=2) or [that](javascript:alert).",
    "- one",
    "- two",
    "  goes on",
    "",
    "1. first",
    "2. second",
    "> quoted",
    "> twice",
    "",
    "---",
    "```",
    "if (a < b) { *p = 0; }",
    "```",
    "2 * 3 \\* 4 <script>",
  ].join("\n");
  const html = [
    "<h1>A <em>title</em></h1>",
    "<p>First &amp; <code>a &lt; b</code> and <strong>strong *both</strong>*,",
    'see <a href="https://example.org/?a=1&amp;b=2">this</a> or [that](javascript:alert).</p>',
    "<ul>\n<li>one</li>\n<li>two\ngoes on</li>\n</ul>",
    "<ol>\n<li>first</li>\n<li>second</li>\n</ol>",
    "<blockquote><p>quoted\ntwice</p></blockquote>",
    "<hr>",
    "<pre><code>if (a &lt; b) { *p = 0; }",
    "</code></pre>",
    "<p>2 * 3 * 4 &lt;script&gt;</p>\n",
  ].join("\n");
  const ended = await runProgram(module, { args: ["markdown"], stdin: markdown });
  expect(ended).toEqual({ status: 0, stdout: html, stderr: "" });
  const missing = await runProgram(module, { args: ["markdown", "/no/such.md"] });
  expect(missing.status).toBe(1);
  expect(missing.stderr).toMatch(/^markdown: /);
}

/** The same filter, written once more. */
function edgesOf(pixels: Uint8Array, width: number, height: number): Uint8Array {
  const grey = (x: number, y: number): number => {
    const cx = Math.min(Math.max(x, 0), width - 1);
    const cy = Math.min(Math.max(y, 0), height - 1);
    const [r = 0, g = 0, b = 0] = pixels.subarray((cy * width + cx) * 4);
    return Math.floor((r * 299 + g * 587 + b * 114 + 500) / 1000);
  };
  const result = new Uint8Array(pixels.length).fill(255);
  const weights = [1, 2, 1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let [dx, dy] = [0, 0];
      for (const [i, weight] of weights.entries()) {
        dx += weight * (grey(x + 1, y + i - 1) - grey(x - 1, y + i - 1));
        dy += weight * (grey(x + i - 1, y + 1) - grey(x + i - 1, y - 1));
      }
      result.fill(Math.min(255, Math.abs(dx) + Math.abs(dy)), (y * width + x) * 4, (y * width + x) * 4 + 3);
    }
  }
  return result;
}

export async function checkEdges(module: Uint8Array): Promise<void> {
  const image = await imageOfBytes(module);
  await withVm(image, {}, (vm) => {
    for (const [width, height] of [
      [1, 1],
      [64, 3],
      [37, 41],
      [300, 200],
    ] as const) {
      const pixels = Uint8Array.from(
        { length: width * height * 4 },
        (_, i) => (i * i * 31 + (i >> 5) * 7) & 255,
      );
      expect(vm.callSync("resize", width, height)).toBe(1);
      vm.memory.write(Number(vm.callSync("input")), pixels);
      const expected = edgesOf(pixels, width, height);
      const above = expected.filter((value, i) => i % 4 === 0 && value > 100).length;
      expect(vm.callSync("edges", 100)).toBe(above);
      const found = vm.memory.read(Number(vm.callSync("output")), pixels.length);
      expect(Buffer.compare(found, expected), `${width} x ${height}`).toBe(0);
    }
    expect(vm.callSync("resize", 0, 5)).toBe(0);
    expect(vm.callSync("resize", 16_384, 16_384)).toBe(0);
  });
}

/** A call by docs/guest-convention.md, step by step. */
function callBytes(vm: MicroVM, name: string, input: Uint8Array): Uint8Array {
  const pointer = Number(vm.callSync("barecell_alloc", input.length)) >>> 0;
  expect(pointer).not.toBe(0);
  vm.memory.write(pointer, input);
  const packed = BigInt.asUintN(64, vm.callSync(name, pointer, input.length) as bigint);
  vm.callSync("barecell_free", pointer, input.length);
  const [result, length] = [Number(packed >> 32n), Number(packed & 0xffff_ffffn)];
  const output = vm.memory.read(result, length);
  if (result !== 0) vm.callSync("barecell_free", result, length);
  return output;
}

const ROUNDS = 2000;

export async function checkBytes(module: Uint8Array): Promise<void> {
  const image = await imageOfBytes(module);
  expect(image.imports).toEqual([]);
  await withVm(image, {}, (vm) => {
    if (image.exports.some(({ name }) => name === "_initialize")) vm.callSync("_initialize");
    const text = (name: string, input: string): string =>
      new TextDecoder().decode(callBytes(vm, name, new TextEncoder().encode(input)));
    const sum = (input: string): unknown => JSON.parse(text("sum_json", input));

    expect(text("upper", "Grüße, z{a` 1")).toBe("GRüßE, Z{A` 1");
    expect(callBytes(vm, "upper", new Uint8Array(0))).toEqual(new Uint8Array(0));
    const every = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(callBytes(vm, "upper", every)).toEqual(every.map((c) => (c >= 97 && c <= 122 ? c - 32 : c)));
    expect(text("upper", "abc".repeat(400_000))).toBe("ABC".repeat(400_000));
    vm.callSync("barecell_free", 0, 0);

    expect(sum("[]")).toEqual({ count: 0, sum: 0 });
    expect(sum(" [ 1 , -2,\n3 ]\t")).toEqual({ count: 3, sum: 2 });
    expect(sum("[-0, 0, -9007199254740991]")).toEqual({ count: 3, sum: -9007199254740991 });
    expect(sum(JSON.stringify(Array.from({ length: 5000 }, (_, i) => i)))).toEqual({
      count: 5000,
      sum: 12_497_500,
    });
    const wrong = [
      "",
      "[",
      "[1",
      "[1,]",
      "[,1]",
      "[1]]",
      "[01]",
      "[+1]",
      "[- 1]",
      "[1.5]",
      "[1 2]",
      '["1"]',
      "{}",
      "[1]\0",
    ];
    for (const input of [
      ...wrong,
      "[9007199254740992]",
      "[9007199254740991,1]",
      "[99999999999999999999999]",
      "[-]",
    ]) {
      expect(sum(input), input).toEqual({ error: "not a list of whole numbers" });
    }

    // What is freed is used again: calls do not eat memory.
    const input = new Uint8Array(4096).fill(0x61);
    callBytes(vm, "upper", input);
    const before = vm.memory.byteLength;
    for (let i = 0; i < ROUNDS; i++) callBytes(vm, "upper", input);
    expect(vm.memory.byteLength - before).toBeLessThan((ROUNDS * input.length) / 4);
  });
}
