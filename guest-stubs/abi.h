/*
 * The contract between the host and what runs inside the VM. This is the one place that states it: the boot stub
 * (assembler), the guest runtime (C), the addon (C++) and the floor program (C) include this file, and a test
 * compares every constant here with src/abi.ts.
 *
 * Rules: only `#define NAME integer-literal` (so that assembler, C, C++ and the drift test read the same thing) and,
 * behind the assembler guard, the structures that live in guest memory. Change anything => raise BC_ABI_VERSION.
 *
 * Directions: IN is written by the host and read by the guest; OUT is written by the guest and read by the host,
 * which treats it as hostile: it reads it once, checks it and uses the checked copy.
 */
#ifndef BARECELL_ABI_H
#define BARECELL_ABI_H

#define BC_ABI_VERSION 6

/* ---- Address map ------------------------------------------------------------------------------------------
 *
 * guest virtual                   what                                                      ring 3 may
 * 0            - 4 GiB            linear memory 0, mapped exactly as far as it reaches now  read, write
 * 4 GiB        - 8 GiB            never mapped: base + 32-bit offset lands here             nothing
 * 9 GiB        - 10 GiB - stack   never mapped: the hole that catches a deep stack          nothing
 * 10 GiB-stack - 10 GiB           stack                                                     read, write
 * 12 GiB + guest-physical         the image: code, data, mailbox (and supervisor pages)     by section
 * 64 GiB + (m - 1) * 16 GiB       linear memory m, from 1 up, with the hole behind it       read, write
 *
 * The image's guest-physical address is its virtual address less BC_IMAGE_BASE; stack and linear memory follow the
 * image in guest-physical space, at the addresses that the program headers (p_paddr) state.
 */
#define BC_PAGE_SIZE 0x1000
#define BC_LARGE_PAGE_SIZE 0x200000
#define BC_WASM_PAGE_SIZE 0x10000
#define BC_LINEAR_BASE 0x0
#define BC_LINEAR_MAX_BYTES 0x100000000
#define BC_LINEAR_REACH_END 0x200000000
#define BC_STACK_HOLE_BASE 0x240000000
#define BC_STACK_TOP 0x280000000
#define BC_IMAGE_BASE 0x300000000
/* The image must end here in guest-physical space: above are the addresses a PC keeps for its interrupt
 * controllers, and KVM on Intel for its own pages (KVM_SET_TSS_ADDR). */
#define BC_LOW_GPA_END 0xc0000000
/* Where linear memory goes that does not fit below BC_LOW_GPA_END. */
#define BC_HIGH_GPA_BASE 0x100000000
/* Memory that memory.grow adds to linear memory 0 gets memory slots of its own, from here up (16 GiB). */
#define BC_GROWTH_GPA_BASE 0x400000000
/* Page tables for grown memory: a range for each linear memory, from here up (24 GiB). 4 GiB need 2,048 + 4 + 2 pages at most. */
#define BC_GROWTH_TABLES_GPA_BASE 0x600000000
#define BC_GROWTH_TABLES_GPA_STRIDE 0x1000000
/* Linear memories from 1 up: where they lie, what they start with and what they grow by. The strides leave room for base + 33-bit offset in virtual
 * space; in guest-physical space all of them end below 512 GiB, the least that x86-64 processors with hardware paging have (39 bits). */
#define BC_MEMORY_BASE 0x1000000000
#define BC_MEMORY_STRIDE 0x400000000
#define BC_MEMORY_GPA_BASE 0x800000000
#define BC_MEMORY_GPA_STRIDE 0x100000000
#define BC_MEMORIES_MAX 100

/* Fixed places of the supervisor part. Below 64 KiB, because real mode reaches no further. */
#define BC_BOOT_GPA 0x1000
#define BC_TABLES_GPA 0x2000
#define BC_GDT_GPA 0x3000

/* ---- Descriptor tables (selectors are offsets into the GDT, plus the privilege level) ------------------------ */
#define BC_SEL_CODE32 0x08
#define BC_SEL_CODE64 0x10
#define BC_SEL_DATA 0x18
#define BC_SEL_USER_DATA 0x23
#define BC_SEL_USER_CODE 0x2b
#define BC_SEL_TSS 0x30
#define BC_GDT_BYTES 0x40
#define BC_IDT_VECTORS 32
/* The 64-bit TSS is 104 bytes (Intel SDM vol. 3, 8.7); the I/O permission bitmap follows at once. */
#define BC_TSS_BYTES 104
/* Exceptions run on stacks of their own (IST 1 to 7), none of them the tenant's, so that a ruined RSP is harmless. */
#define BC_IST_COUNT 7
#define BC_IST_BYTES 512

