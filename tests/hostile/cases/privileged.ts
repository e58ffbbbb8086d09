/** Instructions that only ring 0 may execute, and those that only tell a tenant something. */
import type { ErrorCode } from "../../support/barecell.ts";
import { type HostileCase, type HostileTable, rawHost } from "../hostile-case.ts";

const PRIVILEGED: readonly ErrorCode[] = ["BARECELL_TRAP_PRIVILEGED_INSTRUCTION"];
/** Where the virtual processor lacks the feature, or ring 3 gets #UD for it. */
const ILLEGAL: readonly ErrorCode[] = ["BARECELL_TRAP_ILLEGAL_INSTRUCTION"];
const EITHER: readonly ErrorCode[] = [...PRIVILEGED, ...ILLEGAL];

const scratch = "lea -64(%rsp), %rdi\n";
const cases: HostileCase[] = [];
const add = (expected: HostileCase["expected"], entries: Record<string, string>): void => {
  for (const [name, code] of Object.entries(entries))
    cases.push({ name, code: `${code}\n mov $1, %eax\n ret`, expected });
};

add(PRIVILEGED, {
  hlt: "hlt",
  cli: "cli",
  sti: "sti",
  lgdt: `${scratch} lgdt (%rdi)`,
  lidt: `${scratch} lidt (%rdi)`,
  lldt: "xor %eax, %eax\n lldt %ax",
  ltr: "mov $BC_SEL_TSS, %eax\n ltr %ax",
  lmsw: "xor %eax, %eax\n lmsw %ax",
  clts: "clts",
  invd: "invd",
  wbinvd: "wbinvd",
  invlpg: "invlpg (%rsp)",
  "rdmsr EFER": "mov $0xc0000080, %ecx\n rdmsr",
  "wrmsr EFER": "mov $0xc0000080, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr",
  "wrmsr LSTAR": "mov $0xc0000082, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr",
  "wrmsr GS base": "mov $0xc0000101, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr",
  "wrmsr of no known register": "mov $0xdeadbeef, %ecx\n wrmsr",
});
for (const register of [0, 2, 3, 4, 8]) {
  add(EITHER, {
    [`mov from cr${register}`]: `mov %cr${register}, %rax`,
    [`mov to cr${register}`]: `xor %eax, %eax\n mov %rax, %cr${register}`,
  });
}
for (const register of [0, 3, 6, 7]) {
  add(PRIVILEGED, {
    [`mov from dr${register}`]: `mov %db${register}, %rax`,
    [`mov to dr${register}`]: `xor %eax, %eax\n mov %rax, %db${register}`,
  });
}
add(EITHER, {
  swapgs: "swapgs",
  sysretl: "sysretl",
  sysretq: "sysretq",
  sysexit: "sysexit",
  xsetbv: "xor %ecx, %ecx\n mov $7, %eax\n xor %edx, %edx\n xsetbv",
  rsm: "rsm",
  monitor: "mov %rsp, %rax\n xor %ecx, %ecx\n xor %edx, %edx\n monitor",
  mwait: "xor %eax, %eax\n xor %ecx, %ecx\n mwait",
  invpcid: `${scratch} xor %eax, %eax\n invpcid (%rdi), %rax`,
  clac: "clac",
  stac: "stac",
  vmrun: "mov %rsp, %rax\n vmrun",
  vmload: "mov %rsp, %rax\n vmload",
  vmsave: "mov %rsp, %rax\n vmsave",
  stgi: "stgi",
  clgi: "clgi",
  skinit: "skinit",
  invlpga: "xor %eax, %eax\n xor %ecx, %ecx\n invlpga",
  vmxon: `${scratch} vmxon (%rdi)`,
  vmlaunch: "vmlaunch",
  vmptrld: `${scratch} vmptrld (%rdi)`,
  getsec: "xor %eax, %eax\n getsec",
  encls: "xor %eax, %eax\n .byte 0x0f, 0x01, 0xcf",
  xsaves: `lea -4096(%rsp), %rdi\n and $-64, %rdi\n xor %eax, %eax\n xor %edx, %edx\n xsaves (%rdi)`,
  xrstors: `lea -4096(%rsp), %rdi\n and $-64, %rdi\n xor %eax, %eax\n xor %edx, %edx\n xrstors (%rdi)`,
  wbnoinvd: "wbnoinvd",
  rdpkru: "xor %ecx, %ecx\n rdpkru",
  wrpkru: "xor %ecx, %ecx\n xor %edx, %edx\n xor %eax, %eax\n wrpkru",
});
// The doors into ring 0. Where EFER.SCE is set by the host, `syscall` reaches the stub that reports it.
add(EITHER, { syscall: "syscall", sysenter: "sysenter" });
add(EITHER, {
  "syscall with a pivoted stack": "xor %esp, %esp\n syscall",
  "syscall with TF": "pushfq\n orl $0x100, (%rsp)\n popfq\n syscall",
});
// Calls to the hypervisor: refused, or answered with an error; both are harmless.
add([...EITHER, "any result"], {
  vmcall: "mov $0xffff, %eax\n vmcall",
  vmmcall: "mov $0xffff, %eax\n vmmcall",
  "vmcall of every number":
    "xor %ebx, %ebx\n 1: mov %ebx, %eax\n xor %ecx, %ecx\n vmcall\n inc %ebx\n cmp $64, %ebx\n jb 1b",
  "vmmcall of every number":
    "push %rbx\n xor %ebx, %ebx\n 1: mov %ebx, %eax\n vmmcall\n inc %ebx\n cmp $64, %ebx\n jb 1b\n pop %rbx",
});

