/** Instructions that ring 3 may execute, but that tell it of the processor or change state of its own: what a tenant learns or does by them is harmless. */
import type { ErrorCode } from "../../support/barecell.ts";
import { hasUmip, isPvm } from "../../support/environment.ts";
import { type Expected, type HostileCase, type HostileTable, rawHost } from "../hostile-case.ts";

const PRIVILEGED: ErrorCode = "BARECELL_TRAP_PRIVILEGED_INSTRUCTION";
const ILLEGAL: ErrorCode = "BARECELL_TRAP_ILLEGAL_INSTRUCTION";
const EXCEPTION: ErrorCode = "BARECELL_TRAP_CPU_EXCEPTION";
const NON_CANONICAL: ErrorCode = "BARECELL_TRAP_NON_CANONICAL_ADDRESS";

const cases: HostileCase[] = [];
const add = (expected: readonly Expected[], entries: Record<string, string>): void => {
  for (const [name, code] of Object.entries(entries))
    cases.push({ name, code: `${code}\n mov $1, %eax\n ret`, expected });
};
const TABLES: readonly Expected[] = isPvm && hasUmip ? [PRIVILEGED] : [PRIVILEGED, ILLEGAL, "any result"];
const scratch = "lea -64(%rsp), %rdi\n";
const aligned = "lea -8192(%rsp), %rdi\n and $-4096, %rdi\n";

/* ---- Where tables are: closed by UMIP (SDM vol. 3A, 2.5), which PVM's hosts have; without it the answer is an address nobody can reach ------------- */

for (const name of ["sgdt", "sidt"]) {
  cases.push({
    name,
    code: `${scratch} ${name} (%rdi)\n mov 2(%rdi), %rax\n ret`,
    expected: TABLES,
  });
}
for (const name of ["sldt", "str", "smsw"]) {
  cases.push({
    name,
    code: `xor %eax, %eax\n ${name} %eax\n ret`,
    expected: TABLES,
  });
  cases.push({
    name: `${name} to code`,
    code: `lea (%rip), %rdi\n ${name} (%rdi)\n mov $1, %eax\n ret`,
    expected: [PRIVILEGED, "BARECELL_TRAP_ACCESS_DENIED"],
  });
}

/* ---- Counters and features: ring 3 may ask -------------------------------------------------------------------------------------------------------------- */

add([1n], {
  rdtsc: "rdtsc",
  "rdtsc storm": "mov $100000, %esi\n 1: rdtsc\n dec %esi\n jnz 1b",
  "cpuid storm":
    "push %rbx\n mov $2000, %esi\n 1: mov %esi, %eax\n xor %ecx, %ecx\n cpuid\n dec %esi\n jnz 1b\n pop %rbx",
  "cpuid, every leaf that is one, and some that are none":
    "push %rbx\n push %r12\n .irp base, 0, 0x40000000, 0x80000000, 0xc0000000\n mov $\\base, %r12d\n mov $64, %esi\n 1: mov %r12d, %eax\n mov %esi, %ecx\n cpuid\n inc %r12d\n dec %esi\n jnz 1b\n .endr\n pop %r12\n pop %rbx",
});
add([PRIVILEGED, ILLEGAL, 1n], {
  rdpmc: "xor %ecx, %ecx\n rdpmc",
  "rdpmc of a fixed counter": "mov $0x40000000, %ecx\n rdpmc",
});
add([ILLEGAL, 1n], {
  xgetbv: "xor %ecx, %ecx\n xgetbv",
  rdtscp: "rdtscp",
  "rdtscp storm": "mov $100000, %esi\n 1: rdtscp\n dec %esi\n jnz 1b",
  rdpid: "rdpid %rax",
  "rdrand and rdseed": "rdrand %rax\n rdseed %rax",
  "rdrand storm": "mov $20000, %esi\n 1: rdrand %rax\n dec %esi\n jnz 1b",
  rdpru: "xor %ecx, %ecx\n .byte 0x0f, 0x01, 0xfd",
  serialize: ".byte 0x0f, 0x01, 0xe8",
  enclu: "mov $99, %eax\n .byte 0x0f, 0x01, 0xd7",
});
add([PRIVILEGED, ILLEGAL, EXCEPTION, NON_CANONICAL, 1n], {
  "xgetbv of a register that is not there": "mov $77, %ecx\n xgetbv",
});

/* ---- Waiting without giving the processor back: the deadline must not depend on it ---------------------------------------------------------------------- */

add([ILLEGAL, PRIVILEGED, EXCEPTION, NON_CANONICAL, 1n], {
  umonitor: `${scratch} .byte 0xf3, 0x0f, 0xae, 0xf7`,
  umwait: "mov $-1, %eax\n mov %eax, %edx\n xor %ecx, %ecx\n .byte 0xf2, 0x0f, 0xae, 0xf1",
  tpause: "mov $-1, %eax\n mov %eax, %edx\n xor %ecx, %ecx\n .byte 0x66, 0x0f, 0xae, 0xf1",
  "monitorx, mwaitx":
    "mov %rsp, %rax\n xor %ecx, %ecx\n xor %edx, %edx\n .byte 0x0f, 0x01, 0xfa\n mov $2, %ecx\n push %rbx\n mov $100000, %ebx\n .byte 0x0f, 0x01, 0xfb\n pop %rbx",
});

