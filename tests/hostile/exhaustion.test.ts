/** Guests that want more than there is: memory, stack, exceptions. Each in a child process, as WebAssembly and as raw code. */
import { beforeAll, describe, expect, it } from "vitest";
import { BC_STACK_TOP } from "../../src/abi.ts";
import type { BootOptions, CompileOptions, ErrorCode } from "../support/barecell.ts";
import { isSvm, slowness } from "../support/environment.ts";
import { goodResult } from "../support/expected-results.ts";
import { imageOf, imageOfModules, type NamedText } from "../support/modules.ts";
import { DEFAULT_OPTIONS, type Report, rawHost } from "./hostile-case.ts";
import { type ChildResult, type Job, reportOf, runAll } from "./run-hostile.ts";
import { type SweepInput, sweepSuite } from "./run-sweep.ts";

interface Guest {
  readonly name: string;
  readonly text: string;
  /** Other modules in the image, before it. */
  readonly others?: readonly NamedText[];
  readonly compile?: CompileOptions;
  readonly options?: BootOptions;
  /** Results, or codes of errors, of `run` and then of `after`. */
  readonly expected: readonly [run: unknown, after: unknown];
  /** Instead: the boot fails so. */
  readonly boot?: ErrorCode;
}

const PAGES = isSvm ? 256 : 2048;
const LIMIT = { maxMemoryBytes: PAGES * 65_536 };
/** Grows by `step` pages until it is refused, and touches every page of what it got; its result is how many pages that were. */
const bomb = (step: number): string => `
  (func $bomb${step} (export "bomb") (result i32) (local i32)
    (loop $more (br_if $more (i32.ge_s (memory.grow (i32.const ${step})) (i32.const 0))))
    (loop $touch
      (i64.store (i32.mul (local.get 0) (i32.const 4096)) (i64.const -1))
      (local.set 0 (i32.add (local.get 0) (i32.const 1)))
      (br_if $touch (i32.lt_u (local.get 0) (i32.mul (memory.size) (i32.const 16)))))
    (memory.size))`;
const AFTER = `(func (export "after") (result i32) (i32.const 7))`;
const locals = (count: number): string => `(local ${"i64 ".repeat(count)})`;
const uses = (count: number): string =>
  Array.from(
    { length: count },
    (_, i) => `(local.set ${i + 1} (i64.add (i64.extend_i32_u (local.get 0)) (i64.const ${i})))`,
  ).join("\n");
const sums = (count: number): string =>
  Array.from(
    { length: count - 1 },
    (_, i) => `(local.set 1 (i64.xor (local.get 1) (local.get ${i + 2})))`,
  ).join("\n");

