/* Prints samples: readable, or as one JSON object. */
#ifndef BARECELL_FLOOR_REPORT_H
#define BARECELL_FLOOR_REPORT_H

#include <stdbool.h>

struct series {
  const char *name;
  double *samples;
};

/* `p50`, `p90`, `p99` and the largest of each, microseconds. Sorts the samples. */
void print_table(const struct series *series, int count, long runs);
/* `"name": [sample, …], …` without braces. */
void print_json_series(const struct series *series, int count, long runs);

#endif
