/* spin: never comes back. */
#include <stdint.h>

static volatile uint32_t turns;

uint32_t kernel_run(uint32_t n) {
  for (;;) turns += n;
}
