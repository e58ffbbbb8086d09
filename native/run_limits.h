// What a run of the guest may take. All values are checked by the caller; 0 means no limit, unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace barecell {

struct TimeLimits {
  // Wall-clock time, functions of the host's included: a point of CLOCK_MONOTONIC, nanoseconds.
  int64_t total_deadline_ns = 0;
  // Wall-clock time less that of host functions in JavaScript, and processor time of the guest's thread less theirs: nanoseconds.
  int64_t guest_ns = 0;
  int64_t cpu_ns = 0;
};

struct RunLimits {
  TimeLimits time;
  uint64_t max_host_calls = UINT64_MAX;
  uint64_t max_linear_bytes = UINT64_MAX;  // all linear memories together
  uint64_t max_stack_bytes = UINT64_MAX;   // at most what the image has
  uint32_t max_table_elements = UINT32_MAX;
};

}  // namespace barecell