/* ---- Ports -------------------------------------------------------------------------------------------------
 *
 * Every port is written with a one-byte `out`, so that one clear bit in the I/O permission bitmap opens it.
 * The CPU exception ports are never open to ring 3, so a trap record cannot be forged.
 */
/* The instance is initialised; OUT nothing. */
#define BC_PORT_READY 0x11
/* The call returned; OUT mailbox.slots = results. */
#define BC_PORT_DONE 0x12
/* The runtime ends the call with a WebAssembly trap; AL = BC_TRAP_*. */
#define BC_PORT_TRAP 0x13
/* memory.grow; OUT mailbox.grow_pages, grow_memory; IN mailbox.grow_result. */
#define BC_PORT_GROW 0x14
/* Exception vector v arrives on port base + v; the CPU's own frame lies on the exception stack. */
#define BC_PORT_EXCEPTION_BASE 0x20
/* `syscall` reached ring 0 (hardware KVM with EFER.SCE set); the guest's RIP is in RCX. */
#define BC_PORT_SYSCALL 0x40
/* Import i calls out through port base + i; OUT mailbox.slots = arguments; IN mailbox.slots = results. */
#define BC_PORT_IMPORT_BASE 0x400
#define BC_IMPORTS_MAX 0x4000

/* ---- Traps that the runtime reports on BC_PORT_TRAP ----------------------------------------------------------- */
#define BC_TRAP_UNREACHABLE 1
#define BC_TRAP_INTEGER_DIVIDE_BY_ZERO 2
#define BC_TRAP_INTEGER_OVERFLOW 3
#define BC_TRAP_INVALID_CONVERSION 4
#define BC_TRAP_OUT_OF_BOUNDS_MEMORY 5
#define BC_TRAP_OUT_OF_BOUNDS_TABLE 6
#define BC_TRAP_INDIRECT_CALL_TYPE_MISMATCH 7
#define BC_TRAP_UNINITIALIZED_ELEMENT 8
#define BC_TRAP_STACK_EXHAUSTED 9
/* An imported memory or table is smaller than its importer asks for; found when the importer is instantiated. */
#define BC_TRAP_UNLINKABLE 10
/* The host gave back a reference to a function that it never got. */
#define BC_TRAP_BAD_REFERENCE 11
/* An image with metering has used up its fuel. */
#define BC_TRAP_FUEL_EXHAUSTED 12
/* The host asked for something the image does not have: a fault of the host's, kept apart from the tenant's traps. */
#define BC_TRAP_BAD_REQUEST 64

/* ---- Entry of a call: EAX, set by the host ----------------------------------------------------------------------
 *
 * After a reset the entry clears what the last tenant left in the registers that KVM takes long to set: x87 and SSE (FXRSTOR), and everything
 * else that XCR0 has, AVX above all (XRSTOR), where ring 3 may execute that.
 */
#define BC_ENTRY_CLEAR_FX 1
#define BC_ENTRY_CLEAR_EXTENDED 2

/* ---- Mailbox ------------------------------------------------------------------------------------------------- */
#define BC_OP_INIT 0
#define BC_OP_CALL 1
/* One slot holds one WebAssembly value of any type, v128 included. */
#define BC_SLOT_BYTES 16
#define BC_MAILBOX_HEADER_BYTES 2048
#define BC_MAILBOX_OP 0
#define BC_MAILBOX_FUNCTION 4
#define BC_MAILBOX_GROW_PAGES 8
#define BC_MAILBOX_GROW_RESULT 16
#define BC_MAILBOX_BOOT_TSC 24
#define BC_MAILBOX_GROW_MEMORY 80
#define BC_MAILBOX_BOOT_STAMP 88
#define BC_MAILBOX_ANSWERS 96
#define BC_MAILBOX_FUEL 168
#define BC_MAILBOX_MAX_TABLE_ELEMENTS 176
/* Bits of mailbox.answers.granted: what the guest may answer itself. Without a bit it goes through the import's port, open or closed. */
#define BC_ANSWER_CLOCK 1
#define BC_ANSWER_RANDOM 2
#define BC_ANSWER_ARGS_SIZES 4
#define BC_ANSWER_ARGS 8
#define BC_ANSWER_ENVIRON_SIZES 0x10
#define BC_ANSWER_ENVIRON 0x20
#define BC_ANSWER_PRESTAT 0x40
#define BC_ANSWER_PRESTAT_NAME 0x80
#define BC_ANSWER_FDSTAT 0x100
#define BC_RANDOM_SEED_BYTES 32
#define BC_MAILBOX_OUTPUT 184
/* Output that the guest keeps for a while lies in a log right behind the mailbox: records, each a bc_output_record and its bytes. */
#define BC_OUTPUT_LOG_BYTES 0x4000
#define BC_MAILBOX_INPUT 208
/* Input that the host gives ahead lies behind that log. */
#define BC_INPUT_BYTES 0x10000
/* What a program asks for when it starts: fills the rest of the mailbox's header. What does not fit is the host's to answer. */
#define BC_MAILBOX_START 224
#define BC_START_BYTES 1792
#define BC_FDSTAT_BYTES 24
/* Instead of a name's length: no directory that the host handed in. */
#define BC_NO_NAME 0xffffffff
/* Stages of a staged boot, in order; indexes of mailbox.boot_tsc. */
#define BC_STAGE_REAL_MODE 0
#define BC_STAGE_PROTECTED_MODE 1
#define BC_STAGE_LONG_MODE 2
#define BC_STAGE_PAGE_TABLES 3
#define BC_STAGE_DESCRIPTOR_TABLES 4
#define BC_STAGE_RING3 5
#define BC_STAGE_INIT 6
#define BC_STAGE_COUNT 7

