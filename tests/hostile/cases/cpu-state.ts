/** State of the processor that ring 3 may change: flags, selectors, floating-point control. What a call leaves dirty must not reach the next. */
import assert from "node:assert/strict";
import type { ErrorCode } from "../../support/barecell.ts";
import { isSvm } from "../../support/environment.ts";
import { goodResult } from "../../support/expected-results.ts";
import { type HostileCase, type HostileTable, type Report, rawHost } from "../hostile-case.ts";

const EXCEPTION: ErrorCode = "BARECELL_TRAP_CPU_EXCEPTION";
const ILLEGAL: ErrorCode = "BARECELL_TRAP_ILLEGAL_INSTRUCTION";
const PRIVILEGED: ErrorCode = "BARECELL_TRAP_PRIVILEGED_INSTRUCTION";
const DENIED: ErrorCode = "BARECELL_TRAP_ACCESS_DENIED";
const cases: HostileCase[] = [];
const END = "\n mov $1, %eax\n ret";
const add = (name: string, code: string, ...expected: HostileCase["expected"]): void => {
  cases.push({ name, code, expected });
};

/* ---- Software interrupts: every gate has DPL 0 -------------------------------------------------------------------- */

const REFUSED: readonly ErrorCode[] = [EXCEPTION, ILLEGAL, "BARECELL_TRAP_NON_CANONICAL_ADDRESS"];
const ALL = Array.from({ length: 256 }, (_, n) => n);
cases.push({
  name: "int n, for every n",
  // The number lies at address 0 of linear memory; each instruction has four bytes of table.
  code: "movzbl 0, %eax\n lea 1f(%rip), %rcx\n lea (%rcx,%rax,4), %rcx\n jmp *%rcx\n .balign 4\n 1:\n .set n, 0\n .rept 256\n .byte 0xcd, n, 0x90, 0xc3\n .set n, n + 1\n .endr",
  expected: REFUSED,
  calls: [["victim"], ...ALL.flatMap((n) => [["poke", 0, BigInt(n)] as const, ["victim"] as const])],
  check: (report: Report) => {
    const answered = ALL.filter(
      (n) => !REFUSED.includes(report.calls?.[2 + 2 * n]?.error?.code as ErrorCode),
    );
    // PVM answers some vectors itself (one was seen); the processor has no such doors.
    assert(answered.length <= (isSvm ? 0 : 1), `answered: ${answered}`);
  },
});
add("int3", `int3${END}`, EXCEPTION);
add("icebp", `.byte 0xf1${END}`, EXCEPTION, ILLEGAL);
add("into", `.byte 0xce${END}`, ILLEGAL);
add("ud2", "ud2", ILLEGAL);
add("bound (no instruction in 64-bit mode)", ".byte 0x62, 0x07\n nop\n nop", ILLEGAL);
add("lock with a register", ".byte 0xf0, 0x01, 0xc0", ILLEGAL);
add(
  "an instruction of more than 15 bytes",
  ".rept 16\n .byte 0x66\n .endr\n nop",
  EXCEPTION,
  "BARECELL_TRAP_NON_CANONICAL_ADDRESS",
);
add("divide error", "xor %ecx, %ecx\n xor %edx, %edx\n mov $1, %eax\n div %ecx", EXCEPTION);
add(
  "divide error by the smallest number",
  "mov $-1, %ecx\n mov $0x80000000, %eax\n cltd\n idiv %ecx",
  EXCEPTION,
);

/* ---- Selectors and far transfers ------------------------------------------------------------------------------------ */

