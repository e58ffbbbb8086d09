/** What a tenant finds in the processor's registers: nothing of the host's, and nothing that the tenant before it left there. */
import assert from "node:assert/strict";
import { type HostileCase, type HostileTable, type Report, rawHost } from "../hostile-case.ts";

const SECRET = 0x5ec2e75ec2e75ec2n;
const SAVED = 0x100;
const UPPER = 0x300;
const vectors = Array.from({ length: 16 }, (_, i) => i);

/** Everything that ring 3 can write, full of the secret; and left so, by a return, a trap or a fault. */
const leave = (end: string): string => `movabs $${SECRET}, %rax
  ${vectors.map((i) => `movq %rax, %xmm${i}\n punpcklqdq %xmm${i}, %xmm${i}`).join("\n")}
  ${vectors.map((i) => `vinsertf128 $1, %xmm${i}, %ymm${i}, %ymm${i}`).join("\n")}
  ${vectors
    .slice(0, 8)
    .map((i) => `movq %rax, %mm${i}`)
    .join("\n")}
  mov %rax, %rcx\n mov %rax, %rdx\n mov %rax, %rsi\n mov %rax, %rdi
  .irp r,r8,r9,r10,r11\n mov %rax, %\\r\n .endr
  ${end}`;
const noAvx = (code: string): string => code.replace(/^ *vinsertf128.*$/gm, "");
const ENDS: Record<string, string> = {
  return: "ret",
  fault: "ud2",
  trap: "mov $BC_TRAP_UNREACHABLE, %eax\n out %al, $BC_PORT_TRAP",
};

const look = `mov %rax, 0
  .irp r,rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15\n mov %\\r, 8 + 8 * place\n .set place, place + 1\n .endr
  fxsave ${SAVED}`;
const lookAtAll = `.set place, 0\n ${look}`;
const upperHalves = vectors.map((i) => `vextractf128 $1, %ymm${i}, ${UPPER + 16 * i}`).join("\n");

function words(report: Report): bigint[] {
  const memory = report.memory ?? new Uint8Array(0);
  assert.equal(memory.length, 1024);
  return [...new BigUint64Array(memory.buffer.slice(memory.byteOffset, memory.byteOffset + 1024))];
}

/** User addresses of a process on Linux, and the kernel's. The guest's own end at some hundred GiB. */
const isPointer = (word: bigint): boolean =>
  (word >= 0x5500_0000_0000n && word < 0x8000_0000_0000n) ||
  (word >> 40n === 0xffffffn && word !== 0xffff_ffff_ffff_ffffn);

function nothingOfOthers(report: Report): void {
  const found = words(report);
  assert(!found.includes(SECRET), "the secret of the tenant before");
  // x87 and MMX registers lie 16 bytes apart, so they are whole words too.
  const pointers = found.filter(isPointer).map((word) => word.toString(16));
  assert.deepEqual(pointers, [], "addresses of the host");
}

const cases: HostileCase[] = [];
for (const [end, code] of Object.entries(ENDS)) {
  cases.push({
    name: `general, x87, MMX and SSE registers after another tenant's ${end}`,
    code: `${lookAtAll}\n mov $1, %eax\n ret`,
    predecessor: noAvx(leave(code)),
    expected: [1n],
    check: nothingOfOthers,
  });
  cases.push({
    name: `upper halves of AVX registers after another tenant's ${end}`,
    code: `${upperHalves}\n mov $1, %eax\n ret`,
    predecessor: leave(code),
    // Where the image was not compiled for AVX, hardware KVM has it off.
    expected: ["BARECELL_TRAP_ILLEGAL_INSTRUCTION", 1n],
    check: nothingOfOthers,
  });
}
cases.push({
  name: "the check finds a secret: a tenant finds its own",
  code: `movabs $${SECRET}, %rax\n movq %rax, %xmm9\n ${lookAtAll}\n mov $1, %eax\n ret`,
  expected: [1n],
  check: (report) => assert.throws(() => nothingOfOthers(report)),
});
cases.push({
  name: "FS and GS base are zero, whatever the tenant before set",
  code: "rdfsbase %rax\n mov %rax, 0\n rdgsbase %rax\n mov %rax, 8\n mov $1, %eax\n ret",
  predecessor: `movabs $0x123456789000, %rax\n wrfsbase %rax\n wrgsbase %rax\n ret`,
  // CR4.FSGSBASE is clear in the guest; PVM runs ring 3 under the host's, which has it.
  expected: ["BARECELL_TRAP_ILLEGAL_INSTRUCTION", 1n],
  check: (report) => assert.deepEqual(words(report).slice(0, 2), [0n, 0n]),
});

export const neighbours: HostileTable = { title: "what a tenant finds in registers", cases, host: rawHost };
