/** Every way to use a port: control ports, ports of imports, the exceptions' ports, and those that mean nothing. */
import type { ErrorCode } from "../../support/barecell.ts";
import { type HostileCase, type HostileTable, rawHost } from "../hostile-case.ts";

const DENIED: ErrorCode = "BARECELL_TRAP_PORT_DENIED";
const IMPORT: ErrorCode = "BARECELL_TRAP_IMPORT_DENIED";
const PROTOCOL: ErrorCode = "BARECELL_GUEST_PROTOCOL";

const MAILBOX = `movabs $${rawHost.image.layout.header.mailbox}, %rbx\n`;
const cases: HostileCase[] = [];
const widths = { b: "%al", w: "%ax", l: "%eax" };

function add(name: string, code: string, ...expected: HostileCase["expected"]): void {
  cases.push({ name, code: `${code}\n mov $1, %eax\n ret`, expected });
}

/** In every width and direction, plain, as string instruction, and with rep. */
function addAll(name: string, port: number, expected: (way: string) => HostileCase["expected"]): void {
  for (const [width, register] of Object.entries(widths)) {
    const dx = `mov $${port}, %edx\n`;
    const memory = "lea -256(%rsp), %rdi\n mov %rdi, %rsi\n cld\n";
    const ways: Record<string, string> = {
      // AL by intention: on the port of traps it is the trap's number.
      [`out${width}`]: `${dx} xor %eax, %eax\n out${width} ${register}, %dx`,
      [`in${width}`]: `${dx} in${width} %dx, ${register}`,
      [`outs${width}`]: `${memory} ${dx} outs${width}`,
      [`ins${width}`]: `${memory} ${dx} ins${width}`,
      [`rep outs${width}`]: `${memory} ${dx} mov $7, %ecx\n rep outs${width}`,
      [`rep ins${width}`]: `${memory} ${dx} mov $7, %ecx\n rep ins${width}`,
    };
    for (const [way, code] of Object.entries(ways)) add(`${way} ${name}`, code, ...expected(way));
  }
}

/** What the bitmap closes is closed, whatever the instruction. */
addAll("the closed import's port", 0x401, () => [IMPORT]);
addAll("exception port 14", 0x2e, () => [DENIED]);
addAll("a port past the bitmap", 0x9000, () => [DENIED]);
addAll("the last port", 0xffff, () => [DENIED]);

/** The granted import: only the one-byte `out` is a call; a wider access reaches the closed port beside it. */
addAll("the granted import's port", 0x400, (way) => {
  if (way === "outb" || way === "outsb") return [1n];
  // KVM hands over a repeated instruction one by one, or several at once, which is no call.
  if (way === "rep outsb") return [1n, PROTOCOL];
  return way.endsWith("b") ? [PROTOCOL] : [IMPORT];
});

/** The four control ports lie side by side, so that wider accesses pass the bitmap for the first ones; the host refuses them. */
for (const [name, port] of [
  ["READY", 0x11],
  ["DONE", 0x12],
  ["TRAP", 0x13],
  ["GROW", 0x14],
] as const) {
  addAll(`port ${name}`, port, (way) => {
    const bytes = way.endsWith("b") ? 1 : way.endsWith("w") ? 2 : 4;
    if (port + bytes - 1 > 0x14) return [DENIED];
    if (way !== "outb" && way !== "outsb" && way !== "rep outsb") return [PROTOCOL];
    // A one-byte out means what it says: nothing to gain from any of them.
    const atOnce: HostileCase["expected"] = way === "rep outsb" ? [PROTOCOL] : [];
    return [
      ...atOnce,
      ...{ READY: [PROTOCOL], DONE: ["any result"], TRAP: [PROTOCOL], GROW: [1n] }[name],
    ] as HostileCase["expected"];
  });
}

function everyPortOf(from: number, to: number, body: string): string {
  return `mov $${from}, %edx\n 1: ${body}\n inc %edx\n cmp $${to}, %edx\n jbe 1b`;
}
for (let port = 0x20; port <= 0x40; port++)
  add(`out to port 0x${port.toString(16)}`, `out %al, $${port}`, DENIED);