const SELECTORS: Record<string, number> = {
  "32-bit kernel code": 0x08,
  "64-bit kernel code": 0x10,
  "kernel data": 0x18,
  "kernel code with RPL 3": 0x13,
  "kernel data with RPL 3": 0x1b,
  "the TSS": 0x30,
  "the TSS with RPL 3": 0x33,
  "past the GDT": 0x43,
  "the LDT": 0x2f,
  "user data": 0x23,
};
/** The emulated machine pops the frames of far returns with the rights of ring 0, where SMAP forbids them the tenant's stack. */
const SMAP: readonly ErrorCode[] = isSvm ? [DENIED] : [];
for (const [name, selector] of Object.entries(SELECTORS)) {
  const target = "lea 1f(%rip), %rax\n";
  const landed = `\n 1:${END}`;
  // PVM runs ring 3 with the host's own descriptor table, where the other selectors mean data or code of ring 3.
  const expected = [...REFUSED, PRIVILEGED, ...SMAP, ...(name.includes("kernel") ? [] : [1n])];
  add(
    `far jump to ${name}`,
    `sub $16, %rsp\n ${target} mov %rax, (%rsp)\n movw $${selector}, 8(%rsp)\n rex.w ljmp *(%rsp)${landed}`,
    ...expected,
  );
  add(
    `far call to ${name}`,
    `sub $16, %rsp\n ${target} mov %rax, (%rsp)\n movw $${selector}, 8(%rsp)\n rex.w lcall *(%rsp)${landed}`,
    ...expected,
  );
  add(`far return to ${name}`, `pushq $${selector}\n ${target} push %rax\n lretq${landed}`, ...expected);
  add(
    `iretq to ${name}`,
    `mov %rsp, %rcx\n pushq $BC_SEL_USER_DATA\n push %rcx\n pushfq\n pushq $${selector}\n ${target} push %rax\n iretq${landed}`,
    ...expected,
  );
  for (const register of ["ds", "es", "fs", "gs", "ss"]) {
    add(
      `load ${register} with ${name}`,
      `mov $${selector}, %eax\n mov %eax, %${register}${END}`,
      ...expected,
    );
  }
}
add(
  "a far jump to its own selector",
  `sub $16, %rsp\n lea 1f(%rip), %rax\n mov %rax, (%rsp)\n movw $BC_SEL_USER_CODE, 8(%rsp)\n rex.w ljmp *(%rsp)\n 1: add $16, %rsp${END}`,
  1n,
);
add(
  "a far jump to its own selector at a supervisor page",
  `sub $16, %rsp\n movabs $${rawHost.symbol("bc_boot_start")}, %rax\n mov %rax, (%rsp)\n movw $BC_SEL_USER_CODE, 8(%rsp)\n rex.w ljmp *(%rsp)`,
  DENIED,
);
add("a null stack selector", `xor %eax, %eax\n mov %eax, %ss${END}`, ...REFUSED);
add(
  "null data selectors",
  `xor %eax, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %fs\n mov %eax, %gs${END}`,
  1n,
);
add(
  "iretq to itself with IOPL 3 and interrupts on, then a closed port",
  "mov %rsp, %rcx\n pushq $BC_SEL_USER_DATA\n push %rcx\n pushq $0x3202\n pushq $BC_SEL_USER_CODE\n lea 1f(%rip), %rax\n push %rax\n iretq\n 1: out %al, $0x2e",
  "BARECELL_TRAP_PORT_DENIED",
  ...SMAP,
);

/*
 * After reset LDTR has base 0, where the tenant's memory is. Were it usable, a call gate written there would lead into ring 0: descriptor 5 (selector
 * 0x2f) as a 64-bit call gate with DPL 3 to the kernel's code segment, at the boot stub.
 */
const gate = `movabs $${rawHost.symbol("bc_syscall_entry")}, %rax
  mov %ax, 0x28
  movw $BC_SEL_CODE64, 0x2a
  movw $0xec00, 0x2c
  shr $16, %rax
  mov %ax, 0x2e
  shr $16, %rax
  mov %rax, 0x30
`;
const viaGate = (instruction: string): string =>
  `${gate} sub $16, %rsp\n movq $0, (%rsp)\n movw $0x2f, 8(%rsp)\n ${instruction}\n add $16, %rsp${END}`;
