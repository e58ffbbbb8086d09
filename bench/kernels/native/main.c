/*
 * Runs one kernel natively: kernel N REPEATS. Prints a line "checksum nanoseconds" for each repetition.
 * Linked with one of ../NAME.c; it is apart from the kernels because it needs a C library and they must not.
 */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint32_t kernel_run(uint32_t n);

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s N REPEATS\n", argv[0]);
    return 2;
  }
  uint32_t n = (uint32_t)strtoul(argv[1], NULL, 10);
  for (long repeats = strtol(argv[2], NULL, 10); repeats > 0; repeats--) {
    long long start = now();
    uint32_t checksum = kernel_run(n);
    printf("%u %lld\n", (unsigned)checksum, now() - start);
  }
  return 0;
}
