/*
 * mandelbrot: f64 multiply and add in registers only, with a loop exit that is hard to predict.
 *
 * The escape-time algorithm, at most 64 iterations a point, on a square of n by n points over [-2, 0.5] x
 * [-1.25, 1.25].
 */
#include <stdint.h>

#define MAX_ITERATIONS 64u

static uint32_t escape_time(double cx, double cy) {
  double x = 0.0, y = 0.0;
  for (uint32_t i = 0; i < MAX_ITERATIONS; i++) {
    double xx = x * x, yy = y * y;
    if (xx + yy > 4.0) return i;
    y = 2.0 * x * y + cy;
    x = xx - yy + cx;
  }
  return MAX_ITERATIONS;
}

uint32_t kernel_run(uint32_t n) {
  uint32_t checksum = 0;
  for (uint32_t row = 0; row < n; row++) {
    double cy = 2.5 * (double)row / (double)n - 1.25;
    for (uint32_t column = 0; column < n; column++) {
      double cx = 2.5 * (double)column / (double)n - 2.0;
      checksum = checksum * 31 + escape_time(cx, cy);
    }
  }
  return checksum;
}
