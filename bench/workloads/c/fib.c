/* fib: a few microseconds of calls and additions; the plain recursion, which no compiler folds away for an unknown n. */
#include <stdint.h>

uint32_t kernel_run(uint32_t n) { return n < 2 ? n : kernel_run(n - 1) + kernel_run(n - 2); }
