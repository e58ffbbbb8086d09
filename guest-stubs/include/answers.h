/* WASI calls that may need no exit; see guest-stubs/answers.c, start.c, output.c and input.c. */
#ifndef BARECELL_ANSWERS_H
#define BARECELL_ANSWERS_H

#include "abi.h"
#include "wasm-rt.h"

/* No errno of WASI is as large. */
#define BC_NO_ANSWER 0xffffffffu
/* WASI preview 1, `errno`. */
#define BC_SUCCESS 0

/* The rule for an empty range is that of memory.copy, as the host has it: it may lie at the end of memory, but not beyond. */
static inline bool bc_in_bounds(const wasm_rt_memory_t* memory, uint64_t at, uint64_t count) {
  return at <= memory->size && count <= memory->size - at;
}

/* What is told, or kept, for no longer than some milliseconds of the time stamp counter. */
#define BC_SOME_MILLISECONDS (1u << 24)

/* WASI preview 1, `iovec` and `ciovec`. */
typedef struct bc_buffer {
  uint32_t at;
  uint32_t bytes;
} bc_buffer;

#define BC_BUFFERS_MOST 16

/* Checked copies of a guest's list of buffers, and how many bytes they are; false where the host has to look. */
static inline bool bc_read_buffers(const wasm_rt_memory_t* memory, uint32_t list_at, uint32_t count, bc_buffer* to, uint64_t* bytes) {
  if (count > BC_BUFFERS_MOST || !bc_in_bounds(memory, list_at, count * sizeof(bc_buffer))) return false;
  __builtin_memcpy(to, memory->data + list_at, count * sizeof(bc_buffer));
  *bytes = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (!bc_in_bounds(memory, to[i].at, to[i].bytes)) return false;
    *bytes += to[i].bytes;
  }
  return true;
}

uint32_t bc_clock_time_get(const wasm_rt_memory_t* memory, uint32_t clock, uint32_t result_at);
uint32_t bc_random_get(const wasm_rt_memory_t* memory, uint32_t at, uint32_t count);
uint32_t bc_fd_read(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t list_at, uint32_t count, uint32_t result_at);
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
