/*
 * fd_read that needs no VM exit: the host has put the next bytes of the file beside the mailbox when it answered the read before. It does so only for what nobody
 * else reads from, and takes back at every exit what was not read (abi.h, bc_input), so a file is where it would be had each read left the VM. What somebody
 * else writes to the file is seen some milliseconds later at most.
 */
#include "barecell-guest.h"
#include "answers.h"

extern const uint8_t bc_input_bytes[];

/* Since when the bytes can have been there: the host read them after this. */
static uint64_t asked;

static uint32_t ask(void) {
  asked = __builtin_ia32_rdtsc();
  return BC_NO_ANSWER;
}

uint32_t bc_fd_read(const wasm_rt_memory_t* memory, uint32_t fd, uint32_t list_at, uint32_t count, uint32_t result_at) {
  bc_input* input = &bc_mailbox_page.input;
  uint32_t left = input->bytes - input->taken;
  if (fd != input->fd || (left == 0 && !input->at_end) || __builtin_ia32_rdtsc() - asked > BC_SOME_MILLISECONDS) return ask();
  bc_buffer buffers[BC_BUFFERS_MOST];
  uint64_t bytes;
  if (!bc_read_buffers(memory, list_at, count, buffers, &bytes) || !bc_in_bounds(memory, result_at, sizeof(uint32_t))) return ask();
  /* A read of a file gets all that it asks for, as far as there is something. */
  if (bytes == 0 || (bytes > left && !input->at_end)) return ask();
  const uint8_t* from = bc_input_bytes + input->taken;
  uint32_t wanted = bytes < left ? (uint32_t)bytes : left;
  for (uint32_t i = 0, rest = wanted; rest > 0; i++) {
    uint32_t some = buffers[i].bytes < rest ? buffers[i].bytes : rest;
    __builtin_memcpy(memory->data + buffers[i].at, from, some);
    from += some;
    rest -= some;
  }
  input->taken += wanted;
  __builtin_memcpy(memory->data + result_at, &wanted, sizeof wanted);
  return BC_SUCCESS;
}
