/*
 * spectral: f64 division bound to integer-to-float conversion, in reductions that must keep their order.
 *
 * The largest singular value of the infinite matrix with A(i, j) = 1 / ((i + j) (i + j + 1) / 2 + i + 1), cut
 * to n by n, by ten steps of the power method: problem 3 of the SIAM hundred-digit challenge (Trefethen,
 * 2002). n is up to 2048 (a larger n counts as 2048). The norm tends to 1.2742241...
 */
#include <stdint.h>

#define MAX_DIMENSION 2048u

static double u[MAX_DIMENSION], v[MAX_DIMENSION], w[MAX_DIMENSION];

static double element(uint32_t i, uint32_t j) {
  return 1.0 / (double)((i + j) * (i + j + 1) / 2 + i + 1);
}

static void multiply(uint32_t n, const double *in, double *out) {
  for (uint32_t i = 0; i < n; i++) {
    double sum = 0.0;
    for (uint32_t j = 0; j < n; j++) sum += element(i, j) * in[j];
    out[i] = sum;
  }
}

static void multiply_transposed(uint32_t n, const double *in, double *out) {
  for (uint32_t i = 0; i < n; i++) {
    double sum = 0.0;
    for (uint32_t j = 0; j < n; j++) sum += element(j, i) * in[j];
    out[i] = sum;
  }
}

uint32_t kernel_run(uint32_t n) {
  if (n > MAX_DIMENSION) n = MAX_DIMENSION;
  for (uint32_t i = 0; i < n; i++) u[i] = 1.0;
  for (int step = 0; step < 10; step++) {
    multiply(n, u, w);
    multiply_transposed(n, w, v);
    multiply(n, v, w);
    multiply_transposed(n, w, u);
  }
  double uv = 0.0, vv = 0.0;
  for (uint32_t i = 0; i < n; i++) {
    uv += u[i] * v[i];
    vv += v[i] * v[i];
  }
  double norm = __builtin_sqrt(uv / vv);
  uint64_t bits;
  __builtin_memcpy(&bits, &norm, 8);
  return (uint32_t)(bits ^ (bits >> 32));
}
