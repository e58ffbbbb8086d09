/** Instructions that only ring 0 may execute, one by one, with the exact error that each comes to. All the others: cases/opcodes.ts. */
import type { ErrorCode } from "../../support/barecell.ts";
import { isAmd, isPvm, isSvm } from "../../support/environment.ts";
import { type Expected, type HostileCase, type HostileTable, rawHost } from "../hostile-case.ts";

const PRIVILEGED: ErrorCode = "BARECELL_TRAP_PRIVILEGED_INSTRUCTION";
const ILLEGAL: ErrorCode = "BARECELL_TRAP_ILLEGAL_INSTRUCTION";

const scratch = "lea -64(%rsp), %rdi\n";
const aligned =
  "lea -8192(%rsp), %rdi\n and $-4096, %rdi\n xor %eax, %eax\n xor %edx, %edx\n xor %ecx, %ecx\n";
const cases: HostileCase[] = [];
const add = (expected: readonly Expected[], entries: Record<string, string>): void => {
  for (const [name, code] of Object.entries(entries))
    cases.push({ name, code: `${code}\n mov $1, %eax\n ret`, expected });
};

/** Known to the last bit where the processor is AMD's and ring 3 runs on it directly; elsewhere the maker, or what KVM offers, decides between the two. */
const known = (exact: ErrorCode): readonly Expected[] => (isPvm && isAmd ? [exact] : [PRIVILEGED, ILLEGAL]);

/* ---- Ring 0 only, on every processor (Intel SDM vol. 3A, 6.9; AMD APM vol. 3, chapter 4) ------------------------------------------------------ */

add([PRIVILEGED], {
  hlt: "hlt",
  cli: "cli",
  sti: "sti",
  lgdt: `${scratch} lgdt (%rdi)`,
  lidt: `${scratch} lidt (%rdi)`,
  "lgdt from memory that is not there": "movabs $0x7000000000, %rdi\n lgdt (%rdi)",
  lldt: "xor %eax, %eax\n lldt %ax",
  "lldt with its own data": "mov $BC_SEL_USER_DATA, %eax\n lldt %ax",
  ltr: "mov $BC_SEL_TSS, %eax\n ltr %ax",
  lmsw: "xor %eax, %eax\n lmsw %ax",
  "lmsw from memory": `${scratch} lmsw (%rdi)`,
  clts: "clts",
  invd: "invd",
  wbinvd: "wbinvd",
  invlpg: "invlpg (%rsp)",
  "invlpg of a supervisor page": `movabs $${rawHost.image.layout.header.idt}, %rax\n invlpg (%rax)`,
});
const MSRS: Record<string, number> = {
  "time stamp counter": 0x10,
  "APIC base": 0x1b,
  SYSENTER_CS: 0x174,
  SYSENTER_EIP: 0x176,
  DEBUGCTL: 0x1d9,
  PAT: 0x277,
  IA32_XSS: 0xda0,
  EFER: 0xc0000080,
  STAR: 0xc0000081,
  LSTAR: 0xc0000082,
  SFMASK: 0xc0000084,
  "FS base": 0xc0000100,
  "GS base": 0xc0000101,
  "kernel GS base": 0xc0000102,
  TSC_AUX: 0xc0000103,
  VM_HSAVE_PA: 0xc0010117,
  "KVM's wall clock": 0x4b564d00,
  "no known register": 0xdeadbeef,
};
for (const [name, number] of Object.entries(MSRS)) {
  add([PRIVILEGED], {
    [`rdmsr of ${name}`]: `mov $${number}, %ecx\n rdmsr`,
    [`wrmsr of ${name}`]: `mov $${number}, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr`,
  });
}
/** Registers by number, those that do not exist included: they are #UD before any privilege is looked at, or #GP. */
for (let register = 0; register < 16; register++) {
  const rex = (bits: number): string => `0x${(0x40 | (register > 7 ? bits : 0)).toString(16)}`;
  const modrm = `0x${(0xc0 | ((register & 7) << 3)).toString(16)}`;
  const bytes = (opcode: string): string => `xor %eax, %eax\n .byte ${rex(4)}, 0x0f, ${opcode}, ${modrm}`;
  const exists = [0, 2, 3, 4, 8].includes(register);
  const debug = register < 4 || register === 6 || register === 7;
  add(exists ? [PRIVILEGED] : [PRIVILEGED, ILLEGAL], {
    [`mov from cr${register}`]: bytes("0x20"),
    [`mov to cr${register}`]: bytes("0x22"),
  });
  add(debug ? [PRIVILEGED] : [PRIVILEGED, ILLEGAL], {
    [`mov from dr${register}`]: bytes("0x21"),
    [`mov to dr${register}`]: bytes("0x23"),
  });
}

