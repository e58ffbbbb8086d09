/** Jumps, reads, writes and stacks at every place of the address space where a tenant has no business. */
import {
  BC_GDT_GPA,
  BC_IMAGE_BASE,
  BC_STACK_HOLE_BASE,
  BC_STACK_TOP,
  BC_TABLES_GPA,
} from "../../../dist/abi.js";
import type { ErrorCode } from "../../support/barecell.ts";
import { type HostileCase, type HostileTable, rawHost } from "../hostile-case.ts";

const { header, segments } = rawHost.image.layout;
const DENIED: ErrorCode = "BARECELL_TRAP_ACCESS_DENIED";
const OOB: ErrorCode = "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY";
const STACK: ErrorCode = "BARECELL_TRAP_STACK_EXHAUSTED";
const NON_CANONICAL: ErrorCode = "BARECELL_TRAP_NON_CANONICAL_ADDRESS";

const startOf = (purpose: string): number => {
  const found = segments.find((segment) => segment.purpose === purpose);
  if (!found) throw new Error(`no segment of ${purpose}`);
  return found.virtual;
};
const imageEnd = Math.max(
  ...segments.filter((s) => s.virtual >= BC_IMAGE_BASE).map((s) => s.virtual + s.memoryBytes),
);

interface Place {
  readonly at: number | bigint;
  /** What reading, writing and executing there must come to; undefined: it is allowed. */
  readonly read?: ErrorCode;
  readonly write?: ErrorCode;
  readonly execute: readonly ErrorCode[];
}

const forbidden = { read: DENIED, write: DENIED, execute: [DENIED] } as const;
const places: Record<string, Place> = {
  "the boot stub": { at: rawHost.symbol("bc_boot_start"), ...forbidden },
  "an exception gate": { at: rawHost.symbol("bc_exception_gates") + 8 * 14, ...forbidden },
  "the syscall stub": {
    at: header.syscallEntry,
    ...forbidden,
    execute: ["BARECELL_TRAP_PRIVILEGED_INSTRUCTION"],
  },
  "the header page": { at: BC_IMAGE_BASE + BC_TABLES_GPA, ...forbidden },
  "the IDT": { at: header.idt, ...forbidden },
  "the GDT": { at: BC_IMAGE_BASE + BC_GDT_GPA, ...forbidden },
  "the TSS": { at: BC_IMAGE_BASE + BC_GDT_GPA + 0x40, ...forbidden },
  "the I/O bitmap": { at: BC_IMAGE_BASE + BC_GDT_GPA + 0x40 + 104, ...forbidden },
  "the page tables": { at: BC_IMAGE_BASE + header.pageTablesGpa, ...forbidden },
  "the run root of the page tables": { at: BC_IMAGE_BASE + header.runPml4Gpa, ...forbidden },
  "the exception stacks": { at: header.exceptionStacks + 512, ...forbidden },
  "guest-physical page 0": { at: BC_IMAGE_BASE, ...forbidden },
  "behind the image": { at: imageEnd, ...forbidden },
  "1 GiB behind the image": { at: imageEnd + 2 ** 30, ...forbidden },
  "the last user address": { at: 0x7fff_ffff_fff0, ...forbidden },
  "the upper half": { at: 0xffff_8000_0000_0000n, ...forbidden },
  "the last page of all": { at: 0xffff_ffff_ffff_f000n, ...forbidden },
  "between linear memory's reach and the hole": { at: 0x2_0000_0000, ...forbidden },
  "the hole below the stack": { at: BC_STACK_HOLE_BASE, read: STACK, write: STACK, execute: [DENIED] },
  "just below the stack": {
    at: BC_STACK_TOP - header.stackBytes - 8,
    read: STACK,
    write: STACK,
    execute: [DENIED],
  },
  "just above the stack": { at: BC_STACK_TOP, ...forbidden },
  "past linear memory": { at: 0x10_0000, read: OOB, write: OOB, execute: [DENIED] },
  "linear memory": { at: 0x1000, execute: [DENIED] },
  "address 0": { at: 0, execute: [DENIED] },
  "the stack": { at: BC_STACK_TOP - 4096, execute: [DENIED] },
  "the mailbox": { at: header.mailbox, execute: [DENIED] },
  data: { at: startOf("data"), execute: [DENIED] },
  "read-only data": { at: startOf("read-only data"), write: DENIED, execute: [DENIED] },
  code: { at: rawHost.symbol("bc_guest_init"), write: DENIED, execute: [] },
  "a non-canonical address": {
    at: 0x8000_0000_0000n,
    read: NON_CANONICAL,
    write: NON_CANONICAL,
    execute: [NON_CANONICAL, "BARECELL_TRAP_CPU_EXCEPTION"],
  },
  "another non-canonical address": {
    at: 0xdead_beef_dead_beefn,
    read: NON_CANONICAL,
    write: NON_CANONICAL,
    execute: [NON_CANONICAL, "BARECELL_TRAP_CPU_EXCEPTION"],
  },
};

