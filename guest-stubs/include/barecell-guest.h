/* What the generated glue of an image and the runtime share. */
#ifndef BARECELL_GUEST_H
#define BARECELL_GUEST_H

#include "abi.h"

extern bc_mailbox bc_mailbox_page;

/* Leaves the VM through a port. The memory clobber orders it against every access to the mailbox and to linear memory. */
static inline void bc_out(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "d"(port) : "memory");
}

/* Calls a host import. The host may call back into this very image before it answers, so no vector register keeps its value; the general ones do. */
static inline void bc_host_call(uint16_t port) {
  __asm__ volatile("outb %b0, %w1"
                   :
                   : "a"(0), "d"(port)
                   : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                     "xmm14", "xmm15");
}

/* Made for each image by the compiler (src/compiler/glue.ts). */
extern void (*const bc_entries[])(bc_slot* slots);
extern const uint32_t bc_entry_count;
extern const uint32_t bc_table_capacities[];
extern const uint32_t bc_table_count;
void bc_instantiate(void);

/* Before a module is instantiated: which of the VM's memories are its own, in its order, and the first of its own tables. */
void bc_begin_instance(const uint32_t* memories, uint32_t first_table);

#endif
