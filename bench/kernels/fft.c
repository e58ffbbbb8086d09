/*
 * fft: f64 butterflies with strides that double, and a bit-reversal permutation.
 *
 * The iterative radix-2 transform of Cooley and Tukey (1965) of 4,096 complex points. Each of n rounds
 * transforms forth and back and scales, so that the signal stays itself but for rounding, which the checksum
 * holds. Sines and cosines come from a Taylor series and squaring: a C library's may differ in the last bit.
 */
#include <stdint.h>

#define LOG_POINTS 12
#define POINTS (1u << LOG_POINTS)

struct complex {
  double re, im;
};

static struct complex signal[POINTS];
static struct complex roots[POINTS / 2]; /* roots[k] = e^(-2 pi i k / POINTS) */

static struct complex times(struct complex a, struct complex b) {
  struct complex product = {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  return product;
}

static void make_roots(void) {
  double x = 6.283185307179586 / POINTS, xx = x * x;
  struct complex first = {1.0 - xx / 2.0 + xx * xx / 24.0, -(x - x * xx / 6.0 + x * xx * xx / 120.0)};
  roots[0].re = 1.0, roots[0].im = 0.0;
  /* Each root from the square of the one at half its index; the errors stay below 2e-13. */
  for (uint32_t k = 1; k < POINTS / 2; k++) {
    roots[k] = times(roots[k / 2], roots[k / 2]);
    if (k & 1) roots[k] = times(roots[k], first);
  }
}

static void permute(void) {
  for (uint32_t i = 1, j = 0; i < POINTS; i++) {
    uint32_t bit = POINTS >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      struct complex t = signal[i];
      signal[i] = signal[j];
      signal[j] = t;
    }
  }
}

/* sign is 1.0 for the transform, -1.0 for its inverse (unscaled). */
static void transform(double sign) {
  permute();
  for (uint32_t half = 1, stride = POINTS / 2; half < POINTS; half *= 2, stride /= 2) {
    for (uint32_t start = 0; start < POINTS; start += 2 * half) {
      for (uint32_t k = 0; k < half; k++) {
        struct complex root = {roots[k * stride].re, sign * roots[k * stride].im};
        struct complex odd = times(signal[start + k + half], root), even = signal[start + k];
        signal[start + k].re = even.re + odd.re;
        signal[start + k].im = even.im + odd.im;
        signal[start + k + half].re = even.re - odd.re;
        signal[start + k + half].im = even.im - odd.im;
      }
    }
  }
}

uint32_t kernel_run(uint32_t n) {
  make_roots();
  for (uint32_t i = 0; i < POINTS; i++) {
    signal[i].re = (double)(i * 7 % 256) - 128.0;
    signal[i].im = (double)(i * 13 % 64);
  }
  for (uint32_t round = 0; round < n; round++) {
    transform(1.0);
    transform(-1.0);
    for (uint32_t i = 0; i < POINTS; i++) {
      signal[i].re /= POINTS;
      signal[i].im /= POINTS;
    }
  }
  uint32_t checksum = 0;
  for (uint32_t i = 0; i < POINTS; i++) {
    uint64_t re, im;
    __builtin_memcpy(&re, &signal[i].re, 8);
    __builtin_memcpy(&im, &signal[i].im, 8);
    checksum = checksum * 31 + (uint32_t)(re ^ (re >> 32));
    checksum = checksum * 31 + (uint32_t)(im ^ (im >> 32));
  }
  return checksum;
}
