/*
 * The guest's runtime, in ring 3: start, calls, traps, memory growth and tables. It trusts the host, and nothing here protects the
 * host: a tenant that gets past it still stands in ring 3 of a VM.
 */
#include "answers.h"
#include "barecell-guest.h"
#include "fuel.h"
#include "wasm-rt.h"

__attribute__((noreturn)) static void stop(uint16_t port, uint8_t value) {
  for (;;) bc_out(port, value); /* the host never comes back here; should it, it is told again */
}

void wasm_rt_trap(int trap) { stop(BC_PORT_TRAP, (uint8_t)trap); }

void bc_guest_init(void) {
  bc_mailbox_page.boot_stamp = __builtin_ia32_rdtsc();
  /* A snapshot's image holds what the first boot left here. */
  static bool instantiated;
  if (instantiated) {
    bc_forget_seed();
  } else {
    instantiated = true;
    bc_instantiate();
  }
  BC_PAY_CHECKED(0); /* not every payment looks whether there was enough */
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  bc_mailbox_page.boot_tsc[BC_STAGE_INIT] = low;
  stop(BC_PORT_READY, 0);
}

void bc_guest_call(void) {
  uint32_t function = bc_mailbox_page.function;
  if (bc_mailbox_page.op != BC_OP_CALL || function >= bc_entry_count) stop(BC_PORT_TRAP, BC_TRAP_BAD_REQUEST);
  bc_entries[function](bc_mailbox_page.slots);
  BC_PAY_CHECKED(0);
  stop(BC_PORT_DONE, 0);
}

static const uint32_t* own_memories;

/* The page tables already say where a linear memory ends, so there is nothing to allocate. */
void wasm_rt_allocate_memory(wasm_rt_memory_t* memory, uint64_t pages, uint64_t max_pages, bool is64, uint32_t page_size) {
  uint32_t place = *own_memories++;
  memory->data = (uint8_t*)(place == 0 ? BC_LINEAR_BASE : BC_MEMORY_BASE + (place - 1) * BC_MEMORY_STRIDE);
  memory->place = place;
  bc_memories[place] = memory;
  memory->pages = pages;
  memory->max_pages = max_pages;
  memory->page_size = page_size;
  memory->size = pages * page_size;
  memory->is64 = is64;
}

uint64_t wasm_rt_grow_memory(wasm_rt_memory_t* memory, uint64_t pages) {
  uint64_t before = memory->pages;
  if (pages == 0) return before;
  if (pages > memory->max_pages - before) return UINT64_MAX;
  bc_mailbox_page.grow_memory = memory->place;
  bc_mailbox_page.grow_pages = pages;
  bc_out(BC_PORT_GROW, 0);
  if (bc_mailbox_page.grow_result != before) return UINT64_MAX;
  memory->pages = before + pages;
  memory->size = memory->pages * memory->page_size;
  return before;
}

/* Tables lie one behind the other in an arena of zero pages; each has the capacity that the compiler gave it, so growing never moves
 * one, and a null element is all zero bits. */
extern uint8_t bc_table_arena[];
static uint64_t arena_used;
static uint32_t next_table;

void bc_begin_instance(const uint32_t* memories, uint32_t first_table) {
  own_memories = memories;
  next_table = first_table;
}

static void* allocate_table(uint32_t element_bytes, uint32_t* max_size) {
  uint32_t capacity = bc_table_capacities[next_table++];
  if (*max_size > capacity) *max_size = capacity;
  void* data = bc_table_arena + arena_used;
  arena_used += (uint64_t)capacity * element_bytes;
  return data;
}

#define DEFINE_TABLE(kind)                                                                                                      \
  void wasm_rt_allocate_##kind##_table(wasm_rt_##kind##_table_t* table, uint32_t elements, uint32_t max_elements) {             \
    table->size = elements;                                                                                                     \
    table->max_size = max_elements;                                                                                             \
    table->data = allocate_table(sizeof(wasm_rt_##kind##_t), &table->max_size);                                                 \
  }                                                                                                                             \
  uint32_t wasm_rt_grow_##kind##_table(wasm_rt_##kind##_table_t* table, uint32_t delta, wasm_rt_##kind##_t init) {              \
    uint32_t before = table->size;                                                                                              \
    uint32_t limit = bc_mailbox_page.max_table_elements;                                                                        \
    if (limit > table->max_size) limit = table->max_size;                                                                       \
    if (before > limit || delta > limit - before) return UINT32_MAX;                                                            \
    for (uint32_t i = before; i < before + delta; i++) table->data[i] = init;                                                   \
    table->size = before + delta;                                                                                               \
    return before;                                                                                                              \
  }
DEFINE_TABLE(funcref)
DEFINE_TABLE(externref)