add("a call through a gate in an LDT of its own", viaGate("rex.w lcall *(%rsp)"), ...REFUSED);
add("a jump through a gate in an LDT of its own", viaGate("rex.w ljmp *(%rsp)"), ...REFUSED);
add(
  "what LAR says of a gate in an LDT of its own",
  `${gate} xor %eax, %eax\n mov $0x2f, %ecx\n lar %ecx, %eax\n ret`,
  0n,
);

/* ---- Flags --------------------------------------------------------------------------------------------------------------- */

const setFlags = (flags: string): string => `pushfq\n orq $${flags}, (%rsp)\n popfq\n`;
add("TF: single steps", `${setFlags("0x100")} nop\n nop${END}`, EXCEPTION);
// CR0.AM is clear in the guest; PVM runs ring 3 under the host's CR0, which has it.
add("AC", `${setFlags("0x40000")} mov 1(%rsp), %rax${END}`, 1n, EXCEPTION);
add("NT, left set", `${setFlags("0x4000")}${END}`, 1n);
add(
  "NT, then iretq",
  `${setFlags("0x4000")} mov %rsp, %rcx\n pushq $BC_SEL_USER_DATA\n push %rcx\n pushq $2\n pushq $BC_SEL_USER_CODE\n lea 1f(%rip), %rax\n push %rax\n iretq\n 1:${END}`,
  EXCEPTION,
  PRIVILEGED,
  1n,
);
add("IOPL, then cli", `${setFlags("0x3000")} cli`, PRIVILEGED);
add("IOPL, then a closed port", `${setFlags("0x3000")} out %al, $0x2e`, "BARECELL_TRAP_PORT_DENIED");
add("IF off by popf changes nothing", `pushq $2\n popfq${END}`, 1n);
add("every flag that popf takes", `pushq $-1\n popfq\n nop${END}`, EXCEPTION, 1n);
add("DF, left set", `std${END}`, 1n);
add("DF, left set, then a fault", "std\n ud2", ILLEGAL);
add("ID and VM flags", `${setFlags("0x220000")}${END}`, 1n);
add("TF into a host call", `mov $0x400, %edx\n ${setFlags("0x100")} out %al, %dx${END}`, EXCEPTION);
add("mov ss shadow, then a fault", "mov %ss, %eax\n mov %eax, %ss\n ud2", ILLEGAL);
add("mov ss shadow, then int3", "mov %ss, %eax\n mov %eax, %ss\n int3", EXCEPTION);
add(
  "mov ss shadow, then single step",
  `mov %ss, %eax\n ${setFlags("0x100")} mov %eax, %ss\n nop${END}`,
  EXCEPTION,
);

/* ---- Bases ----------------------------------------------------------------------------------------------------------------- */

