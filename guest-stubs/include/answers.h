/* WASI calls that may need no exit; see guest-stubs/answers.c, start.c and output.c. */
#ifndef BARECELL_ANSWERS_H
#define BARECELL_ANSWERS_H

#include "wasm-rt.h"

/* No errno of WASI is as large. */
#define BC_NO_ANSWER 0xffffffffu
/* WASI preview 1, `errno`. */
#define BC_SUCCESS 0

/* The rule for an empty range is that of memory.copy, as the host has it: it may lie at the end of memory, but not beyond. */
static inline bool bc_in_bounds(const wasm_rt_memory_t* memory, uint64_t at, uint64_t count) {
  return at <= memory->size && count <= memory->size - at;
}

uint32_t bc_clock_time_get(const wasm_rt_memory_t* memory, uint32_t clock, uint32_t result_at);
uint32_t bc_random_get(const wasm_rt_memory_t* memory, uint32_t at, uint32_t count);
uint32_t bc_fd_write(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t list_at, uint32_t count, uint32_t result_at);
uint32_t bc_args_sizes_get(const wasm_rt_memory_t* memory, uint32_t count_at, uint32_t bytes_at);
uint32_t bc_args_get(const wasm_rt_memory_t* memory, uint32_t pointers_at, uint32_t bytes_at);
uint32_t bc_environ_sizes_get(const wasm_rt_memory_t* memory, uint32_t count_at, uint32_t bytes_at);
uint32_t bc_environ_get(const wasm_rt_memory_t* memory, uint32_t pointers_at, uint32_t bytes_at);
uint32_t bc_fd_prestat_get(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t result_at);
uint32_t bc_fd_prestat_dir_name(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t at, uint32_t bytes);
uint32_t bc_fd_fdstat_get(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t result_at);
void bc_forget_seed(void);

#endif
