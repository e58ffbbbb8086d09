/*
 * quicksort: unpredictable branches, swaps in memory and recursion.
 *
 * Hoare's partition with the median of three as pivot, recursion into the smaller part only, insertion sort
 * for short runs (Sedgewick, 1978). Fills and sorts 16,384 integers n times.
 */
#include <stdint.h>

#define COUNT 16384
#define SHORT_RUN 16

static uint32_t values[COUNT];

static void swap(uint32_t *a, uint32_t *b) {
  uint32_t t = *a;
  *a = *b;
  *b = t;
}

static void insertion_sort(uint32_t *a, int32_t low, int32_t high) {
  for (int32_t i = low + 1; i <= high; i++) {
    uint32_t value = a[i];
    int32_t j = i - 1;
    while (j >= low && a[j] > value) {
      a[j + 1] = a[j];
      j--;
    }
    a[j + 1] = value;
  }
}

static void sort(uint32_t *a, int32_t low, int32_t high) {
  while (high - low >= SHORT_RUN) {
    int32_t middle = low + (high - low) / 2;
    if (a[middle] < a[low]) swap(&a[middle], &a[low]);
    if (a[high] < a[low]) swap(&a[high], &a[low]);
    if (a[high] < a[middle]) swap(&a[high], &a[middle]);
    uint32_t pivot = a[middle];
    int32_t i = low, j = high;
    while (i <= j) {
      while (a[i] < pivot) i++;
      while (a[j] > pivot) j--;
      if (i <= j) swap(&a[i++], &a[j--]);
    }
    /* Recursing into the smaller part keeps the depth logarithmic. */
    if (j - low < high - i) {
      sort(a, low, j);
      low = i;
    } else {
      sort(a, i, high);
      high = j;
    }
  }
  insertion_sort(a, low, high);
}

uint32_t kernel_run(uint32_t n) {
  uint32_t seed = 2463534242u, checksum = 0;
  for (uint32_t round = 0; round < n; round++) {
    for (uint32_t i = 0; i < COUNT; i++) {
      seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
      values[i] = seed;
    }
    sort(values, 0, COUNT - 1);
    for (uint32_t i = 1; i < COUNT; i++) {
      if (values[i - 1] > values[i]) return 0; /* not sorted: no valid checksum */
      checksum = checksum * 31 + values[i];
    }
  }
  return checksum;
}
