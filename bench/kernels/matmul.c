/*
 * matmul: f64 multiply and add over three matrices; the innermost loop walks two of them row by row.
 *
 * The textbook product in i-k-j order, no blocking. n is the dimension, up to 512 (a larger n counts as 512).
 */
#include <stdint.h>

#define MAX_DIMENSION 512u

static double a[MAX_DIMENSION * MAX_DIMENSION];
static double b[MAX_DIMENSION * MAX_DIMENSION];
static double c[MAX_DIMENSION * MAX_DIMENSION];

uint32_t kernel_run(uint32_t n) {
  if (n > MAX_DIMENSION) n = MAX_DIMENSION;
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t j = 0; j < n; j++) {
      a[i * n + j] = 1.0 / (double)(i + j + 1);
      b[i * n + j] = (double)(i ^ j) * 0.125 - 3.0;
      c[i * n + j] = 0.0;
    }
  }
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t k = 0; k < n; k++) {
      double factor = a[i * n + k];
      for (uint32_t j = 0; j < n; j++) c[i * n + j] += factor * b[k * n + j];
    }
  }
  uint64_t checksum = 0;
  for (uint32_t i = 0; i < n * n; i++) {
    uint64_t bits;
    __builtin_memcpy(&bits, &c[i], 8);
    checksum = checksum * 31 + bits;
  }
  return (uint32_t)(checksum ^ (checksum >> 32));
}
