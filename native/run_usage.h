// What the thread that ran a vCPU used meanwhile. Two system calls for each run, so only where somebody asked for it.
#pragma once

#include <sys/resource.h>

#include <cstdint>

namespace barecell {

struct RunUsage {
  uint64_t user_us = 0;
  uint64_t system_us = 0;
  uint64_t minor_faults = 0;
  uint64_t major_faults = 0;
};

// Adds what its thread uses while it lives, if `total` is not null.
class UsageScope {
 public:
  explicit UsageScope(RunUsage* total) noexcept : total_(total) {
    if (total_ != nullptr) getrusage(RUSAGE_THREAD, &before_);
  }
  ~UsageScope() {
    if (total_ == nullptr) return;
    rusage after{};
    getrusage(RUSAGE_THREAD, &after);
    total_->user_us += microseconds(after.ru_utime) - microseconds(before_.ru_utime);
    total_->system_us += microseconds(after.ru_stime) - microseconds(before_.ru_stime);
    total_->minor_faults += static_cast<uint64_t>(after.ru_minflt - before_.ru_minflt);
    total_->major_faults += static_cast<uint64_t>(after.ru_majflt - before_.ru_majflt);
  }
  UsageScope(const UsageScope&) = delete;
  UsageScope& operator=(const UsageScope&) = delete;

 private:
  static uint64_t microseconds(const timeval& time) noexcept { return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec); }

  RunUsage* total_;
  rusage before_{};
};

}  // namespace barecell
