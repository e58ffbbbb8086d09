// Options of a VM and limits of a run, as JavaScript passes them.
#pragma once

#include <napi.h>

#include <memory>

#include "host_functions.h"
#include "vm.h"
#include "wasi/instance.h"

namespace barecell {

// { staged, maxLinearBytes, answersInGuest, grants: Int32Array of three numbers for each import, which GRANT_NUMBERS in src/vm/addon.ts explains }.
// `functions`: what answers imports that are the host's; may be null if there are none.
VmOptions read_vm_options(const Napi::Object& config, const std::shared_ptr<wasi::Instance>& wasi, const std::shared_ptr<HostFunctions>& functions);

// The limits of a run, in the order of `LIMIT` in src/vm/limits.ts. Times are milliseconds from when the run begins; 0: none.
struct LimitNumbers {
  enum Index { kTimeoutMs, kGuestTimeoutMs, kCpuTimeMs, kHostCalls, kMemoryBytes, kStackBytes, kTableElements, kOutputBytes, kCount };
  double values[kCount];

  // From a Float64Array.
  static LimitNumbers read(const Napi::Value& value);
  // When the run begins: from here its time counts.
  RunLimits start() const noexcept;
  uint64_t output_bytes() const noexcept;
};

// Milliseconds (may be fractional) from now, as a point of CLOCK_MONOTONIC; 0 or less: no deadline.
int64_t deadline_after(double timeout_ms) noexcept;

}  // namespace barecell