/* ---- Caches, transactions, shadow stacks, user interrupts, profiling: absent, or without effect on anybody else ----------------------------------------- */

add([ILLEGAL, PRIVILEGED, 1n], {
  clflush: "clflush (%rsp)",
  clflushopt: "clflushopt (%rsp)",
  clwb: "clwb (%rsp)",
  "clflush of code": "lea (%rip), %rax\n clflush (%rax)",
  clzero: `${aligned} mov %rdi, %rax\n .byte 0x0f, 0x01, 0xfc`,
  cldemote: "cldemote (%rsp)",
  prefetch: "prefetchw (%rsp)",
  "prefetch of a supervisor page": `movabs $${rawHost.image.layout.header.idt}, %rax\n prefetcht0 (%rax)\n prefetchw (%rax)`,
  xbegin: "xbegin 1f\n xend\n 1:",
  xabort: "xabort $1",
  xtest: "xtest",
  rdsspq: "xor %eax, %eax\n .byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8",
  incsspq: "xor %eax, %eax\n .byte 0xf3, 0x48, 0x0f, 0xae, 0xe8",
  setssbsy: ".byte 0xf3, 0x0f, 0x01, 0xe8",
  saveprevssp: ".byte 0xf3, 0x0f, 0x01, 0xea",
  endbr64: "endbr64",
  clui: ".byte 0xf3, 0x0f, 0x01, 0xee",
  stui: ".byte 0xf3, 0x0f, 0x01, 0xef",
  testui: ".byte 0xf3, 0x0f, 0x01, 0xed",
  senduipi: "xor %eax, %eax\n .byte 0xf3, 0x0f, 0xc7, 0xf0",
  xsusldtrk: ".byte 0xf2, 0x0f, 0x01, 0xe8",
  ptwrite: "xor %eax, %eax\n .byte 0xf3, 0x0f, 0xae, 0xe0",
  movdir64b: `${aligned} .byte 0x66, 0x0f, 0x38, 0xf8, 0x3f`,
  "llwpcb (light-weight profiling)": "xor %eax, %eax\n .byte 0x8f, 0xe9, 0x78, 0x12, 0xc0",
});
add([ILLEGAL, PRIVILEGED, EXCEPTION, NON_CANONICAL], {
  uiret: ".byte 0xf3, 0x0f, 0x01, 0xec",
  enqcmd: `${aligned} .byte 0xf2, 0x0f, 0x38, 0xf8, 0x07`,
  rstorssp: `${scratch} .byte 0xf3, 0x0f, 0x01, 0x2f`,
  wrssq: `${scratch} .byte 0x48, 0x0f, 0x38, 0xf6, 0x07`,
  lkgs: "xor %eax, %eax\n .byte 0xf2, 0x0f, 0x00, 0xf0",
});

/* ---- Saved state, forged --------------------------------------------------------------------------------------------------------------------------------------- */

add([1n], { fxsave: `${aligned} fxsave (%rdi)\n fxrstor (%rdi)` });
add([PRIVILEGED, EXCEPTION, NON_CANONICAL, ILLEGAL, 1n], {
  // QEMU's emulation does not look at the reserved bits.
  "fxrstor with reserved MXCSR bits": `${aligned} fxsave (%rdi)\n movl $-1, 24(%rdi)\n fxrstor (%rdi)`,
  "fxrstor, not aligned": `${aligned} fxrstor 8(%rdi)`,
  "xrstor with a header of ones": `${aligned} movq $-1, 512(%rdi)\n movq $-1, 520(%rdi)\n mov $-1, %eax\n mov %eax, %edx\n xrstor (%rdi)`,
  "xsave and xrstor of everything": `${aligned} sub $8192, %rdi\n mov $-1, %eax\n mov %eax, %edx\n xsave (%rdi)\n xrstor (%rdi)`,
});

/* ---- Selectors: what ring 3 may look at ------------------------------------------------------------------------------------------------------------------------ */

/** Counts the selectors that LAR shows with a DPL below 3, or as a system descriptor (a gate, a TSS). */
cases.push({
  name: "lar, lsl, verr, verw of all 65,536 selectors: none leads to ring 0",
  code: `push %rbx
  xor %ecx, %ecx
  xor %ebx, %ebx
1: verr %cx
  verw %cx
  lsl %ecx, %eax
  lar %ecx, %eax
  jnz 3f
  mov %eax, %edx
  and $0x6000, %edx
  cmp $0x6000, %edx
  jne 2f
  test $0x1000, %eax
  jnz 3f
2: inc %ebx
3: inc %ecx
  cmp $0x10000, %ecx
  jb 1b
  mov %ebx, %eax
  pop %rbx
  ret`,
  expected: [0n],
});

export const sensitive: HostileTable = { title: "sensitive instructions", cases, host: rawHost };
