/**
 * The opcode map: every one-byte and two-byte opcode with every prefix that changes its meaning, with a register and with memory; every extension byte of the
 * groups that system instructions live in; the three-byte maps; VEX, EVEX and XOP. Which error each comes to is in cases/privileged.ts and
 * cases/sensitive.ts; here every one of them must be the guest's own business: a trap of its own or a result, with the VM as good as before.
 */
import { announceSkip, isSvm, slowness } from "../support/environment.ts";
import { RawHost } from "../support/raw-code.ts";
import { type Sweep, type SweepInput, sweepSuite } from "./run-sweep.ts";

/** Room for 32 bytes each. */
const PER_IMAGE = 4096;
// Not optimised: much code in little time.
const host = await RawHost.create("", 2_400, { optimize: 0 });

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
/** None, operand size, REP and REPNE (which select instructions in the two-byte map), LOCK, 64 bits. */
const PREFIXES = [[], [0x66], [0xf3], [0xf2], [0xf0], [0x48]];
/** Memory by RDI (which points to memory of the tenant's), and registers RAX and RCX. */
const OPERANDS = [0x0f, 0xc8];

const programs: number[][] = [];
for (const prefix of PREFIXES) {
  for (const opcode of range(256)) {
    // Prefixes and escapes have their own turn.
    for (const operand of OPERANDS)
      programs.push([...prefix, opcode, operand], [...prefix, 0x0f, opcode, operand]);
  }
}
// Groups 6, 7, 9, 15, and 16 to 17 with prefetches; movs of control and debug registers.
for (const opcode of [0x00, 0x01, 0x18, 0xae, 0xc7, 0x20, 0x21, 0x22, 0x23]) {
  for (const prefix of PREFIXES.slice(0, 4))
    for (const byte of range(256)) programs.push([...prefix, 0x0f, opcode, byte]);
}
// Groups of the one-byte map.
for (const opcode of [0x80, 0x8f, 0xc0, 0xc6, 0xc7, 0xd8, 0xdb, 0xdf, 0xf6, 0xf7, 0xfe, 0xff]) {
  for (const byte of range(256)) programs.push([opcode, byte]);
}
for (const map of [0x38, 0x3a]) {
  for (const prefix of PREFIXES.slice(0, 4)) {
    for (const opcode of range(256))
      for (const operand of OPERANDS) programs.push([...prefix, 0x0f, map, opcode, operand]);
  }
}
for (const opcode of range(256)) {
  for (const operand of OPERANDS) {
    programs.push([0xc5, 0xf8, opcode, operand]);
    for (const map of [1, 2, 3]) {
      programs.push([0xc4, 0xe0 | map, 0x79, opcode, operand]);
      programs.push([0x62, 0xf0 | map, 0x7d, 0x08, opcode, operand]);
    }
    for (const map of [8, 9, 10]) programs.push([0x8f, 0xe0 | map, 0x78, opcode, operand]);
  }
}

const spell = (bytes: readonly number[]): string =>
  bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
const unique = [...new Map(programs.map((bytes) => [spell(bytes), bytes]))];
// Behind the instruction: operands of up to eight bytes that mean nothing, then a return.
const slot = (bytes: readonly number[]): string =>
  `.balign 32, 0x90\n .byte ${bytes.join(", ")}\n .fill 8, 1, 0x90\n mov $1, %eax\n jmp 9f`;

/**
 * Every register that an instruction may take as an address leads into linear memory, and nothing that a call must keep is at risk: the stack pointer
 * is put back on return.
 */
const program = (entries: readonly (readonly number[])[]): string => `mov 0, %eax
  shl $5, %eax
  lea 1f(%rip), %r8
  add %rax, %r8
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, 0x7ff8
  .irp r,rax,rbx,rcx,rdx,rsi,rdi,rbp,r9,r10,r11,r12,r13,r14,r15
  mov $0x8000, %\\r
  .endr
  jmp *%r8
  .balign 32
1: ${entries.map(slot).join("\n")}
9: mov 0x7ff8, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  cld
  mov $1, %eax
  ret`;

const chosen = isSvm ? unique.filter((_, i) => i % 16 === 0) : unique;
if (isSvm)
  announceSkip(
    `${unique.length - chosen.length} of ${unique.length} opcodes`,
    "the emulated machine takes 1 ms for each",
  );
/** Branches may go round in circles. */
const isBranch = (bytes: readonly number[]): boolean => {
  const [first, second] = bytes.filter((byte, i) => i > 0 || ![0x66, 0xf3, 0xf2, 0xf0, 0x48].includes(byte));
  const nibble = (first ?? 0) >> 4;
  return nibble === 7 || nibble === 0xe || (first === 0x0f && (second ?? 0) >> 4 === 8) || first === 0xff;
};
const sweeps: Sweep[] = [];
for (let i = 0; i < chosen.length; i += PER_IMAGE) {
  const part = chosen.slice(i, i + PER_IMAGE);
  sweeps.push({
    name: `opcodes, part ${sweeps.length + 1}`,
    host,
    options: { timeoutMs: 200 * slowness },
    code: program(part.map(([, bytes]) => bytes)),
    inputs: part.map(
      ([name, bytes], place): SweepInput => ({
        name,
        words: [BigInt(place)],
        expected: ["any trap", "any result", ...(isBranch(bytes) ? (["BARECELL_TIMEOUT"] as const) : [])],
      }),
    ),
  });
}
sweepSuite("opcode map", sweeps);
