/*
 * WASI calls that the guest answers itself, so that they cost no VM exit (writing is in output.c): clocks from the time stamp counter, random bytes from a generator that the host
 * seeds. Each function returns an errno of WASI, or BC_NO_ANSWER where the host has to be asked: it did not grant the answer, or the arguments are not the
 * plain case. Ports stay what decides who may ask what: without a grant, the way to the import's port is taken, and that one may be closed.
 */
#include "barecell-guest.h"
#include "answers.h"

/* WASI preview 1, `clockid`. */
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1

static uint64_t time_stamp(void) {
  uint32_t low, high;
  /* Not before the loads ahead of it: a clock read after a message must not be older than the message. */
  __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}

uint32_t bc_clock_time_get(const wasm_rt_memory_t* memory, uint32_t clock, uint32_t result_at) {
  static uint64_t last_monotonic;
  const bc_answers* answers = &bc_mailbox_page.answers;
  if (!(answers->granted & BC_ANSWER_CLOCK) || clock > CLOCK_MONOTONIC) return BC_NO_ANSWER;
  if (!bc_in_bounds(memory, result_at, sizeof(uint64_t))) return BC_NO_ANSWER;
  uint64_t passed = (uint64_t)((unsigned __int128)(time_stamp() - answers->tsc) * answers->tsc_scale >> 32);
  uint64_t now;
  if (clock == CLOCK_REALTIME) {
    now = answers->realtime_ns + passed;
  } else {
    now = answers->monotonic_ns + passed;
    /* The host sets the base anew at each entry; its clock and this one differ by some parts in a million meanwhile. */
    if (now < last_monotonic) now = last_monotonic;
    last_monotonic = now;
  }
  __builtin_memcpy(memory->data + result_at, &now, sizeof now);
  return BC_SUCCESS;
}

/* ChaCha20 (RFC 8439, 2.3), which forgets its key with each block: who reads this memory later does not learn what was given out before. */
#define QUARTER_ROUND(a, b, c, d)                                      \
  a += b, d ^= a, d = d << 16 | d >> 16, c += d, b ^= c, b = b << 12 | b >> 20, \
  a += b, d ^= a, d = d << 8 | d >> 24, c += d, b ^= c, b = b << 7 | b >> 25

static void chacha20_block(const uint32_t key[8], uint32_t out[16]) {
  uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1], key[2], key[3],
                        key[4],     key[5],     key[6],     key[7],     0,      0,      0,      0};
  uint32_t x[16];
  __builtin_memcpy(x, start, sizeof x);
  for (int round = 0; round < 10; round++) {
    QUARTER_ROUND(x[0], x[4], x[8], x[12]);
    QUARTER_ROUND(x[1], x[5], x[9], x[13]);
    QUARTER_ROUND(x[2], x[6], x[10], x[14]);
    QUARTER_ROUND(x[3], x[7], x[11], x[15]);
    QUARTER_ROUND(x[0], x[5], x[10], x[15]);
    QUARTER_ROUND(x[1], x[6], x[11], x[12]);
    QUARTER_ROUND(x[2], x[7], x[8], x[13]);
    QUARTER_ROUND(x[3], x[4], x[9], x[14]);
  }
  for (int i = 0; i < 16; i++) out[i] = x[i] + start[i];
}

static uint32_t key[8];
static uint32_t seeded_from; /* number of the seed that the key was made of; 0: of none */

/* Of several VMs that start from one snapshot each takes the seed that its own host gives it. */
void bc_forget_seed(void) {
  __builtin_memset(key, 0, sizeof key);
  seeded_from = 0;
}

uint32_t bc_random_get(const wasm_rt_memory_t* memory, uint32_t at, uint32_t count) {
  bc_answers* answers = &bc_mailbox_page.answers;
  if (!(answers->granted & BC_ANSWER_RANDOM) || !bc_in_bounds(memory, at, count)) return BC_NO_ANSWER;
  if (answers->seed_count != seeded_from) {
    __builtin_memcpy(key, answers->random_seed, sizeof key);
    __builtin_memset(answers->random_seed, 0, sizeof key);
    seeded_from = answers->seed_count;
  }
  uint8_t* to = memory->data + at;
  while (count > 0) {
    /* Half of each block is given out, the other half is the next key. */
    uint32_t block[16];
    chacha20_block(key, block);
    __builtin_memcpy(key, block, sizeof key);
    uint32_t some = count < 32 ? count : 32;
    __builtin_memcpy(to, block + 8, some);
    to += some;
    count -= some;
  }
  return BC_SUCCESS;
}
