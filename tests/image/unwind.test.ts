import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readElf } from "../../src/image/elf-reader.ts";
import { SymbolTable } from "../../src/image/symbols.ts";
import { type Frame, type StackBytes, type TrapState, Unwinder } from "../../src/image/unwind.ts";

const directory = mkdtempSync(join(tmpdir(), "barecell-unwind-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/**
 * Calls the functions that its arguments name, each from the one before, and dumps registers and stack: once at an
 * illegal instruction in the innermost ("trap"), or after every single instruction of the whole way ("step").
 */
const SOURCE = `
#define _GNU_SOURCE
${["fcntl", "signal", "stdint", "string", "ucontext", "unistd"].map((name) => `#include <${name}.h>`).join("\n")}
#define FUNC __attribute__((noinline, noclone)) long
typedef long function(int);
static function *path[64];
static volatile int stepping, done;
static volatile long sink;
static int out;
static char *top, alternate[65536];

static void dump(int signal, siginfo_t *info, void *context) {
  greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
  char *stack = (char *)r[REG_RSP];
  long size = top - stack;
  if (write(out, r, 184) != 184 || write(out, &size, 8) != 8 || write(out, stack, size) != size) _exit(3);
  if (signal == SIGILL) _exit(0);
  if (done) r[REG_EFL] &= ~0x100;
}
static inline __attribute__((always_inline)) long next(int i) { return path[i + 1](i + 1); }
FUNC leaf(int i) { if (!stepping) __asm__ volatile("ud2"); return i; }
FUNC plain(int i) { return next(i) + 1; }
FUNC saved(int i) {
  long a = sink + 1, b = sink * 3, c = sink ^ i, d = sink - 2, e = sink + i, f = sink * sink, result = next(i);
  sink = a; sink = b; sink = c; sink = d; sink = e; sink = f;
  return result + a + b + c + d + e + f;
}
FUNC big(int i) { volatile char buffer[3000]; buffer[i] = 1; return next(i) + buffer[i]; }
FUNC huge(int i) { volatile char buffer[300000]; buffer[i] = 1; return next(i) + buffer[i]; }
FUNC dynamic(int i) { volatile char *p = __builtin_alloca(16 + 8 * i + (sink & 15)); p[0] = 1; return next(i) + p[0]; }
FUNC aligned(int i) {
  volatile char buffer[64] __attribute__((aligned(64))), *more = __builtin_alloca(24 + (sink & 7));
  buffer[0] = more[0] = 2;
  return next(i) + buffer[0] + more[0];
}
FUNC many(long a, long b, long c, long d, long e, long f, long g, long h, int i, long k) {
  return next(i) + a + b + c + d + e + f + g + h + k;
}
FUNC arguments(int i) { return many(1, 2, 3, 4, 5, 6, sink, sink + 1, i, 10) + sink; }
FUNC branchy(int i) {
  long a = sink, b = i, result;
  if (sink == 12345) { result = saved(i); sink = a + result; return b; }
  result = next(i);
  sink += b;
  return result + a + b;
}
FUNC wrapped(int i) { return branchy(i) + 5; }
FUNC down(int depth, int i);
static long (*volatile again)(int, int) = down; /* Else gcc makes a loop of it. */
FUNC down(int depth, int i) { return depth == 0 ? next(i) + 1 : again(depth - 1, i) * 3 + depth; }
FUNC recursive(int i) { return down(5, i) + 2; }
/* The call is the last instruction: its return address belongs to the next function. */
__attribute__((noinline, noclone, noreturn)) void gone(int i) { sink = next(i); _exit(4); }
FUNC final(int i) { gone(i); }
FUNC after(int i) { return i; }

#define F(name) { #name, name }
static const struct { const char *name; function *f; } all[] = { F(leaf), F(plain), F(saved), F(big), F(huge),
  F(dynamic), F(aligned), F(arguments), F(branchy), F(wrapped), F(recursive), F(final), F(after) };

int main(int argc, char **argv) {
  top = (char *)argv;
  out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  stepping = !strcmp(argv[2], "step");
  for (int i = 3; i < argc && i < 60; i++)
    for (unsigned k = 0; k < sizeof all / sizeof *all; k++)
      if (!strcmp(argv[i], all[k].name)) path[i - 3] = all[k].f;
  sigaltstack(&(stack_t){ .ss_sp = alternate, .ss_size = sizeof alternate }, 0);
  struct sigaction action = { .sa_sigaction = dump, .sa_flags = SA_SIGINFO | SA_ONSTACK };
  sigaction(SIGILL, &action, 0), sigaction(SIGTRAP, &action, 0);
  if (stepping) __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
  sink = path[0](0);
  return done = 1, 0;
}
`;
writeFileSync(join(directory, "chain.c"), SOURCE);

/** An executable at fixed addresses, of code without frame pointers. */
function build(level: string) {
  const path = join(directory, `chain${level}`);
  const options = "-no-pie -fno-pie -fomit-frame-pointer -fasynchronous-unwind-tables -w".split(" ");
  execFileSync("cc", [level, ...options, join(directory, "chain.c"), "-o", path], { stdio: "pipe" });
  const elf = readElf(new Uint8Array(readFileSync(path)));
  const ehFrame = elf.section(".eh_frame") ?? { address: 0, bytes: new Uint8Array(0) };
  return { path, ehFrame, unwinder: new Unwinder(ehFrame), symbols: new SymbolTable(elf) };
}
type Program = ReturnType<typeof build>;
const O2 = build("-O2");

/** rax, rdx, rcx and so on in Linux's `gregset_t`. */
const DWARF_ORDER = [13, 12, 14, 11, 9, 8, 10, 15, 0, 1, 2, 3, 4, 5, 6, 7];

/** Runs the chain and returns what it dumped. */
function run(program: Program, mode: "trap" | "step", chain: readonly string[]): [TrapState, StackBytes][] {
  const output = join(directory, "dump");
  execFileSync(program.path, [output, mode, ...chain], { timeout: 60_000 });
  const bytes = new Uint8Array(readFileSync(output));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const dumps: [TrapState, StackBytes][] = [];
  for (let at = 0; at < bytes.length; ) {
    const word = (i: number) => view.getBigUint64(at + 8 * i, true);
    const end = at + 192 + Number(word(23));
    const start = { rip: word(16), rsp: word(15), registers: DWARF_ORDER.map(word) };
    dumps.push([start, { address: start.rsp, bytes: bytes.subarray(at + 192, end) }]);
    at = end;
  }
  return dumps;
}

/** Function names, outermost first, without what compilers append. */
function names(program: Program, frames: readonly Frame[]): string[] {
  const name = ({ rip }: Frame, i: number) =>
    program.symbols.lookup(i === 0 ? rip : rip - 1n)?.name ?? `0x${rip}`;
  return frames.map((frame, i) => name(frame, i).replace(/\..*/, "")).reverse();
}

const CALLS: Readonly<Record<string, string>> = { arguments: "many", wrapped: "branchy", final: "gone" };
/** What is called when these functions are asked for. */
const expand = (chain: readonly string[]): string[] =>
  ["main", ...chain].flatMap((name) => {
    if (name === "recursive") return ["recursive", ...Array<string>(6).fill("down")];
    return [name, CALLS[name] ?? []].flat();
  });

const LINKS = ["plain", "saved", "big", "dynamic", "aligned", "arguments", "branchy", "wrapped"];
const random = (seed: number) => (below: number) => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return (seed >>> 8) % below;
};

const trapOnce = (chain: readonly string[]) => run(O2, "trap", chain)[0] as [TrapState, StackBytes];

describe("a trap in compiled code", () => {
  const next = random(5);
  const some = (depth: number) => Array.from({ length: depth }, () => LINKS[next(LINKS.length)] ?? "");
  const singles = [...LINKS, "huge", "recursive", "final"].map((name) => [name]);
  const mixed = "huge dynamic huge aligned recursive arguments".split(" ");
  const chains = [[], ...singles, ["plain", "final", "plain"], mixed, some(3), some(8), some(20)];

  it.each(chains.map((chain) => [...chain, "leaf"].join(" ")))("%s", (text) => {
    const chain = text.split(" ");
    const [start, stack] = trapOnce(chain);
    const frames = O2.unwinder.walk(start, stack);
    expect(names(O2, frames)).toEqual(expand(chain));
    expect(frames[0]?.rip).toBe(start.rip);
    for (const [i, { cfa }] of frames.entries()) expect(cfa).toBeGreaterThan(frames[i - 1]?.cfa ?? start.rsp);
  });

  it("shows the innermost frames, up to the limit", () => {
    const chain = [...Array<string>(40).fill("plain"), "leaf"];
    const [start, stack] = trapOnce(chain);
    expect(names(O2, O2.unwinder.walk(start, stack, 10))).toEqual(expand(chain).slice(-10));
    const long = [...Array<string>(20).fill("recursive"), "leaf"];
    expect(O2.unwinder.walk(...trapOnce(long))).toHaveLength(64);
    expect(names(O2, O2.unwinder.walk(...trapOnce(long), 1000))).toEqual(expand(long));
  });

  it("ends where the dumped part of the stack ends", () => {
    const [start, { address, bytes }] = trapOnce(["saved", "big", "saved", "aligned", "plain", "leaf"]);
    const all = O2.unwinder.walk(start, { address, bytes });
    const counts = new Set<number>();
    for (let length = 8; length <= bytes.length; length += 8) {
      const frames = O2.unwinder.walk(start, { address, bytes: bytes.subarray(0, length) });
      expect(frames).toEqual(all.slice(0, frames.length));
      counts.add(frames.length);
    }
    expect([...counts]).toEqual(all.map((_, i) => i + 1));
  });
});

describe("every instruction of compiled code", () => {
  it.each(["-O0", "-O1", "-O2", "-O3", "-Os"])("%s", { timeout: 120_000 }, (level) => {
    const program = level === "-O2" ? O2 : build(level);
    // "aligned" has no "dynamic" around it: gcc states the caller's rbp wrong for the last three instructions of a
    // function that realigns its stack, which matters if an outer CFA is made from rbp.
    const chain = "plain aligned dynamic saved big arguments wrapped recursive plain leaf".split(" ");
    const whole = expand(chain);
    const dumps = run(program, "step", chain);
    expect(dumps.length).toBeGreaterThan(150);
    const seen = new Set<string>();
    for (const [start, stack] of dumps) {
      const found = names(program, program.unwinder.walk(start, stack));
      expect(found, `at 0x${start.rip.toString(16)}`).toEqual(whole.slice(0, found.length));
      seen.add(found.join());
    }
    // Every depth was seen.
    expect(seen.size).toBe(whole.length);
  });
});

describe("hostile input", () => {
  const [start, stack] = trapOnce(["saved", "aligned", "dynamic", "recursive", "saved", "plain", "leaf"]);
  const top = stack.address + BigInt(stack.bytes.length);

  function check(frames: Frame[], from: TrapState): void {
    expect(frames.length).toBeLessThanOrEqual(64);
    expect(frames[0]?.rip).toBe(from.rip);
    expect(frames.every(({ cfa }, i) => i === 0 || (cfa <= top && cfa > (frames[i - 1]?.cfa ?? 0n)))).toBe(
      true,
    );
  }

  it("a stack of noise", () => {
    const next = random(1);
    for (let round = 0; round < 3000; round++) {
      const bytes = stack.bytes.slice();
      const view = new DataView(bytes.buffer);
      for (let i = 0; i + 8 <= bytes.length; i += 8) {
        const choice = next(6);
        // Code, stack and small numbers are what a forger would take.
        if (choice === 0) view.setBigUint64(i, start.rip + BigInt(next(2000) - 1000), true);
        if (choice === 1) view.setBigUint64(i, stack.address + BigInt(next(bytes.length)), true);
        if (choice === 2) view.setBigUint64(i, BigInt(next(100)), true);
      }
      check(O2.unwinder.walk(start, { address: stack.address, bytes }), start);
    }
  });

  it("registers of noise", () => {
    const next = random(2);
    const edges = [0n, -1n, 2n ** 64n - 1n, 2n ** 63n, 2n ** 70n, stack.address, top, top - 8n, start.rip];
    const pick = () => edges[next(edges.length)] ?? 0n;
    for (let round = 0; round < 3000; round++) {
      const registers = Array.from({ length: 16 }, pick);
      const from = { rip: start.rip - BigInt(next(1500)), rsp: pick(), registers };
      check(O2.unwinder.walk(from, stack), from);
    }
    check(O2.unwinder.walk({ ...start, registers: [] }, stack), start);
    const nothing = { address: 0n, bytes: new Uint8Array(0) };
    expect(O2.unwinder.walk({ rip: 0n, rsp: 5n, registers: [] }, nothing)).toEqual([{ rip: 0n, cfa: 5n }]);
  });

  it("tables of noise", { timeout: 60_000 }, () => {
    const next = random(3);
    const { address, bytes } = O2.ehFrame;
    for (let round = 0; round < 3000; round++) {
      const copy = bytes.slice();
      for (let flips = 1 + next(8); flips > 0; flips--) copy[next(copy.length)] = next(256);
      check(new Unwinder({ address, bytes: copy }).walk(start, stack), start);
    }
  });

  it("tables cut anywhere", () => {
    const { address, bytes } = O2.ehFrame;
    for (let end = 0; end < bytes.length; end++) {
      check(new Unwinder({ address, bytes: bytes.subarray(0, end) }).walk(start, stack), start);
    }
  });
});

describe("call frame instructions that compilers seldom write", () => {
  const CODE = 0x3_0000_0000;
  const RETURN = BigInt(CODE + 0x81);
  const bytesOf = (value: number, size: number) =>
    Array.from({ length: size }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 255n));
  const fromHex = (text: string) => [...Buffer.from(text.replaceAll(" ", ""), "hex")];
  const u32 = (value: number) => bytesOf(value, 4);
  const entry = (...bytes: number[]) => {
    const padding = Array<number>((12 - (bytes.length % 8)) % 8).fill(0);
    return [...u32(bytes.length + padding.length), ...bytes, ...padding];
  };
  const DEFAULTS = {
    ...{
      augmentation: "zR",
      data: [0],
      address: 0x3_1000_0000,
      range: [...bytesOf(CODE, 8), ...bytesOf(256, 8)],
    },
    initial: [0x0c, 7, 8, 0x90, 1], // def_cfa rsp+8; offset ra, cfa-8
  };

  /** One function of 256 bytes at CODE. */
  function tables(instructions: number[], options: Partial<typeof DEFAULTS> = {}): Unwinder {
    const { augmentation, data, initial, address, range } = { ...DEFAULTS, ...options };
    const letters = [...new TextEncoder().encode(augmentation), 0];
    const cie = entry(...u32(0), 1, ...letters, 1, 0x78, 16, data.length, ...data, ...initial);
    const fde = entry(...u32(cie.length + 4), ...range, 0, ...instructions);
    return new Unwinder({ address, bytes: Uint8Array.from([...cie, ...fde, 0, 0, 0, 0]) });
  }

  /**
   * The CFAs of a walk, in words from 0x8000; 0 is the first frame's if nothing is known. There is the stack of 32 words:
   * word i holds 0x1000 + i, but for those given; register i points to word i.
   */
  function cfas(unwinder: Unwinder, at = 0x10, words: Record<number, bigint> = {}, rsp = 0x8000n): number[] {
    const registers = Array.from({ length: 16 }, (_, i) => BigInt(0x8000 + 8 * i));
    const stack = BigUint64Array.from({ length: 32 }, (_, i) => words[i] ?? BigInt(0x1000 + i));
    const dumped = { address: 0x8000n, bytes: new Uint8Array(stack.buffer) };
    const frames = unwinder.walk({ rip: BigInt(CODE + at), rsp, registers }, dumped);
    return frames.map(({ cfa }) => Number(cfa - 0x8000n) / 8);
  }

  it.each<[string, number[], number, Record<number, bigint>?]>([
    ["none", [], 1],
    ["def_cfa_offset", [0x0e, 24], 3],
    ["def_cfa_offset_sf", [0x13, 0x7c], 4],
    ["def_cfa_sf rbx, 16", [0x12, 3, 0x7e], 5],
    ["def_cfa_register rbp", [0x0d, 6], 7],
    ["def_cfa_expression breg6 16", [0x0f, 2, 0x76, 0x10], 8],
    ["def_cfa_expression breg6 0, deref", [0x0f, 3, 0x76, 0, 0x06], 9, { 6: 0x8048n }],
    // rsp + 8 + ((rax & 15) >= 11) * 8: linkers write this for PLT entries, with rip for rax.
    ["that of a PLT entry", fromHex("0f0b7708 700f 3f1a 3b2a 3324 22"), 2],
    ["64 remembered states", Array<number>(64).fill(0x0a), 1],
    ["65 remembered states", Array<number>(65).fill(0x0a), 0],
    ["expression with a deep stack", [0x0f, 66, ...Array<number>(66).fill(0x30)], 0],
    ["at the top of the stack", [0x0c, 7, 0x80, 2], 32],
    ["above the top", [0x0c, 7, 0x88, 2], 0],
  ])("CFA: %s", (_, instructions, words, stack = {}) => {
    expect(cfas(tables(instructions), 0x10, stack)).toEqual([words]);
  });

  // restore_state of nothing, unknown instruction, unknown operation, jump, empty expression, operands missing, longer
  // than the entry, 4 GiB, load from nowhere, no such register, number without end, def_cfa_offset after an expression.
  const BROKEN = `0b 17 0f023017 0f04302f0000 0f00 0f023022 0f637600 0fffffffff0f00 0f023006 0c6308
    0c07ffffffffffffffffffffff00 0f0276000e10`;
  it.each(BROKEN.split(/\s+/))("CFA: broken %s", (code) => {
    expect(cfas(tables(fromHex(code)))).toEqual([0]);
  });

  it.each(["50", "0210", "031000", "0410000000", "011000000003000000"])("advance %s", (advance) => {
    const unwinder = tables(fromHex(`${advance}0e10`));
    expect([0, 15, 16, 17].map((at) => cfas(unwinder, at)[0])).toEqual([1, 1, 2, 2]);
    expect([15, 16].map((at) => cfas(tables(fromHex(`${advance}17`)), at)[0])).toEqual([1, 0]);
  });

  // The caller is at 0x80, where the CFA is rbx + 8: so its CFA shows what rbx became. 0: no such frame.
  it.each<[string, number[], number, Record<number, bigint>?]>([
    ["none: as it was", [], 4],
    ["offset", [0x0e, 24, 0x83, 2, 0x90, 3], 11, { 1: 0x8050n }],
    ["offset, outside the stack: as it was", [0x83, 2], 4],
    ["offset_extended", [0x05, 3, 1], 0],
    ["offset_extended_sf", [0x11, 3, 0x7f], 13, { 2: 0x8060n }],
    ["GNU_negative_offset_extended", [0x2f, 3, 1], 14, { 2: 0x8068n }],
    ["val_offset_sf", [0x15, 3, 0x7c], 6],
    [
      "val_offset_sf, then same_value, restore, restore_extended",
      fromHex("15037c 0803 15037c c3 15037c 0603"),
      4,
    ],
    ["vector registers, GNU_args_size", [0x91, 1, 0xa0, 1, 0x2e, 16], 4],
    ["register r9", [0x09, 3, 9], 10],
    ["expression", [0x10, 3, 2, 0x23, 8], 15, { 2: 0x8070n }],
    ["val_expression", [0x16, 3, 2, 0x23, 40], 7],
    ["restore of the return address", [0x90, 9, 0xd0], 4],
    ["remember and restore, with the CFA", [0x0a, 0x0e, 24, 0x90, 3, 0x15, 3, 0x7c, 0x0b], 4],
    ["undefined return address: the stack ends", [0x07, 16], 0],
  ])("register: %s", (_, instructions, words, stack = {}) => {
    const unwinder = tables([...instructions, 0x02, 0x80, 0x0c, 3, 8]);
    expect(cfas(unwinder, 0x10, { 0: RETURN, ...stack })[1] ?? 0).toBe(words);
  });

  it("return addresses", () => {
    expect(cfas(tables([]), 0x10, { 0: RETURN, 1: RETURN, 2: RETURN, 3: 0n })).toEqual([1, 2, 3, 4]);
    expect(cfas(tables([]), 0x10, { 0: BigInt(CODE + 0x101) })).toEqual([1]); // rip - 1 is behind the function,
    expect(cfas(tables([]), 0x10, { 0: BigInt(CODE + 0x100) })).toEqual([1, 2]); // its last byte,
    expect(cfas(tables([]), 0x10, { 0: BigInt(CODE) })).toEqual([1]); // before it,
    expect(cfas(tables([], { augmentation: "zRS" }), 0x10, { 0: BigInt(CODE) })).toEqual([1, 2]); // exact
    expect(cfas(tables([0x0c, 0, 8]), 0x10, { 0: RETURN })).toEqual([1]); // always the same CFA
    // Trapped in the guard page below the stack, when the frame was made.
    expect(cfas(tables([0x0e, 0x90, 0x80, 1]), 0x10, {}, 0x4000n)).toEqual([2]);
  });

  it.each<[string, Partial<typeof DEFAULTS>]>([
    ["absptr", { data: [0x00] }],
    ["sdata8", { data: [0x0c] }],
    ["uleb128", { data: [0x01], range: [0x80, 0x80, 0x80, 0x80, 0x30, 0x80, 2] }],
    // Before the first pointer there are 32 bytes.
    ["pcrel sdata4", { data: [0x1b], address: CODE + 0x1000, range: [...u32(-0x1020), ...u32(256)] }],
    ["pcrel udata4", { data: [0x13], address: CODE - 64, range: [...u32(32), ...u32(256)] }],
    ["pcrel sdata2", { data: [0x1a], address: CODE + 0x1000, range: [...bytesOf(-0x1020, 2), 0, 1] }],
    ["zPLR", { augmentation: "zPLR", data: [0x03, 1, 2, 3, 4, 0x1b, 0x00] }],
    ["zPR, indirect", { augmentation: "zPR", data: [0x9b, 1, 2, 3, 4, 0x00] }],
  ])("pointers: %s", (_, options) => {
    expect([-1, 0, 0xff, 0x100].map((at) => cfas(tables([], options), at)[0])).toEqual([0, 1, 1, 0]);
  });

  it("tables of a kind that is not known", () => {
    for (const data of [0x30, 0x50, 0x05, 0x9b, 0xff])
      expect(cfas(tables([], { data: [data] }))).toEqual([0]);
    for (const augmentation of ["zX", "", "eh", "zRRRRRRRRR"])
      expect(cfas(tables([], { augmentation }))).toEqual([0]);
    expect(cfas(tables([0x0e, 16], { initial: [] }))).toEqual([0]);
  });
});