const cases: HostileCase[] = [];
const load = (at: number | bigint): string => `movabs $0x${at.toString(16)}, %rax\n`;
for (const [name, { at, read, write, execute }] of Object.entries(places)) {
  cases.push({
    name: `read ${name}`,
    code: `${load(at)} mov (%rax), %rcx\n mov $1, %eax\n ret`,
    expected: [read ?? 1n],
  });
  // What is there is written back, so that an allowed write changes nothing.
  const kept = read ? "" : "mov (%rax), %rcx\n";
  cases.push({
    name: `write ${name}`,
    code: `${load(at)} ${kept} mov %rcx, (%rax)\n mov $1, %eax\n ret`,
    expected: [write ?? 1n],
  });
  cases.push({
    name: `rep movs to ${name}`,
    code: `${load(at)} mov %rax, %rdi\n mov %rsp, %rsi\n ${read ? "" : "mov %rdi, %rsi\n"} mov $1, %ecx\n rep movsq\n mov $1, %eax\n ret`,
    expected: [write ?? 1n],
  });
  cases.push({
    name: `lock xadd ${name}`,
    code: `${load(at)} xor %ecx, %ecx\n lock xadd %rcx, (%rax)\n mov $1, %eax\n ret`,
    expected: [write ?? 1n],
  });
  if (execute.length === 0) continue;
  cases.push({ name: `jump to ${name}`, code: `${load(at)} jmp *%rax`, expected: execute });
  cases.push({ name: `call ${name}`, code: `${load(at)} call *%rax`, expected: execute });
  cases.push({ name: `return to ${name}`, code: `${load(at)} push %rax\n ret`, expected: execute });
}

/** A stack there, and then something that needs one, or that the CPU needs one for. */
const STACK_USERS: Record<string, string> = {
  fault: "ud2",
  push: "push %rax",
  interrupt: "int3",
  "page fault": "movb $0, (%rcx)",
};
for (const [name, place] of Object.entries(places)) {
  for (const [user, code] of Object.entries(STACK_USERS)) {
    const byCode: Record<string, HostileCase["expected"]> = {
      fault: ["BARECELL_TRAP_ILLEGAL_INSTRUCTION"],
      interrupt: ["BARECELL_TRAP_CPU_EXCEPTION"],
      "page fault": [DENIED],
      // A push goes below the place, so it may hit a neighbour that allows it, or that has another name.
      push: [DENIED, OOB, STACK, NON_CANONICAL, 1n],
    };
    cases.push({
      name: `stack at ${name}, then ${user}`,
      code: `mov %rsp, %rbp\n ${load(place.at)} mov %rax, %rsp\n movabs $BC_STACK_TOP, %rcx\n ${code}\n mov %rbp, %rsp\n mov $1, %eax\n ret`,
      expected: byCode[user] ?? [],
    });
  }
}
// Pivot, and leave by the front door: nothing at all happens.
cases.push({
  name: "the end of the call with a ruined stack",
  code: `xor %esp, %esp\n movabs $${header.mailbox}, %rbx\n movq $1, BC_MAILBOX_HEADER_BYTES(%rbx)\n out %al, $BC_PORT_DONE`,
  expected: [1n],
});
cases.push({
  name: "self-modifying code",
  code: "lea 1f(%rip), %rdi\n movb $0x90, (%rdi)\n 1: ud2",
  expected: [DENIED],
});
cases.push({
  name: "code copied to linear memory",
  code: "lea 1f(%rip), %rsi\n mov $0x100, %edi\n mov $16, %ecx\n rep movsb\n mov $0x100, %eax\n jmp *%rax\n 1: mov $1, %eax\n ret",
  expected: [DENIED],
});
cases.push({
  name: "the boot entry again",
  code: `${load(header.bootEntry)} jmp *%rax`,
  expected: ["BARECELL_GUEST_PROTOCOL"],
});
cases.push({ name: "the call entry again", code: `${load(header.callEntry)} jmp *%rax`, expected: [STACK] });

export const placesTable: HostileTable = { title: "places", cases, host: rawHost };
