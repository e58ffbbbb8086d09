/*
 * queens: recursion and branches on bits, no memory but the call stack: the cost of calls.
 *
 * Counts the ways to place n queens on an n by n board, one row after the other with bit masks (the method of
 * Richards, 1997). Returns the count, so the result can be checked against published tables: 92 for n = 8. n
 * is 1 to 16.
 */
#include <stdint.h>

static uint32_t place(uint32_t all, uint32_t columns, uint32_t falling, uint32_t rising) {
  if (columns == all) return 1;
  uint32_t count = 0;
  for (uint32_t free = all & ~(columns | falling | rising); free != 0; free &= free - 1) {
    uint32_t queen = free & (0u - free);
    count += place(all, columns | queen, (falling | queen) << 1, (rising | queen) >> 1);
  }
  return count;
}

uint32_t kernel_run(uint32_t n) {
  if (n < 1) n = 1;
  if (n > 16) n = 16;
  return place((1u << n) - 1, 0, 0, 0);
}
