// What the host keeps up to date in the mailbox, so that a guest can answer some calls without leaving the VM (guest-stubs/answers.c).
#pragma once

#include <cstdint>
#include <functional>

#include "abi.h"

namespace barecell {

struct ClockReading {
  uint64_t realtime_ns = 0;
  uint64_t monotonic_ns = 0;
};

// What a VM's guest may answer itself. Nothing by default.
struct AnswerGrants {
  std::function<ClockReading()> clock;
  bool random = false;
};

class GuestAnswers {
 public:
  explicit GuestAnswers(AnswerGrants grants) : grants_(std::move(grants)) {}

  // Before the guest starts, and after a reset: a seed of its own for each life of a VM.
  void start(bc_answers& answers);

  // When it is ready: finds out how the guest's time stamp counter relates to the host's. `stamp` was taken in the guest (hostile: a wrong one spoils the
  // guest's own clock only), `before` and `after` around that on the host. Without a clear answer, clocks stay with the host.
  void calibrate(int vcpu_fd, uint64_t stamp, uint64_t before, uint64_t after);

  // Before each entry: a new base for the clocks, so that they follow the host's.
  void refresh(bc_answers& answers);

  bool wants_clock() const noexcept { return static_cast<bool>(grants_.clock); }

 private:
  AnswerGrants grants_;
  uint32_t seed_count_ = 0;
  // Host counter + offset = guest counter; 0 as scale: not calibrated.
  uint64_t tsc_offset_ = 0;
  uint64_t tsc_scale_ = 0;
};

// The host's time stamp counter, in program order.
uint64_t host_time_stamp() noexcept;

}  // namespace barecell