for (const port of [0, 0x10, 0x15, 0x1f, 0x60, 0x64, 0x70, 0x80, 0xcf8, 0x3f8, 0x3ff, 0x402, 0x407, 0x408]) {
  add(`out to port 0x${port.toString(16)}`, `mov $${port}, %edx\n out %al, %dx`, DENIED);
  add(`in from port 0x${port.toString(16)}`, `mov $${port}, %edx\n in %dx, %al`, DENIED);
}
add("out with garbage above DX", "movabs $0xffffffffffff0400, %rdx\n out %al, %dx", 1n);
add("rep outsb of nothing", "mov $0x400, %edx\n xor %ecx, %ecx\n rep outsb", 1n);
add(
  "rep outsb of a huge count",
  "mov $0x400, %edx\n lea -64(%rsp), %rsi\n mov $-1, %rcx\n rep outsb",
  PROTOCOL,
  "BARECELL_TRAP_ACCESS_DENIED",
);
add(
  "outsb from memory that is not there",
  "mov $0x400, %edx\n movabs $0x7ff0000000, %rsi\n outsb",
  "BARECELL_TRAP_ACCESS_DENIED",
);
add(
  "outsb from a supervisor page",
  "mov $0x400, %edx\n movabs $BC_IMAGE_BASE + BC_GDT_GPA, %rsi\n outsb",
  "BARECELL_TRAP_ACCESS_DENIED",
);
add("insb into code", "mov $0x400, %edx\n lea (%rip), %rdi\n insb", "BARECELL_TRAP_ACCESS_DENIED", PROTOCOL);
add("a host call storm", everyPortOf(0, 1000, "push %rdx\n mov $0x400, %edx\n out %al, %dx\n pop %rdx"), 1n);

/** Ends that only the runtime should report: a tenant can, and gets an error for it. */
for (const [number, code] of [
  [0, PROTOCOL],
  [1, "BARECELL_TRAP_UNREACHABLE"],
  [9, "BARECELL_TRAP_STACK_EXHAUSTED"],
  [10, PROTOCOL],
  [64, PROTOCOL],
  [255, PROTOCOL],
] as const) {
  cases.push({
    name: `trap number ${number}`,
    code: `mov $${number}, %eax\n out %al, $BC_PORT_TRAP`,
    expected: [code],
    calls: [["victim"]],
  });
}

/** A forged mailbox. */
const grow = (pages: string): string =>
  `${MAILBOX} movabs $${pages}, %rax\n mov %rax, BC_MAILBOX_GROW_PAGES(%rbx)\n out %al, $BC_PORT_GROW\n mov BC_MAILBOX_GROW_RESULT(%rbx), %rax\n ret`;
for (const [pages, result] of [
  ["0", 1n],
  ["16", -1n],
  ["65536", -1n],
  ["0x1000000000000", -1n],
  ["0x0001000000000001", -1n],
  ["0xffffffffffffffff", -1n],
  ["0x8000000000000000", -1n],
] as const) {
  cases.push({
    name: `growth by ${pages} pages behind the runtime's back`,
    code: `push %rbx\n ${grow(pages).replace(/ret$/, "pop %rbx\n ret")}`,
    expected: [result],
  });
}
for (const memory of ["1", "99", "100", "0x7fffffff", "0xffffffff"]) {
  cases.push({
    name: `growth of memory ${memory}, which is not there`,
    code: `push %rbx\n ${MAILBOX} movl $${memory}, BC_MAILBOX_GROW_MEMORY(%rbx)\n ${grow("1").replace(/ret$/, "pop %rbx\n ret")}`,
    expected: [-1n],
    calls: [["victim"], ["good", 9], ["grow", 1], ["poke", 2 * 65_536 - 8, 5n]],
  });
}
cases.push({
  name: "growth that the runtime does not know of",
  code: `push %rbx\n ${grow("2").replace(/ret$/, "pop %rbx\n ret")}`,
  expected: [1n],
  calls: [["victim"], ["good", 9], ["grow", 1], ["peek", 65_536], ["poke", 3 * 65_536 - 8, 5n]],
});
cases.push({
  name: "a mailbox full of ones, then a host call and the end",
  code: `${MAILBOX} mov %rbx, %rdi\n mov $-1, %rax\n mov $256, %ecx\n cld\n rep stosq\n mov $0x400, %edx\n out %al, %dx\n out %al, $BC_PORT_DONE`,
  expected: ["any result"],
});
cases.push({
  name: "mailbox operation and function changed, then the call entry again",
  code: `${MAILBOX} movl $77, BC_MAILBOX_OP(%rbx)\n movl $-1, BC_MAILBOX_FUNCTION(%rbx)\n movabs $${rawHost.symbol("bc_ring3_call")}, %rax\n jmp *%rax`,
  expected: [PROTOCOL],
});

export const portsTable: HostileTable = { title: "ports", cases, host: rawHost };
