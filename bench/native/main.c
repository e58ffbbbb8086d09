/*
 * One workload as a program: program N INPUT_BYTES run|hold. Linked with a kernel, statically, so that it runs in an empty root file
 * system. Reads INPUT_BYTES from standard input, runs, and writes "NANOSECONDS RESULT LENGTH\n" and LENGTH bytes: when main() began
 * (CLOCK_MONOTONIC), what the kernel returned, and what it left in kernel_data, if it has input. With `hold` it then stays until its
 * standard input ends, for somebody to look at its memory.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint32_t kernel_run(uint32_t n);
/* Only kernels that take input have it. */
extern uint8_t kernel_data[] __attribute__((weak));

static int write_all(const void *bytes, size_t count) {
  for (const char *at = bytes; count > 0;) {
    ssize_t written = write(1, at, count);
    if (written <= 0) return 0;
    at += written, count -= (size_t)written;
  }
  return 1;
}

int main(int argc, char **argv) {
  struct timespec began;
  clock_gettime(CLOCK_MONOTONIC, &began);
  if (argc != 4) return 2;
  uint32_t n = (uint32_t)strtoul(argv[1], NULL, 10), input = (uint32_t)strtoul(argv[2], NULL, 10);
  for (uint32_t have = 0; have < input;) {
    ssize_t got = read(0, kernel_data + have, input - have);
    if (got <= 0) return 3;
    have += (uint32_t)got;
  }
  uint32_t result = kernel_run(n);
  char line[64];
  uint32_t length = input > 0 ? result : 0;
  int count = snprintf(line, sizeof line, "%lld %u %u\n", began.tv_sec * 1000000000ll + began.tv_nsec, (unsigned)result, (unsigned)length);
  if (!write_all(line, (size_t)count) || (length > 0 && !write_all(kernel_data, length))) return 4;
  if (strcmp(argv[3], "hold") == 0) {
    char byte;
    while (read(0, &byte, 1) > 0) continue;
  }
  return 0;
}