/* ---- Ring 0 only, where the processor has them ------------------------------------------------------------------------------------------------- */

add(known(PRIVILEGED), {
  wbnoinvd: "wbnoinvd",
  swapgs: "swapgs",
  sysretl: "sysretl",
  sysretq: "sysretq",
  sysexit: "sysexit",
  sysexitq: "rex.w sysexit",
  xsetbv: "xor %ecx, %ecx\n mov $7, %eax\n xor %edx, %edx\n xsetbv",
  monitor: "mov %rsp, %rax\n xor %ecx, %ecx\n xor %edx, %edx\n monitor",
  mwait: "xor %eax, %eax\n xor %ecx, %ecx\n mwait",
  vmrun: "mov %rsp, %rax\n vmrun",
  vmload: "mov %rsp, %rax\n vmload",
  vmsave: "mov %rsp, %rax\n vmsave",
  stgi: "stgi",
  clgi: "clgi",
  skinit: "xor %eax, %eax\n skinit",
  invlpga: "xor %eax, %eax\n xor %ecx, %ecx\n invlpga",
});
add(known(ILLEGAL), {
  rsm: "rsm",
  clac: "clac",
  stac: "stac",
  invpcid: `${scratch} xor %eax, %eax\n invpcid (%rdi), %rax`,
  getsec: "xor %eax, %eax\n getsec",
  "getsec, parameters": "mov $6, %eax\n xor %ebx, %ebx\n getsec",
  xsaves: `${aligned} xsaves (%rdi)`,
  xsaves64: `${aligned} xsaves64 (%rdi)`,
  xrstors: `${aligned} xrstors (%rdi)`,
  xrstors64: `${aligned} xrstors64 (%rdi)`,
  encls: "xor %eax, %eax\n .byte 0x0f, 0x01, 0xcf",
  enclv: "xor %eax, %eax\n .byte 0x0f, 0x01, 0xc0",
  pconfig: "xor %eax, %eax\n .byte 0x0f, 0x01, 0xc5",
  wrmsrns: "xor %ecx, %ecx\n .byte 0x0f, 0x01, 0xc6",
  rdmsrlist: "xor %ecx, %ecx\n .byte 0xf2, 0x0f, 0x01, 0xc6",
  wrmsrlist: "xor %ecx, %ecx\n .byte 0xf3, 0x0f, 0x01, 0xc6",
  seamcall: ".byte 0x66, 0x0f, 0x01, 0xcf",
  seamret: ".byte 0x66, 0x0f, 0x01, 0xcd",
  tdcall: "xor %eax, %eax\n .byte 0x66, 0x0f, 0x01, 0xcc",
  erets: ".byte 0xf2, 0x0f, 0x01, 0xca",
  eretu: ".byte 0xf3, 0x0f, 0x01, 0xca",
  hreset: "xor %eax, %eax\n .byte 0xf3, 0x0f, 0x3a, 0xf0, 0xc0, 0x00",
  clrssbsy: `${scratch} .byte 0xf3, 0x0f, 0xae, 0x37`,
  wrussq: `${scratch} .byte 0x66, 0x48, 0x0f, 0x38, 0xf5, 0x07`,
  enqcmds: `${aligned} .byte 0xf3, 0x0f, 0x38, 0xf8, 0x07`,
  invlpgb: `xor %eax, %eax\n .byte 0x0f, 0x01, 0xfe`,
  tlbsync: ".byte 0x0f, 0x01, 0xff",
  psmash: "xor %eax, %eax\n .byte 0xf3, 0x0f, 0x01, 0xff",
  rmpadjust: "xor %eax, %eax\n .byte 0xf3, 0x0f, 0x01, 0xfe",
  rmpupdate: "xor %eax, %eax\n .byte 0xf2, 0x0f, 0x01, 0xfe",
  pvalidate: "xor %eax, %eax\n .byte 0xf2, 0x0f, 0x01, 0xff",
  vmxon: `${scratch} vmxon (%rdi)`,
  vmxoff: "vmxoff",
  vmlaunch: "vmlaunch",
  vmresume: "vmresume",
  vmclear: `${scratch} vmclear (%rdi)`,
  vmptrld: `${scratch} vmptrld (%rdi)`,
  vmptrst: `${scratch} vmptrst (%rdi)`,
  vmread: "xor %eax, %eax\n vmread %rax, %rcx",
  vmwrite: "xor %eax, %eax\n vmwrite %rax, %rcx",
  vmfunc: "xor %eax, %eax\n xor %ecx, %ecx\n vmfunc",
  invept: `${scratch} xor %eax, %eax\n invept (%rdi), %rax`,
  invvpid: `${scratch} xor %eax, %eax\n invvpid (%rdi), %rax`,
  rdpkru: "xor %ecx, %ecx\n rdpkru",
  wrpkru: "xor %ecx, %ecx\n xor %edx, %edx\n xor %eax, %eax\n wrpkru",
});
// Opcodes that exist to be invalid, those that 64-bit mode took away, and prefixes that make an instruction invalid.
// QEMU's emulation lets some LOCK prefixes pass.
add(isSvm ? [ILLEGAL, 1n] : [ILLEGAL], {
  ud0: ".byte 0x0f, 0xff, 0xc0",
  ud1: ".byte 0x0f, 0xb9, 0xc0",
  ud2: "ud2",
  ...Object.fromEntries(
    [
      0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x9a, 0xce, 0xd4, 0xd5,
      0xd6, 0xea,
    ].map((opcode) => [
      `opcode 0x${opcode.toString(16)}, gone since 64 bits`,
      `.byte ${opcode}, 0, 0, 0, 0, 0, 0`,
    ]),
  ),
  // Below the stack pointer: QEMU overlooks the prefix, and would write over the return address.
  "lock mov": ".byte 0xf0, 0x89, 0x44, 0x24, 0xf8",
  "lock nop": ".byte 0xf0, 0x90",
  "lock out": "mov $0x400, %edx\n .byte 0xf0, 0xee",
  "lock hlt's neighbour cmc": ".byte 0xf0, 0xf5",
  "lock add to a register": ".byte 0xf0, 0x01, 0xc0",
  "mov to CS": "xor %eax, %eax\n .byte 0x8e, 0xc8",
  "lea of a register": ".byte 0x8d, 0xc0",
  "cmpxchg8b of a register, locked (the f00f bug)": ".byte 0xf0, 0x0f, 0xc7, 0xc8",
});

