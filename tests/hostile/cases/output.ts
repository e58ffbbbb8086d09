/** Forged logs of kept output: a guest gets no further with them than with fd_write itself. */
import assert from "node:assert";
import { BC_OUTPUT_LOG_BYTES } from "../../../src/abi.ts";
import type { BootOptions } from "../../support/barecell.ts";
import { slowness } from "../../support/environment.ts";
import { RawHost } from "../../support/raw-code.ts";
import { DEFAULT_OPTIONS, type HostileCase, type HostileTable, type Report } from "../hostile-case.ts";

const host = await RawHost.create(
  '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))\n' +
    '(import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))',
);
const CLOSE_PORT = "BC_PORT_IMPORT_BASE + 3";
const YIELD_PORT = "BC_PORT_IMPORT_BASE";
const { mailbox, mailboxBytes } = host.image.layout.header;
const LOG = mailbox + mailboxBytes;
/** Offsets in `bc_output`. */
const KEPT = "BC_MAILBOX_OUTPUT";
const ROOM = "BC_MAILBOX_OUTPUT + 16";
const USED = "BC_MAILBOX_OUTPUT + 20";

const captured: BootOptions = { wasi: { stdout: "capture", stderr: "capture" } };
/** RBX is the mailbox, RSI the log. */
const BEGIN = `push %rbx\n movabs $${mailbox}, %rbx\n movabs $${LOG}, %rsi\n`;
const END = "pop %rbx\n mov $1, %eax\n ret";
const record = (at: number, fd: number, said: number): string =>
  `movl $${fd | 0}, ${at}(%rsi)\n movl $${said | 0}, ${at + 4}(%rsi)\n movl $0x6c697665, ${at + 8}(%rsi)\n`; // "evil"
const used = (bytes: number): string => `movl $${bytes | 0}, ${USED}(%rbx)\n`;
const leave = (port: string): string => `mov $${port}, %edx\n out %al, %dx\n`;
const shows =
  (stdout: string, stderr = "") =>
  ({ output }: Report) =>
    assert.deepEqual(
      output?.map((bytes) => Buffer.from(bytes).toString()),
      [stdout, stderr],
    );

const harmless = (name: string, code: string, stdout = "", stderr = "", options = captured): HostileCase => ({
  name,
  code: BEGIN + code + END,
  expected: [1n],
  options: { ...DEFAULT_OPTIONS, ...options },
  check: shows(stdout, stderr),
});

