/*
 * sweep: memory bandwidth: fill, copy and sum over two arrays of 2 MiB.
 *
 * In the manner of McCalpin's STREAM. The fill and the copy are memset and memcpy: in WebAssembly the
 * instructions memory.fill and memory.copy, so this also measures how the runtime does those. n is the number
 * of passes.
 */
#include <stdint.h>

#define WORDS (1u << 18)

static uint64_t source[WORDS], target[WORDS];

uint32_t kernel_run(uint32_t n) {
  for (uint32_t i = 0; i < WORDS; i++) source[i] = i * 0x9E3779B97F4A7C15ull;
  uint64_t checksum = 0;
  for (uint32_t pass = 0; pass < n; pass++) {
    __builtin_memset(target, (int)(pass & 255), sizeof target);
    checksum = checksum * 31 + target[pass % WORDS];
    __builtin_memcpy(target, source, sizeof target);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORDS; i++) sum += target[i];
    for (uint32_t i = 0; i < WORDS; i++) source[i] = (target[i] ^ pass) + 1;
    checksum = checksum * 31 + sum;
  }
  return (uint32_t)(checksum ^ (checksum >> 32));
}