/* ---- Image header: at BC_TABLES_GPA, filled in by the linker, read by the loader, which checks every field ------- */
#define BC_HEADER_MAGIC 0x6c6c656365726162
#define BC_HEADER_BYTES 128
/* Byte offsets of its 64-bit fields; addresses are guest virtual unless they say GPA. */
#define BC_HEADER_ABI_VERSION 8
#define BC_HEADER_BOOT_ENTRY 16
#define BC_HEADER_CALL_ENTRY 24
#define BC_HEADER_SYSCALL_ENTRY 32
#define BC_HEADER_MAILBOX 40
#define BC_HEADER_MAILBOX_BYTES 48
#define BC_HEADER_EXCEPTION_STACKS 56
#define BC_HEADER_BOOT_PML4_GPA 64
#define BC_HEADER_RUN_PML4_GPA 72
#define BC_HEADER_PAGE_TABLES_GPA 80
#define BC_HEADER_PAGE_TABLES_BYTES 88
#define BC_HEADER_IDT 96
#define BC_HEADER_TSS_LIMIT 104
#define BC_HEADER_STACK_BYTES 112
/* Program header flag (within PF_MASKOS) of segments that only ring 0 may touch. */
#define BC_PF_SUPERVISOR 0x100000

/* ---- Image note (ELF note, name "barecell") -------------------------------------------------------------------- */
#define BC_NOTE_TYPE_MANIFEST 0x42430001
/* SHA-256 of the whole file, taken with these 32 bytes zero. */
#define BC_NOTE_TYPE_DIGEST 0x42430002

/* Program header type of the image's bundle of files (in the range for operating systems, PT_LOOS and up): no part of the VM's memory. */
#define BC_PT_BUNDLE 0x60424301

#ifndef __ASSEMBLER__
#include <stdint.h>

typedef union bc_slot {
  uint32_t u32;
  uint64_t u64;
  float f32;
  double f64;
  uint8_t bytes[BC_SLOT_BYTES];
} bc_slot;

/* What the guest needs to answer some WASI calls without leaving the VM. All of it IN. The guest could write here too, and would lie to itself only. */
typedef struct bc_answers {
  uint32_t granted;      /* BC_ANSWER_* */
  uint32_t seed_count;   /* how often random_seed was made anew: a new number makes the guest's generator start from it */
  /* A clock is its base + ((time stamp counter - tsc) * tsc_scale >> 32), nanoseconds. */
  uint64_t tsc;
  uint64_t tsc_scale;
  uint64_t realtime_ns;
  uint64_t monotonic_ns;
  uint8_t random_seed[BC_RANDOM_SEED_BYTES];
} bc_answers;

/*
 * What the guest may keep of its output, so that several writes cost one VM exit. The host takes the log at every exit, whatever its reason, before it does
 * anything else. Sets of descriptors are bits, 1 << number.
 */
typedef struct bc_output {
  uint32_t kept;     /* IN  descriptors whose output goes to the log */
  uint32_t lines;    /* IN  those of them that somebody may be watching: only what comes before a line's end is kept */
  uint32_t bursts;   /* IN  those of them of which only what comes soon after something else is kept; all that are in `lines` */
  uint32_t dropped;  /* IN  descriptors whose output goes nowhere */
  uint32_t room;     /* IN  bytes of the log that may be used, BC_OUTPUT_LOG_BYTES at most */
  uint32_t used;     /* OUT bytes of the log that hold records; IN 0, when the host has taken them */
} bc_output;