const cases: HostileCase[] = [
  harmless(
    "a record such as the runtime makes",
    record(0, 1, 4) + record(12, 2, 4) + used(24),
    "evil",
    "evil",
  ),
  ...[BC_OUTPUT_LOG_BYTES + 1, 2 * BC_OUTPUT_LOG_BYTES, 0x7fffffff, 0x80000000, 0xffffffff].map((bytes) =>
    harmless(`${bytes} bytes are said to be used`, record(0, 1, 4) + used(bytes)),
  ),
  ...[5, BC_OUTPUT_LOG_BYTES, 0x7fffffff, 0xfffffff8, 0xffffffff].map((said) =>
    harmless(
      `a record of ${said} bytes behind a good one`,
      record(0, 1, 4) + record(12, 1, said) + used(24),
      "evil",
    ),
  ),
  ...[1, 4, 7, 8, 9, 11].map((bytes) => harmless(`a log cut at ${bytes}`, record(0, 1, 4) + used(bytes))),
  ...[0, 3, 32, 0x80000001, 0xffffffff].map((fd) =>
    harmless(`descriptor ${fd}`, `movl $-1, ${KEPT}(%rbx)\n${record(0, fd, 4)}${used(12)}`),
  ),
  {
    name: "a log that is full of it",
    code: `${BEGIN}${record(0, 2, BC_OUTPUT_LOG_BYTES - 8)}${used(BC_OUTPUT_LOG_BYTES)}${END}`,
    expected: [1n],
    options: { ...DEFAULT_OPTIONS, ...captured },
    check: ({ output }) =>
      assert.deepEqual(
        output?.map((bytes) => bytes.length),
        [0, BC_OUTPUT_LOG_BYTES - 8],
      ),
  },
  harmless(
    "a descriptor that is closed",
    `movl $1, BC_MAILBOX_HEADER_BYTES(%rbx)\n${leave(CLOSE_PORT)} movl $-1, ${KEPT}(%rbx)\n${record(0, 1, 4)}${used(12)}`,
  ),
  harmless("output that nobody wants", `movl $-1, ${KEPT}(%rbx)\n${record(0, 1, 4)}${used(12)}`, "", "", {
    wasi: {},
  }),
  harmless(
    "where answers in the guest are off",
    `movl $-1, ${KEPT}(%rbx)\n${record(0, 1, 4)}${used(12)}`,
    "",
    "",
    { ...captured, answersInGuest: false },
  ),
  harmless("where nothing is granted", `movl $-1, ${KEPT}(%rbx)\n${record(0, 1, 4)}${used(12)}`, "", "", {
    unknownImports: "trap",
  }),
  {
    name: "more than the limit",
    code: `${BEGIN}${record(0, 1, 4000)}${used(4008)}${END}`,
    expected: ["BARECELL_OUTPUT_LIMIT"],
    options: { ...DEFAULT_OPTIONS, ...captured, maxOutputBytes: 1000 },
    check: ({ output }) =>
      assert.deepEqual(
        output?.map((bytes) => bytes.length),
        [1000, 0],
      ),
  },
  {
    name: "then a trap",
    code: `${BEGIN}${record(0, 1, 4)}${used(12)} ud2`,
    expected: ["BARECELL_TRAP_ILLEGAL_INSTRUCTION"],
    options: { ...DEFAULT_OPTIONS, ...captured },
    check: shows("evil"),
  },
  {
    name: "a log that is filled for ever",
    code: `${BEGIN}1: ${record(0, 1, 1)}${used(BC_OUTPUT_LOG_BYTES)}${leave(YIELD_PORT)} jmp 1b`,
    expected: ["BARECELL_TIMEOUT", "BARECELL_OUTPUT_LIMIT"],
    options: { ...DEFAULT_OPTIONS, ...captured, timeoutMs: 300 * slowness, maxOutputBytes: 100_000 },
  },
  {
    // The runtime believes its own mailbox, and writes past the log: over what else is the tenant's, or into what is not mapped.
    name: "room that there is not, for the runtime",
    code: `${BEGIN}
      movl $-1, ${ROOM}(%rbx)
      movl $0, 0
      movl $60000, 4
      movabs $${host.symbol("bc_memories")}, %rdi
      mov (%rdi), %rdi
      mov $1, %esi
      xor %edx, %edx
      mov $1, %ecx
      mov $8, %r8d
      movabs $${host.symbol("bc_fd_write")}, %rax
      call *%rax
      ${END}`,
    expected: [1n, "BARECELL_TRAP_ACCESS_DENIED"],
    options: { ...DEFAULT_OPTIONS, ...captured },
  },
];

/** Random logs and random counts, taken again and again. */
const storm = (seed: number): string => `
  push %rbx
  push %r12
  movabs $${mailbox}, %rbx
  movabs $${0x9e3779b97f4a7c15n ^ BigInt(seed)}, %r12
  mov $3000, %r8d
1: movabs $${LOG}, %rsi
  mov $64, %ecx
2: mov %r12, %rax
  shl $13, %rax
  xor %rax, %r12
  mov %r12, %rax
  shr $7, %rax
  xor %rax, %r12
  mov %r12, %rax
  shl $17, %rax
  xor %rax, %r12
  mov %r12, %rax
  test $1, %ecx
  jz 3f
  movabs $0x1f00000003, %rdx
  and %rdx, %rax
3: mov %rax, (%rsi)
  add $8, %rsi
  dec %ecx
  jnz 2b
  mov %r12d, %eax
  and $0x1ff, %eax
  mov %eax, ${USED}(%rbx)
  ${leave(YIELD_PORT)}
  dec %r8d
  jnz 1b
  pop %r12
  ${END}`;
cases.push(
  ...Array.from({ length: 4 }, (_, seed) => ({
    name: `random logs, seed ${seed}`,
    code: storm(seed),
    expected: [1n, "BARECELL_OUTPUT_LIMIT", "BARECELL_TIMEOUT"] as const,
    options: { ...DEFAULT_OPTIONS, ...captured, maxOutputBytes: 200_000 },
  })),
);

export const forgedOutput: HostileTable = { title: "forged logs of output", cases, host };
