/* memory: writes to each 4 KiB page of MIB mebibytes that nobody has touched before, then reads all of them back. */
#include <stdint.h>

#ifndef MIB
#error "MIB says how much memory to touch"
#endif
#define PAGE_BYTES 4096u
#define PAGES (MIB * 256u)

static volatile uint8_t area[PAGES * PAGE_BYTES];

uint32_t kernel_run(uint32_t n) {
  for (uint32_t i = 0; i < PAGES; i++) area[i * PAGE_BYTES] = (uint8_t)(i + n);
  uint32_t sum = 0;
  for (uint32_t i = 0; i < PAGES; i++) sum += area[i * PAGE_BYTES];
  return sum;
}