typedef struct bc_output_record {
  uint32_t fd;     /* OUT */
  uint32_t bytes;  /* OUT that follow, without padding */
} bc_output_record;

/*
 * The next bytes of the file that the guest read last, so that several reads cost one VM exit. The host takes what is left back at every exit, before it does
 * anything else: nothing of it outlives what the guest does otherwise. No bytes and no end: there is nothing to be had without an exit.
 */
typedef struct bc_input {
  uint32_t fd;      /* IN  whose bytes they are */
  uint32_t bytes;   /* IN  how many, BC_INPUT_BYTES at most */
  uint32_t at_end;  /* IN  whether there is nothing behind them, and nothing can come there but by the guest's own doing */
  uint32_t taken;   /* OUT how many of them the guest has read; IN 0 */
} bc_input;

/* A descriptor that is open at the start. */
typedef struct bc_descriptor {
  uint8_t fdstat[BC_FDSTAT_BYTES]; /* WASI preview 1, `fdstat` */
  uint32_t name_at;                /* in bc_start.bytes */
  uint32_t name_bytes;             /* or BC_NO_NAME */
} bc_descriptor;

/* What a program is told at its start. All of it IN, and there only as far as mailbox.answers.granted says. */
typedef struct bc_start {
  uint32_t arg_count;
  uint32_t arg_bytes;         /* with the NUL that ends each */
  uint32_t arg_at;            /* in bytes */
  uint32_t env_count;
  uint32_t env_bytes;
  uint32_t env_at;
  uint32_t descriptor_count;  /* bc_descriptor from the beginning of `bytes` on; no descriptor is open from this number on */
  uint32_t unchanged_below;   /* only of descriptors below this number all that is still true; the host says so anew before each entry */
  uint8_t bytes[BC_START_BYTES];
} bc_start;

typedef struct bc_mailbox {
  uint32_t op;                        /* IN  BC_OP_* */
  uint32_t function;                  /* IN  index into the image's entries (what each is, the manifest says) */
  uint64_t grow_pages;                /* OUT WebAssembly pages that memory.grow asks for */
  uint64_t grow_result;               /* IN  pages before growth, or 2^64-1 when refused */
  uint64_t boot_tsc[BC_STAGE_COUNT];  /* OUT time stamps of the boot stages; the low 32 bits count */
  uint32_t grow_memory;               /* OUT index of the linear memory that is to grow */
  uint32_t reserved;
  uint64_t boot_stamp;                /* OUT time stamp counter when ring 3 was reached, whole */
  bc_answers answers;                 /* IN */
  int64_t fuel;                       /* IN  what may be used up until the guest stops; what is left of it, the host finds in r15 */
  uint32_t max_table_elements;        /* IN  how far table.grow may go, for each table */
  uint32_t reserved2;
  bc_output output;
  bc_input input;
  bc_start start;                     /* IN */
  bc_slot slots[];                    /* both: arguments before, results after */
} bc_mailbox;

#if defined(__cplusplus)
#define BC_CONTRACT(condition) static_assert(condition, #condition)
#else
#define BC_CONTRACT(condition) _Static_assert(condition, #condition)
#endif
BC_CONTRACT(sizeof(bc_slot) == BC_SLOT_BYTES);
BC_CONTRACT(sizeof(bc_mailbox) == BC_MAILBOX_HEADER_BYTES);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, function) == BC_MAILBOX_FUNCTION);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, grow_pages) == BC_MAILBOX_GROW_PAGES);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, grow_result) == BC_MAILBOX_GROW_RESULT);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, boot_tsc) == BC_MAILBOX_BOOT_TSC);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, grow_memory) == BC_MAILBOX_GROW_MEMORY);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, boot_stamp) == BC_MAILBOX_BOOT_STAMP);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, answers) == BC_MAILBOX_ANSWERS);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, fuel) == BC_MAILBOX_FUEL);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, max_table_elements) == BC_MAILBOX_MAX_TABLE_ELEMENTS);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, output) == BC_MAILBOX_OUTPUT);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, input) == BC_MAILBOX_INPUT);
BC_CONTRACT(__builtin_offsetof(bc_mailbox, start) == BC_MAILBOX_START);
#endif /* __ASSEMBLER__ */

#endif