const STACK = "BARECELL_TRAP_STACK_EXHAUSTED";
const OTHERS = Array.from({ length: 11 }, (_, i) => `m${i}`);
const guests: Guest[] = [
  ...[1, 7, 256].map((step) => ({
    name: `grows by ${step} until it is refused, and touches all of it`,
    text: `(module (memory 1) ${bomb(step)} (func (export "run") (result i32) (call $bomb${step})) ${AFTER})`,
    options: LIMIT,
    expected: [1 + Math.floor((PAGES - 1) / step) * step, 7] as const,
  })),
  {
    name: "a dozen memories that share one limit, and each takes what there is",
    others: OTHERS.map((name) => [name, `(module (memory 1) ${bomb(1)})`] as const),
    text: `(module ${OTHERS.map((name) => `(import "${name}" "bomb" (func $${name} (result i32)))`).join(" ")} (memory 1)
      (func (export "run") (result i32) ${OTHERS.map((name) => `(call $${name})`).reduce((left, right) => `(i32.add ${left} ${right})`)}) ${AFTER})`,
    options: LIMIT,
    // All of them together, but for the main module's own page.
    expected: [PAGES - 1, 7],
  },
  {
    name: "asks for the whole 4 GiB at once, a thousand times",
    text: `(module (memory 1) (func (export "run") (result i32) (local i32 i32)
      (loop $l (local.set 1 (i32.or (local.get 1) (i32.add (i32.const 1) (memory.grow (i32.const 65535)))))
        (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if $l (i32.lt_u (local.get 0) (i32.const 1000))))
      (i32.add (local.get 1) (memory.size))) ${AFTER})`,
    expected: [1, 7],
  },
  {
    name: "starts with more than the limit",
    text: `(module (memory ${PAGES + 1}) (func (export "run")) ${AFTER})`,
    options: LIMIT,
    expected: [undefined, undefined],
    boot: "BARECELL_MEMORY_LIMIT",
  },
  {
    name: "grows tables until it is refused",
    text: `(module (memory 1) (table $t 1 externref) (func (export "run") (result i32)
      (loop $l (br_if $l (i32.ge_s (table.grow $t (ref.null extern) (i32.const 1000)) (i32.const 0)))) (table.size $t)) ${AFTER})`,
    expected: [65_001, 7],
  },
  {
    name: "recursion with frames of 4,000 values",
    text: `(module (memory 1) (func $f (param i32) (result i64) ${locals(4000)} ${uses(4000)}
      (local.set 1 (i64.add (local.get 1) (call $f (i32.add (local.get 0) (i32.const 1))))) ${sums(4000)} (local.get 1))
      (func (export "run") (result i64) (call $f (i32.const 0))) ${AFTER})`,
    compile: { optimize: 0 },
    expected: [STACK, 7],
  },
  {
    name: "recursion through a table",
    text: `(module (memory 1) (table funcref (elem $f)) (type $t (func (param i64) (result i64)))
      (func $f (type $t) (i64.add (local.get 0) (call_indirect (type $t) (i64.add (local.get 0) (i64.const 1)) (i32.const 0))))
      (func (export "run") (result i64) (call_indirect (type $t) (i64.const 0) (i32.const 0))) ${AFTER})`,
    expected: [STACK, 7],
  },
  {
    name: "recursion with a host call in each frame",
    text: `(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32))) (memory (export "memory") 1)
      (func $f (param i64) (result i64) (local i64) (if (i64.eqz (i64.and (local.get 0) (i64.const 255))) (then (drop (call $yield))))
        (i64.add (local.get 0) (call $f (i64.add (local.get 0) (i64.const 1)))))
      (func (export "run") (result i64) (call $f (i64.const 0))) ${AFTER})`,
    expected: [STACK, 7],
  },
  {
    name: "recursion in the start function",
    text: `(module (memory 1) (func $f (param i64) (result i64) (i64.add (local.get 0) (call $f (i64.add (local.get 0) (i64.const 1)))))
      (func $s (drop (call $f (i64.const 0)))) (start $s) (func (export "run")) ${AFTER})`,
    expected: [undefined, undefined],
    boot: STACK,
  },
  {
    name: "an endless start function",
    text: `(module (memory 1) (func $s (loop $l (br $l))) (start $s) (func (export "run")) ${AFTER})`,
    options: { timeoutMs: 200 * slowness },
    expected: [undefined, undefined],
    boot: "BARECELL_TIMEOUT",
  },
  {
    name: "an endless start function that grows and calls",
    text: `(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32))) (memory (export "memory") 1)
      (func $s (loop $l (drop (call $yield)) (drop (memory.grow (i32.const 1))) (br $l))) (start $s) (func (export "run")) ${AFTER})`,
    options: { timeoutMs: 200 * slowness },
    expected: [undefined, undefined],
    boot: "BARECELL_TIMEOUT",
  },
];

describe("exhaustion", () => {
  let results = new Map<string, ChildResult>();
  beforeAll(async () => {
    const jobs: Job[] = [];
    for (const [i, { name, text, others, compile, options }] of guests.entries()) {
      const image = others
        ? await imageOfModules([...others, ["main", text]])
        : await imageOf(`bomb${i}`, text, compile);
      const calls = [["run"], ["after"]] as const;
      jobs.push({
        name,
        bytes: image.bytes,
        options: { ...DEFAULT_OPTIONS, ...options },
        calls,
        goodResult: goodResult(9),
      });
    }
    results = await runAll(jobs);
  }, 300_000 * slowness);
  it.each(guests)("$name", ({ name, expected, boot }) => {
    const report: Report = reportOf(name, results.get(name));
    if (boot) {
      expect(report.boot?.code).toBe(boot);
      return;
    }
    expect(report.calls?.map((call) => call.value ?? call.error?.code)).toEqual(expected);
  });
});

