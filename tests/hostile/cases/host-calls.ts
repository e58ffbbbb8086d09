/** Host calls with forged mailboxes and as fast as the CPU can make them, and raw code that never ends. */
import { slowness } from "../../support/environment.ts";
import { RawHost } from "../../support/raw-code.ts";
import { type HostileCase, type HostileTable, rawHost } from "../hostile-case.ts";

/** WASI functions by parameters (all return an error number); proc_exit would end the fun and is tested elsewhere. */
const FUNCTIONS: Record<string, string> = {
  args_get: "i32 i32",
  args_sizes_get: "i32 i32",
  clock_res_get: "i32 i32",
  clock_time_get: "i32 i64 i32",
  environ_get: "i32 i32",
  environ_sizes_get: "i32 i32",
  fd_fdstat_get: "i32 i32",
  fd_prestat_dir_name: "i32 i32 i32",
  fd_prestat_get: "i32 i32",
  fd_read: "i32 i32 i32 i32",
  fd_seek: "i32 i64 i32 i32",
  fd_write: "i32 i32 i32 i32",
  poll_oneoff: "i32 i32 i32 i32",
  random_get: "i32 i32",
  fd_close: "i32",
};
const names = Object.keys(FUNCTIONS);
/** An image that imports them all. */
export const fuzzed: RawHost = await RawHost.create(
  names
    .map(
      (name) => `(import "wasi_snapshot_preview1" "${name}" (func (param ${FUNCTIONS[name]}) (result i32)))`,
    )
    .join("\n"),
);

const SLOTS = `${fuzzed.image.layout.header.mailbox} + BC_MAILBOX_HEADER_BYTES`;
const NEXT =
  "mov %r12, %rax\n shl $13, %rax\n xor %rax, %r12\n mov %r12, %rax\n shr $7, %rax\n xor %rax, %r12\n mov %r12, %rax\n shl $17, %rax\n xor %rax, %r12\n";

/**
 * Random slots, random port, again and again. Values are of four kinds: any 64 bits, an address in memory or just past it, a small number, and
 * one close to the top of 32 bits.
 */
export const storm = (seed: number, rounds: number, ports: string): string => `
  push %rbx
  push %r12
  push %r13
  movabs $${SLOTS}, %rbx
  movabs $${0x9e3779b97f4a7c15n ^ BigInt(seed)}, %r12
  mov $${rounds}, %r13d
1: xor %ecx, %ecx
2: ${NEXT}
  mov %r12, %rax
  mov %r12d, %edx
  shr $28, %edx
  and $3, %edx
  cmp $1, %edx
  jb 3f
  je 4f
  cmp $2, %edx
  je 5f
  or $-64, %eax
  jmp 3f
4: and $0x1ffff, %eax
  jmp 3f
5: and $7, %eax
3: mov %rax, (%rbx,%rcx,8)
  inc %ecx
  cmp $32, %ecx
  jb 2b
  ${NEXT}
  ${ports}
  out %al, %dx
  dec %r13d
  jnz 1b
  pop %r13
  pop %r12
  pop %rbx
  mov $1, %eax
  ret`;

export const anyPort = `mov %r12d, %eax\n xor %edx, %edx\n mov $${names.length}, %ecx\n div %ecx\n add $0x402, %edx\n`;
const options = {
  wasi: {
    args: ["a", "b"],
    env: { A: "b" },
    stdin: new Uint8Array(10_000),
    stdout: "capture",
    stderr: "capture",
  },
  maxOutputBytes: 100_000,
  timeoutMs: 1500 * slowness,
} as const;
/** Whatever the calls come to, the end is one of these. */
const ends: HostileCase["expected"] = [1n, "BARECELL_TIMEOUT", "BARECELL_OUTPUT_LIMIT"];

export const forgedSlots: HostileTable = {
  title: "host calls with any arguments",
  host: fuzzed,
  cases: [
    ...Array.from({ length: 10 }, (_, seed) => ({
      name: `any function, seed ${seed}`,
      code: storm(seed, 10_000, anyPort),
      expected: ends,
      options,
    })),
    ...names.map((name, i) => ({
      name: `${name} only`,
      code: storm(100 + i, 3000, `mov $${0x402 + i}, %edx\n`),
      expected: ends,
      options,
    })),
  ],
};

/** None of these ever leaves the loop; the deadline must. */
const LOOPS: Record<string, string> = {
  "a jump to itself": "1: jmp 1b",
  pause: "1: pause\n jmp 1b",
  "with interrupts as off as ring 3 can have them": "pushq $2\n popfq\n 1: jmp 1b",
  "host calls": "mov $0x400, %edx\n 1: out %al, %dx\n jmp 1b",
  "growth by nothing": `movabs $${rawHost.image.layout.header.mailbox}, %rbx\n movq $0, BC_MAILBOX_GROW_PAGES(%rbx)\n 1: out %al, $BC_PORT_GROW\n jmp 1b`,
  "growth that is refused": `movabs $${rawHost.image.layout.header.mailbox}, %rbx\n movq $-1, BC_MAILBOX_GROW_PAGES(%rbx)\n 1: out %al, $BC_PORT_GROW\n jmp 1b`,
  cpuid: "1: xor %eax, %eax\n cpuid\n jmp 1b",
  rdtsc: "1: rdtsc\n jmp 1b",
  "locked additions across a page":
    "lea -8192(%rsp), %rax\n and $-4096, %rax\n sub $4, %rax\n 1: lock incq (%rax)\n jmp 1b",
  "the longest rep": "1: xor %edi, %edi\n mov $0x10000, %ecx\n rep stosb\n jmp 1b",
  "mov ss shadows": "mov %ss, %eax\n 1: mov %eax, %ss\n mov %eax, %ss\n jmp 1b",
  vmmcall: "1: xor %eax, %eax\n vmmcall\n jmp 1b",
  "a stack that is no stack": "xor %esp, %esp\n 1: jmp 1b",
  "calls and returns": "1: call 2f\n jmp 1b\n 2: ret",
};
export const rawLoops: HostileTable = {
  title: "code that never ends",
  host: rawHost,
  cases: Object.entries(LOOPS).map(([name, code]) => ({
    name,
    code,
    // Some hosts have no such instruction.
    expected:
      name === "vmmcall"
        ? ["BARECELL_TIMEOUT", "BARECELL_TRAP_ILLEGAL_INSTRUCTION", "BARECELL_TRAP_PRIVILEGED_INSTRUCTION"]
        : ["BARECELL_TIMEOUT"],
    options: { timeoutMs: 100 * slowness },
  })),
};
