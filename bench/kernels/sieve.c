/*
 * sieve: strided byte stores over 1 MiB, then one linear read.
 *
 * The sieve of Eratosthenes over the odd numbers, one byte each. Round r of n counts the primes below 2^21 -
 * r, so the result for n = 1 can be checked against published tables: 155,611. n is up to 2^20.
 */
#include <stdint.h>

#define LIMIT (1u << 21)

static uint8_t composite[LIMIT / 2]; /* composite[i] stands for 2 i + 1 */

static uint32_t count_primes_below(uint32_t limit) {
  uint32_t half = limit / 2;
  for (uint32_t i = 0; i < half; i++) composite[i] = 0;
  for (uint32_t p = 3; p * p < limit; p += 2) {
    if (composite[p / 2]) continue;
    for (uint32_t i = p * p / 2; i < half; i += p) composite[i] = 1;
  }
  uint32_t count = 1; /* the prime 2 */
  for (uint32_t i = 1; i < half; i++) count += !composite[i];
  return count;
}

uint32_t kernel_run(uint32_t n) {
  uint32_t sum = 0;
  for (uint32_t round = 0; round < n; round++) sum += count_primes_below(LIMIT - round);
  return sum;
}
