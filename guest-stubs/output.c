/*
 * fd_write to standard output and error that needs no VM exit: the bytes go to a log, which the host takes at the next exit, before it does anything
 * else. So nothing changes its place: neither the two streams to each other, nor output to anything else that the guest does. The host says before each
 * entry which descriptors this holds for; it treats the log as hostile. What is not the plain case goes through the import's port, as in answers.c; the
 * host then takes the log and does the write itself, so that is also how the log is emptied when it is full.
 */
#include "barecell-guest.h"
#include "answers.h"

extern uint8_t bc_output_log[];

/* What the host writes at most in one call. */
#define BYTES_MOST 0x7ffff000u

static bool has_line_end(const wasm_rt_memory_t* memory, const bc_buffer* buffers, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t* from = memory->data + buffers[i].at;
    for (uint32_t j = 0; j < buffers[i].bytes; j++) {
      if (from[j] == '\n') return true;
    }
  }
  return false;
}

/* Of a stream that somebody may be watching: whole lines, and what comes seldom, such as a dot each second. Of a file only the latter: it is read later, or now and then. */
static bool is_to_be_seen_now(bool by_line, const wasm_rt_memory_t* memory, const bc_buffer* buffers, uint32_t count) {
  static uint64_t last;
  uint64_t now = __builtin_ia32_rdtsc();
  if (now - last < BC_SOME_MILLISECONDS && !(by_line && has_line_end(memory, buffers, count))) return false;
  last = now;
  return true;
}

/* A guest's write is kept as a whole or not at all. */
static bool keep(const wasm_rt_memory_t* memory, uint32_t fd, const bc_buffer* buffers, uint32_t count, uint64_t bytes) {
  static uint32_t last_record;
  bc_output* output = &bc_mailbox_page.output;
  uint32_t used = output->used;
  bc_output_record record = {fd, 0};
  if (used > 0) __builtin_memcpy(&record, bc_output_log + last_record, sizeof record);
  bool goes_on = used > 0 && record.fd == fd;
  uint64_t needed = bytes + (goes_on ? 0 : sizeof record);
  if (used > output->room || needed > output->room - used) return false;
  if (!goes_on) {
    record = (bc_output_record){fd, 0};
    last_record = used;
    used += sizeof record;
  }
  for (uint32_t i = 0; i < count; i++) {
    __builtin_memcpy(bc_output_log + used, memory->data + buffers[i].at, buffers[i].bytes);
    used += buffers[i].bytes;
  }
  record.bytes += (uint32_t)bytes;
  __builtin_memcpy(bc_output_log + last_record, &record, sizeof record);
  output->used = used;
  return true;
}

uint32_t bc_fd_write(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t list_at, uint32_t count, uint32_t result_at) {
  const bc_output* output = &bc_mailbox_page.output;
  uint32_t bit = fd < 32 ? 1u << fd : 0;
  if (!((output->kept | output->dropped) & bit)) return BC_NO_ANSWER;
  bc_buffer buffers[BC_BUFFERS_MOST];
  uint64_t bytes;
  if (!bc_read_buffers(memory, list_at, count, buffers, &bytes) || !bc_in_bounds(memory, result_at, sizeof(uint32_t))) return BC_NO_ANSWER;
  if (bytes == 0 || bytes > BYTES_MOST) return BC_NO_ANSWER;
  if (!(output->dropped & bit)) {
    if (bytes > output->room) return BC_NO_ANSWER;
    if (output->bursts & bit && is_to_be_seen_now(output->lines & bit, memory, buffers, count)) return BC_NO_ANSWER;
    if (!keep(memory, fd, buffers, count, bytes)) return BC_NO_ANSWER;
  }
  uint32_t written = (uint32_t)bytes;
  __builtin_memcpy(memory->data + result_at, &written, sizeof written);
  return BC_SUCCESS;
}