// Not privileged, but sensitive: they tell a tenant addresses of tables or state of the processor. Closed by UMIP where there is any.
cases.push(
  ...["sgdt", "sidt"].map((name) => ({
    name,
    code: `lea -64(%rsp), %rdi\n ${name} (%rdi)\n mov 2(%rdi), %rax\n ret`,
    expected: [...EITHER, "any result"] as const,
  })),
  ...["sldt", "str", "smsw"].map((name) => ({
    name,
    code: `xor %eax, %eax\n ${name} %eax\n ret`,
    expected: [...EITHER, "any result"] as const,
  })),
  { name: "rdpmc", code: "xor %ecx, %ecx\n rdpmc\n mov $1, %eax\n ret", expected: [...EITHER, "any result"] },
  { name: "xgetbv", code: "xor %ecx, %ecx\n xgetbv\n mov $1, %eax\n ret", expected: [...EITHER, 1n] },
  { name: "rdtscp", code: "rdtscp\n mov $1, %eax\n ret", expected: [...EITHER, 1n] },
  { name: "rdpid", code: "rdpid %rax\n mov $1, %eax\n ret", expected: [...EITHER, 1n] },
  {
    name: "rdtsc storm",
    code: "mov $100000, %esi\n 1: rdtsc\n dec %esi\n jnz 1b\n mov $1, %eax\n ret",
    expected: [1n],
  },
  {
    name: "cpuid storm",
    code: "push %rbx\n mov $2000, %esi\n 1: mov %esi, %eax\n xor %ecx, %ecx\n cpuid\n dec %esi\n jnz 1b\n pop %rbx\n mov $1, %eax\n ret",
    expected: [1n],
  },
  {
    name: "verr, verw, lar, lsl of every selector",
    code: "mov $0x40, %ecx\n 1: verr %cx\n verw %cx\n lar %ecx, %eax\n lsl %ecx, %eax\n dec %ecx\n jns 1b\n mov $1, %eax\n ret",
    expected: [1n],
  },
  {
    name: "rdrand and rdseed",
    code: "rdrand %rax\n rdseed %rax\n mov $1, %eax\n ret",
    expected: [...ILLEGAL, 1n],
  },
);

export const privileged: HostileTable = {
  title: "privileged and sensitive instructions",
  cases,
  host: rawHost,
};
