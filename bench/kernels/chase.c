/*
 * chase: one dependent load after the other over 4 MiB: latency of caches and address translation.
 *
 * Follows one random cycle through all entries, made by Sattolo's algorithm (1986). n is the number of steps;
 * the cycle has 2^20 entries, or fewer for a small n, so that making it never outweighs walking it.
 */
#include <stdint.h>

#define MAX_ENTRIES (1u << 20)

static uint32_t next_entry[MAX_ENTRIES];

uint32_t kernel_run(uint32_t n) {
  uint32_t entries = MAX_ENTRIES;
  while (entries > 1024 && entries > n / 4) entries /= 2;

  for (uint32_t i = 0; i < entries; i++) next_entry[i] = i;
  uint64_t seed = 1;
  for (uint32_t i = entries - 1; i > 0; i--) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t j = (uint32_t)(((seed >> 32) * i) >> 32); /* below i, never i itself: that makes it one cycle */
    uint32_t t = next_entry[i];
    next_entry[i] = next_entry[j];
    next_entry[j] = t;
  }

  uint32_t at = 0, checksum = 0;
  for (uint32_t step = 0; step < n; step++) {
    at = next_entry[at];
    checksum += at ^ step;
  }
  return checksum;
}
