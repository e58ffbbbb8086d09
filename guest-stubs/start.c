/*
 * What a program asks for when it starts, answered without a VM exit: arguments, environment, directories that the host handed in, kinds and rights of
 * descriptors. A C library asks some ten times before it comes to main. The host puts the answers into the mailbox before the guest runs, those of granted
 * imports only, and says before each entry which descriptors are still what they were then. What is not the plain case goes through the import's port, as in
 * answers.c, so every error is the host's to tell; but that a descriptor is not open ends the search for directories, and each program makes one.
 */
#include "barecell-guest.h"
#include "answers.h"

/* WASI preview 1, `errno`. */
#define BADF 8

static bool is_granted(uint32_t answer) { return bc_mailbox_page.answers.granted & answer; }

static uint32_t give_sizes(const wasm_rt_memory_t* memory, uint32_t count, uint32_t bytes, uint32_t count_at, uint32_t bytes_at) {
  if (!bc_in_bounds(memory, count_at, sizeof count) || !bc_in_bounds(memory, bytes_at, sizeof bytes)) return BC_NO_ANSWER;
  __builtin_memcpy(memory->data + count_at, &count, sizeof count);
  __builtin_memcpy(memory->data + bytes_at, &bytes, sizeof bytes);
  return BC_SUCCESS;
}

/* In the host's order, string by string: the two ranges may overlap. */
static uint32_t give_strings(const wasm_rt_memory_t* memory, const uint8_t* from, uint32_t count, uint32_t bytes, uint32_t pointers_at, uint32_t bytes_at) {
  if (!bc_in_bounds(memory, pointers_at, (uint64_t)count * sizeof(uint32_t)) || !bc_in_bounds(memory, bytes_at, bytes)) return BC_NO_ANSWER;
  for (uint32_t i = 0; i < count; i++) {
    __builtin_memcpy(memory->data + pointers_at, &bytes_at, sizeof bytes_at);
    pointers_at += sizeof bytes_at;
    uint8_t byte;
    do {
      byte = *from++;
      memory->data[bytes_at++] = byte;
    } while (byte != 0);
  }
  return BC_SUCCESS;
}

uint32_t bc_args_sizes_get(const wasm_rt_memory_t* memory, uint32_t count_at, uint32_t bytes_at) {
  const bc_start* start = &bc_mailbox_page.start;
  if (!is_granted(BC_ANSWER_ARGS_SIZES)) return BC_NO_ANSWER;
  return give_sizes(memory, start->arg_count, start->arg_bytes, count_at, bytes_at);
}

uint32_t bc_args_get(const wasm_rt_memory_t* memory, uint32_t pointers_at, uint32_t bytes_at) {
  const bc_start* start = &bc_mailbox_page.start;
  if (!is_granted(BC_ANSWER_ARGS)) return BC_NO_ANSWER;
  return give_strings(memory, start->bytes + start->arg_at, start->arg_count, start->arg_bytes, pointers_at, bytes_at);
}

uint32_t bc_environ_sizes_get(const wasm_rt_memory_t* memory, uint32_t count_at, uint32_t bytes_at) {
  const bc_start* start = &bc_mailbox_page.start;
  if (!is_granted(BC_ANSWER_ENVIRON_SIZES)) return BC_NO_ANSWER;
  return give_sizes(memory, start->env_count, start->env_bytes, count_at, bytes_at);
}

uint32_t bc_environ_get(const wasm_rt_memory_t* memory, uint32_t pointers_at, uint32_t bytes_at) {
  const bc_start* start = &bc_mailbox_page.start;
  if (!is_granted(BC_ANSWER_ENVIRON)) return BC_NO_ANSWER;
  return give_strings(memory, start->bytes + start->env_at, start->env_count, start->env_bytes, pointers_at, bytes_at);
}

/* BC_SUCCESS and the descriptor, or what to answer instead. */
static uint32_t find_descriptor(uint32_t answer, uint32_t fd, bc_descriptor* to) {
  const bc_start* start = &bc_mailbox_page.start;
  if (!is_granted(answer) || fd >= start->unchanged_below) return BC_NO_ANSWER;
  if (fd >= start->descriptor_count) return BADF;
  __builtin_memcpy(to, start->bytes + fd * sizeof *to, sizeof *to);
  return BC_SUCCESS;
}

uint32_t bc_fd_prestat_get(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t result_at) {
  bc_descriptor descriptor;
  uint32_t found = find_descriptor(BC_ANSWER_PRESTAT, fd, &descriptor);
  if (found != BC_SUCCESS) return found;
  if (descriptor.name_bytes == BC_NO_NAME) return BADF;
  /* `prestat`: its tag, 0 for a directory, and the name's length from byte 4 on. */
  uint64_t result = (uint64_t)descriptor.name_bytes << 32;
  if (!bc_in_bounds(memory, result_at, sizeof result)) return BC_NO_ANSWER;
  __builtin_memcpy(memory->data + result_at, &result, sizeof result);
  return BC_SUCCESS;
}

uint32_t bc_fd_prestat_dir_name(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t at, uint32_t bytes) {
  bc_descriptor descriptor;
  uint32_t found = find_descriptor(BC_ANSWER_PRESTAT_NAME, fd, &descriptor);
  if (found != BC_SUCCESS) return found;
  if (descriptor.name_bytes == BC_NO_NAME) return BADF;
  if (bytes < descriptor.name_bytes || !bc_in_bounds(memory, at, bytes)) return BC_NO_ANSWER;
  __builtin_memcpy(memory->data + at, bc_mailbox_page.start.bytes + descriptor.name_at, descriptor.name_bytes);
  return BC_SUCCESS;
}

uint32_t bc_fd_fdstat_get(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t result_at) {
  bc_descriptor descriptor;
  uint32_t found = find_descriptor(BC_ANSWER_FDSTAT, fd, &descriptor);
  if (found != BC_SUCCESS) return found;
  if (!bc_in_bounds(memory, result_at, sizeof descriptor.fdstat)) return BC_NO_ANSWER;
  __builtin_memcpy(memory->data + result_at, descriptor.fdstat, sizeof descriptor.fdstat);
  return BC_SUCCESS;
}
