#include "report.h"

#include <stdio.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

/* Nearest rank, so that every figure printed is one that was measured; as in bench/statistics.ts. */
static double percentile(const double *sorted, long count, long percent) {
  long rank = (count * percent + 99) / 100;
  return sorted[rank < 1 ? 0 : rank - 1];
}

void print_table(const struct series *series, int count, long runs) {
  printf("%-16s %9s %9s %9s %9s\n", "microseconds", "p50", "p90", "p99", "max");
  for (int i = 0; i < count; i++) {
    double *samples = series[i].samples;
    qsort(samples, (size_t)runs, sizeof *samples, ascending);
    printf("%-16s %9.1f %9.1f %9.1f %9.1f\n", series[i].name, percentile(samples, runs, 50), percentile(samples, runs, 90),
           percentile(samples, runs, 99), samples[runs - 1]);
  }
}

void print_json_series(const struct series *series, int count, long runs) {
  for (int i = 0; i < count; i++) {
    printf("%s\"%s\": [", i > 0 ? ", " : "", series[i].name);
    for (long j = 0; j < runs; j++) printf("%s%.3f", j > 0 ? ", " : "", series[i].samples[j]);
    printf("]");
  }
}
