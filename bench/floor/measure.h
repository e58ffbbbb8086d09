/* What is measured of a VM: its boot by steps, its calls, its host calls, and being made as if new. Microseconds. */
#ifndef BARECELL_FLOOR_MEASURE_H
#define BARECELL_FLOOR_MEASURE_H

#include "vm.h"

enum step { MAP, CREATE_VM, SLOTS, CREATE_VCPU, CPUID, REGISTERS, BOOT, CALL, CLOSE, STEPS };
extern const char *const STEP_NAMES[STEPS];

/* Before the measured ones: the first boots or calls of a process pay for page faults in this program and in the kernel's caches. */
#define WARM_UP 5

/* How a VM is started, and what it is called with (NULL: nothing). */
struct start {
  const struct host *host;
  const struct image *image;
  bool staged;
  const struct call *call;
};

/* One VM from nothing to nothing; `took` gets each step. Returns the call's first result slot. */
uint64_t measure_boot(const struct start *start, double took[STEPS]);

/* The round trip of one host call in a VM of its own: the mean of `count` in a row. */
double measure_host_calls(const struct start *start, long count);

/* `count` of each, in one VM. */
struct warm_samples {
  double *reset_and_call;   /* the pages that a call writes copied back, and the call again */
  double *call_after_reset; /* of that, the call alone */
  double *call_again;       /* called again as it was left */
};
uint64_t measure_warm(const struct start *start, long count, const struct warm_samples *took);

/* VMs that live as long as the program, and answered a call each if there is one. */
void make_live(const struct start *start, long count);

/* Makes as many live VMs more as each line of the standard input says, and says how many there are; until the input ends. */
void hold_live(const struct start *start);

#endif
