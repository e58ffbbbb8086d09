/**
 * The constants of `guest-stubs/abi.h` that TypeScript needs. `tests/abi-drift.test.ts` reads the header and fails on any difference,
 * so this file holds nothing that the header does not.
 */

export const BC_ABI_VERSION = 6;

export const BC_PAGE_SIZE = 0x1000;
export const BC_LARGE_PAGE_SIZE = 0x200000;
export const BC_WASM_PAGE_SIZE = 0x10000;
export const BC_LINEAR_BASE = 0x0;
export const BC_LINEAR_MAX_BYTES = 0x100000000;
export const BC_LINEAR_REACH_END = 0x200000000;
export const BC_STACK_HOLE_BASE = 0x240000000;
export const BC_STACK_TOP = 0x280000000;
export const BC_IMAGE_BASE = 0x300000000;
export const BC_LOW_GPA_END = 0xc0000000;
export const BC_HIGH_GPA_BASE = 0x100000000;
export const BC_GROWTH_GPA_BASE = 0x400000000;
export const BC_MEMORY_BASE = 0x1000000000;
export const BC_MEMORY_STRIDE = 0x400000000;
export const BC_MEMORY_GPA_BASE = 0x800000000;
export const BC_MEMORY_GPA_STRIDE = 0x100000000;
export const BC_MEMORIES_MAX = 100;

export const BC_BOOT_GPA = 0x1000;
export const BC_TABLES_GPA = 0x2000;
export const BC_GDT_GPA = 0x3000;

export const BC_GDT_BYTES = 0x40;
export const BC_TSS_BYTES = 104;
export const BC_IST_COUNT = 7;
export const BC_IST_BYTES = 512;

export const BC_PORT_READY = 0x11;
export const BC_PORT_DONE = 0x12;
export const BC_PORT_TRAP = 0x13;
export const BC_PORT_GROW = 0x14;
export const BC_PORT_EXCEPTION_BASE = 0x20;
export const BC_PORT_SYSCALL = 0x40;
export const BC_PORT_IMPORT_BASE = 0x400;
export const BC_IMPORTS_MAX = 0x4000;

export const BC_TRAP_UNREACHABLE = 1;
export const BC_TRAP_INTEGER_DIVIDE_BY_ZERO = 2;
export const BC_TRAP_INTEGER_OVERFLOW = 3;
export const BC_TRAP_INVALID_CONVERSION = 4;
export const BC_TRAP_OUT_OF_BOUNDS_MEMORY = 5;
export const BC_TRAP_OUT_OF_BOUNDS_TABLE = 6;
export const BC_TRAP_INDIRECT_CALL_TYPE_MISMATCH = 7;
export const BC_TRAP_UNINITIALIZED_ELEMENT = 8;
export const BC_TRAP_STACK_EXHAUSTED = 9;
export const BC_TRAP_UNLINKABLE = 10;
export const BC_TRAP_BAD_REFERENCE = 11;
export const BC_TRAP_FUEL_EXHAUSTED = 12;
export const BC_TRAP_BAD_REQUEST = 64;

export const BC_OP_INIT = 0;
export const BC_OP_CALL = 1;
export const BC_SLOT_BYTES = 16;
export const BC_MAILBOX_HEADER_BYTES = 2048;
export const BC_OUTPUT_LOG_BYTES = 0x4000;
export const BC_INPUT_BYTES = 0x10000;

export const BC_HEADER_MAGIC = 0x6c6c656365726162n;
export const BC_HEADER_BYTES = 128;
export const BC_HEADER_ABI_VERSION = 8;
export const BC_HEADER_BOOT_ENTRY = 16;
export const BC_HEADER_CALL_ENTRY = 24;
export const BC_HEADER_SYSCALL_ENTRY = 32;
export const BC_HEADER_MAILBOX = 40;
export const BC_HEADER_MAILBOX_BYTES = 48;
export const BC_HEADER_EXCEPTION_STACKS = 56;
export const BC_HEADER_BOOT_PML4_GPA = 64;
export const BC_HEADER_RUN_PML4_GPA = 72;
export const BC_HEADER_PAGE_TABLES_GPA = 80;
export const BC_HEADER_PAGE_TABLES_BYTES = 88;
export const BC_HEADER_IDT = 96;
export const BC_HEADER_TSS_LIMIT = 104;
export const BC_HEADER_STACK_BYTES = 112;
export const BC_PF_SUPERVISOR = 0x100000;

export const BC_STAGE_COUNT = 7;

export const BC_NOTE_TYPE_MANIFEST = 0x42430001;
export const BC_NOTE_TYPE_DIGEST = 0x42430002;
export const BC_PT_BUNDLE = 0x60424301;