add("wrfsbase", `movabs $0x1234567000, %rax\n wrfsbase %rax${END}`, ILLEGAL, 1n);
add(
  "wrgsbase, non-canonical",
  `movabs $0xdeadbeefdeadbeef, %rax\n wrgsbase %rax${END}`,
  ILLEGAL,
  "BARECELL_TRAP_NON_CANONICAL_ADDRESS",
);
add("a read through FS", "mov %fs:0x20000, %rax\n ret", "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
add("a write through GS", "mov %rax, %gs:0x20000\n ret", "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");

/* ---- Floating point: whatever is left behind, the next call computes by WebAssembly's rules --------------------------------- */

/** Results that each rounding mode, flushed subnormals and a full x87 stack would change. */
const FLOAT_CALLS = [
  ["victim"],
  ["good", 9],
  ["nearest", 2.5],
  ["nearest", -3.5],
  ["to_int", 1e300],
  ["to_int", Number.NaN],
  ["subnormal", 1e-200, 1e-120],
  ["subnormal", 5e-324, 1],
] as const;
const FLOAT_RESULTS = [goodResult(9), 2, -4, 2n ** 63n - 1n, 0n, 1e-200 * 1e-120, 5e-324];

function addFloat(name: string, code: string, ...expected: HostileCase["expected"]): void {
  cases.push({
    name,
    code,
    expected,
    calls: FLOAT_CALLS,
    check: (report) => {
      assert.deepEqual(
        report.calls?.slice(1).map((call) => call.value ?? call.error?.code),
        FLOAT_RESULTS,
      );
    },
  });
}

const mxcsr = (value: string): string => `pushq $${value}\n ldmxcsr (%rsp)\n pop %rax\n`;
const x87 = (value: string): string => `pushq $${value}\n fldcw (%rsp)\n pop %rax\n`;
/** 0/0 and 1/0 by SSE and by x87. */
const sseFault = "xorps %xmm0, %xmm0\n divss %xmm0, %xmm0\n";
const x87Fault = "fldz\n fldz\n fdivrp\n fwait\n";
for (const [name, value] of [
  ["rounds down", "0x3f80"],
  ["rounds up", "0x5f80"],
  ["truncates", "0x7f80"],
  ["flushes subnormals", "0x9fc0"],
  ["has every exception flag set", "0x1fbf"],
  ["has every exception unmasked", "0x0000"],
] as const) {
  addFloat(`MXCSR ${name}, after a return`, `${mxcsr(value)}${END}`, 1n);
  addFloat(`MXCSR ${name}, after a fault`, `${mxcsr(value)} ud2`, ILLEGAL);
  addFloat(
    `MXCSR ${name}, after a trap`,
    `${mxcsr(value)} mov $BC_TRAP_UNREACHABLE, %eax\n out %al, $BC_PORT_TRAP`,
    "BARECELL_TRAP_UNREACHABLE",
  );
}
// The emulated machine knows neither the exception nor the reserved bits.
addFloat(
  "an unmasked SSE exception",
  `${mxcsr("0x0000")} ${sseFault}${END}`,
  EXCEPTION,
  ...(isSvm ? [1n] : []),
);
addFloat("MXCSR with reserved bits", `${mxcsr("0x7fffffff")}${END}`, ...REFUSED, ...(isSvm ? [1n] : []));
for (const [name, value] of [
  ["rounds up, single precision", "0x087f"],
  ["truncates", "0x0f7f"],
  ["has every exception unmasked", "0x0340"],
] as const) {
  addFloat(`x87 ${name}, after a return`, `${x87(value)}${END}`, 1n);
}
addFloat("a full x87 stack", `fld1\n fld1\n fld1\n fld1\n fld1\n fld1\n fld1\n fld1${END}`, 1n);
addFloat("an x87 exception", `${x87("0x0340")} ${x87Fault}${END}`, EXCEPTION);
addFloat("an x87 exception, left pending", `${x87("0x0340")} fldz\n fldz\n fdivrp${END}`, 1n);
addFloat(
  "an x87 exception, left pending, then a trap",
  `${x87("0x0340")} fldz\n fldz\n fdivrp\n mov $BC_TRAP_UNREACHABLE, %eax\n out %al, $BC_PORT_TRAP`,
  "BARECELL_TRAP_UNREACHABLE",
);
addFloat("MMX state, left in use", `pcmpeqd %mm0, %mm0\n movq %mm0, %mm7${END}`, 1n);
addFloat(
  "vector registers full of signalling NaNs",
  `movabs $0x7ff0000000000001, %rax\n .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movq %rax, %xmm\\n\n punpcklqdq %xmm\\n, %xmm\\n\n .endr${END}`,
  1n,
);
addFloat(
  "every general register dirty",
  `push %rbx\n push %rbp\n mov %rsp, 0x800\n .irp r,rax,rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15\n mov $-1, %\\r\n .endr\n ud2`,
  ILLEGAL,
);

export const cpuState: HostileTable = { title: "state of the processor", cases, host: rawHost };