/** A frame so large that it leaps over the hole below the stack: what is there is nobody's, or the tenant's own memory. */
const GIB = 2 ** 30;
const frames = [
  0.9e6,
  1.1e6,
  2e6,
  64e6,
  512e6,
  0.98 * GIB,
  1.1 * GIB,
  1.9 * GIB,
  2.1 * GIB,
  4 * GIB,
  5.9 * GIB,
  6.1 * GIB,
  8 * GIB,
  9.99 * GIB,
];
const leaps = frames.map((bytes): SweepInput => {
  const at = BC_STACK_TOP - bytes;
  const expected: ErrorCode | bigint =
    bytes < 1e6
      ? 1n
      : at >= 9 * GIB
        ? STACK
        : at >= 8 * GIB
          ? "BARECELL_TRAP_ACCESS_DENIED"
          : "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY";
  return { name: `a frame of ${bytes} bytes`, words: [BigInt(Math.floor(bytes))], expected: [expected] };
});
const inOwnMemory = [16, 4096, 65_000].map(
  (at): SweepInput => ({
    name: `a frame that ends at ${at} of linear memory`,
    words: [BigInt(BC_STACK_TOP - at) - 64n],
    expected: [1n],
  }),
);

/** Each fault is one trap and ends the call, so a storm of them is many calls; by turns, so that each finds what another left. */
const FAULTS: Record<string, readonly [code: string, expected: ErrorCode]> = {
  int3: ["int3", "BARECELL_TRAP_CPU_EXCEPTION"],
  ud2: ["ud2", "BARECELL_TRAP_ILLEGAL_INSTRUCTION"],
  hlt: ["hlt", "BARECELL_TRAP_PRIVILEGED_INSTRUCTION"],
  "page fault": ["mov %rax, 0x100000", "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY"],
  division: ["xor %ecx, %ecx\n div %ecx", "BARECELL_TRAP_CPU_EXCEPTION"],
  "single step": ["pushq $0x102\n popfq\n nop", "BARECELL_TRAP_CPU_EXCEPTION"],
  "closed port": ["out %al, $0x2e", "BARECELL_TRAP_PORT_DENIED"],
  "non-canonical": [
    "movabs $0xdeadbeefdeadbeef, %rax\n mov (%rax), %al",
    "BARECELL_TRAP_NON_CANONICAL_ADDRESS",
  ],
  "no stack": ["xor %esp, %esp\n push %rax\n", "BARECELL_TRAP_ACCESS_DENIED"],
};
const faults = Object.entries(FAULTS);

sweepSuite("stacks and storms", [
  {
    name: "frames that leap over the hole",
    host: rawHost,
    code: "mov %rsp, %rbp\n mov $BC_STACK_TOP & 0xffffffff, %eax\n movabs $BC_STACK_TOP, %rsp\n sub 0, %rsp\n push %rax\n mov %rbp, %rsp\n mov $1, %eax\n ret",
    inputs: [...leaps, ...inOwnMemory],
  },
  {
    name: "an exception storm",
    host: rawHost,
    code: `mov 0, %eax\n lea 1f(%rip), %rcx\n shl $5, %eax\n add %rcx, %rax\n jmp *%rax\n .balign 32\n 1: ${faults.map(([, [code]]) => `.balign 32\n ${code}`).join("\n")}`,
    inputs: Array.from({ length: isSvm ? 180 : 5400 }, (_, i) => {
      const place = (i + Math.floor(i / faults.length)) % faults.length;
      const [name, [, expected]] = faults[place] as (typeof faults)[number];
      return { name: `${name} (${i})`, words: [BigInt(place)], expected: [expected] };
    }),
  },
]);
