/** Forged accounts of input that was given ahead: a guest gets no further with them than with fd_read itself. */
import { BC_OUTPUT_LOG_BYTES } from "../../../src/abi.ts";
import type { BootOptions } from "../../support/barecell.ts";
import { RawHost } from "../../support/raw-code.ts";
import { DEFAULT_OPTIONS, type HostileCase, type HostileTable } from "../hostile-case.ts";

const host = await RawHost.create(
  '(import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))',
);
const READ_PORT = "BC_PORT_IMPORT_BASE + 2";
const YIELD_PORT = "BC_PORT_IMPORT_BASE";
const { mailbox, mailboxBytes } = host.image.layout.header;
const BYTES = mailbox + mailboxBytes + BC_OUTPUT_LOG_BYTES;
/** Offsets in `bc_input`. */
const FD = "BC_MAILBOX_INPUT";
const GIVEN = "BC_MAILBOX_INPUT + 4";
const AT_END = "BC_MAILBOX_INPUT + 8";
const TAKEN = "BC_MAILBOX_INPUT + 12";

/** 100 bytes, each its own number. */
const stdin = Uint8Array.from({ length: 100 }, (_, i) => i);
const options: BootOptions = { ...DEFAULT_OPTIONS, wasi: { stdin } };
const leave = (port: string): string => `mov $${port}, %edx\n out %al, %dx\n`;
/** RBX is the mailbox. Reads four bytes to 256 in linear memory by the import's port; the count is at 72 then. */
const READ = `
  movl $256, 64
  movl $4, 68
  movl $0, BC_MAILBOX_HEADER_BYTES(%rbx)
  movl $64, BC_MAILBOX_HEADER_BYTES + 16(%rbx)
  movl $1, BC_MAILBOX_HEADER_BYTES + 32(%rbx)
  movl $72, BC_MAILBOX_HEADER_BYTES + 48(%rbx)
  ${leave(READ_PORT)}`;
const BEGIN = `push %rbx\n movabs $${mailbox}, %rbx\n`;
/** The first of the bytes that were read last, or 1000 if there were none. */
const RESULT = "movzbl 256, %eax\n cmpl $0, 72\n jne 9f\n mov $1000, %eax\n9: pop %rbx\n ret";

const after = (
  name: string,
  forgery: string,
  expected: bigint,
  moreOptions: BootOptions = {},
): HostileCase => ({
  name,
  code: BEGIN + READ + forgery + READ + RESULT,
  expected: [expected],
  options: { ...options, ...moreOptions },
});
const set = (field: string, value: number): string => `movl $${value | 0}, ${field}(%rbx)\n`;

const cases: HostileCase[] = [
  after("nothing forged", "", 4n),
  after("eight bytes taken, as the runtime would", set(TAKEN, 8), 12n),
  ...[96, 97, 4096, 0x7fffffff, 0x80000000, 0xffffffff].map((taken) =>
    after(`${taken} bytes are said to be taken of 96`, set(TAKEN, taken), 1000n),
  ),
  ...[1, 2, 3, 255, 0xffffffff].map((fd) =>
    after(`taken of descriptor ${fd}`, set(FD, fd) + set(TAKEN, 8), 12n),
  ),
  after("more is said to be given", set(GIVEN, -1) + set(TAKEN, 8), 12n),
  after("an end that there is not", set(AT_END, -1) + set(TAKEN, 8), 12n),
  after("taken twice", `${set(TAKEN, 8)}${leave(YIELD_PORT)}${set(TAKEN, 8)}`, 12n),
  after("taken where answers in the guest are off", set(GIVEN, 96) + set(TAKEN, 8), 4n, {
    answersInGuest: false,
  }),
  {
    name: "taken before anything was given",
    code: BEGIN + set(GIVEN, 96) + set(TAKEN, 8) + READ + RESULT,
    expected: [0n],
    options,
  },
  {
    name: "what is given is gone with the next exit",
    code: `${BEGIN}${READ}${leave(YIELD_PORT)} movabs $${BYTES}, %rsi\n mov (%rsi), %rax\n pop %rbx\n ret`,
    expected: [0n],
    options,
  },
  {
    // The runtime believes its own mailbox, and reads past what there is: what else is the tenant's, or what is not mapped.
    name: "more than there is, for the runtime",
    code: `${BEGIN}${READ}
      ${set(GIVEN, 0x70000000)}
      ${set(TAKEN, 0x60000000)}
      movabs $${host.symbol("bc_memories")}, %rdi
      mov (%rdi), %rdi
      xor %esi, %esi
      mov $64, %edx
      mov $1, %ecx
      mov $72, %r8d
      movabs $${host.symbol("bc_fd_read")}, %rax
      call *%rax
      mov $1, %eax
      pop %rbx
      ret`,
    expected: [1n, "BARECELL_TRAP_ACCESS_DENIED"],
    options,
  },
];

export const forgedInput: HostileTable = { title: "forged accounts of input", cases, host };