/* ---- The doors into ring 0, and out of the VM --------------------------------------------------------------------------------------------------- */

// Where EFER.SCE is set by the host, `syscall` reaches the stub that reports it.
add(known(PRIVILEGED), {
  syscall: "syscall",
  "syscall with a pivoted stack": "xor %esp, %esp\n syscall",
  "syscall with TF": "pushfq\n orl $0x100, (%rsp)\n popfq\n syscall",
});
add(known(ILLEGAL), {
  sysenter: "sysenter",
  "sysenter with a pivoted stack": "xor %esp, %esp\n sysenter",
});
// Calls to the hypervisor: refused, or answered with an error; both are harmless.
add(isPvm && isAmd ? [PRIVILEGED] : [PRIVILEGED, ILLEGAL, 1n], {
  vmcall: "mov $0xffff, %eax\n vmcall",
  "vmcall of every number":
    "xor %ebx, %ebx\n 1: mov %ebx, %eax\n xor %ecx, %ecx\n vmcall\n inc %ebx\n cmp $64, %ebx\n jb 1b",
});
add(isPvm && isAmd ? [1n] : [PRIVILEGED, ILLEGAL, 1n], {
  vmmcall: "mov $0xffff, %eax\n vmmcall",
  "vmmcall of every number":
    "push %rbx\n xor %ebx, %ebx\n 1: mov %ebx, %eax\n vmmcall\n inc %ebx\n cmp $64, %ebx\n jb 1b\n pop %rbx",
  vmgexit: "xor %eax, %eax\n .byte 0xf3, 0x0f, 0x01, 0xd9",
});

export const privileged: HostileTable = {
  title: "privileged instructions",
  cases,
  host: rawHost,
};
