/*
 * strsearch: short comparison loops and data-dependent skips over a text that fits the second-level cache.
 *
 * The Boyer-Moore-Horspool search (Horspool, 1980). Searches 128 KiB of text over four letters, as in genome
 * data, for n patterns of 4 to 19 letters taken from the text itself; counts the matches and folds in their
 * places.
 */
#include <stdint.h>

#define TEXT_BYTES 131072u

static uint8_t text[TEXT_BYTES];
static uint32_t skip[256];

static uint32_t search(const uint8_t *pattern, uint32_t length, uint32_t checksum) {
  for (uint32_t i = 0; i < 256; i++) skip[i] = length;
  for (uint32_t i = 0; i + 1 < length; i++) skip[pattern[i]] = length - 1 - i;
  uint32_t at = 0;
  while (at + length <= TEXT_BYTES) {
    uint32_t i = length - 1;
    uint8_t last = text[at + i];
    while (text[at + i] == pattern[i]) {
      if (i == 0) {
        checksum = checksum * 31 + at;
        break;
      }
      i--;
    }
    at += skip[last];
  }
  return checksum;
}

uint32_t kernel_run(uint32_t n) {
  uint32_t seed = 2463534242u, checksum = 1;
  for (uint32_t i = 0; i < TEXT_BYTES; i++) {
    seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
    text[i] = (uint8_t) "acgt"[seed & 3];
  }
  for (uint32_t round = 0; round < n; round++) {
    seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
    checksum = search(text + (seed >> 8) % (TEXT_BYTES - 32), 4 + (seed & 15), checksum);
  }
  return checksum;
}
