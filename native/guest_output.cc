#include "guest_output.h"

#include <algorithm>
#include <cstring>

namespace barecell {
namespace {

// Looks at the descriptor before it looks at the clock: what the guest wrote in its time is delivered, even if that time is over now.
class ReadyFirst final : public Waiter {
 public:
  explicit ReadyFirst(Waiter& stoppable) : stoppable_(stoppable) {}

  int wait(int fd, short events, int64_t timeout_ns) noexcept override {
    // Only a question whether to go on. There is at most one log to be written.
    if (fd < 0 && timeout_ns == 0) return 0;
    pollfd entry{fd, events, 0};
    if (fd >= 0 && poll(&entry, 1, 0) > 0) return entry.revents;
    return stoppable_.wait(fd, events, timeout_ns);
  }

 private:
  Waiter& stoppable_;
};

}  // namespace

void GuestOutput::refresh(bc_output& output) noexcept {
  if (!taker_) return;
  OutputGrant grant = taker_->grant();
  output.kept = grant.kept;
  output.lines = grant.lines;
  output.bursts = grant.bursts;
  output.dropped = grant.dropped;
  output.room = static_cast<uint32_t>(std::min<uint64_t>(grant.room, BC_OUTPUT_LOG_BYTES));
}

bool GuestOutput::has_some(const bc_output& output) const noexcept {
  return taker_ && __atomic_load_n(&output.used, __ATOMIC_RELAXED) != 0;
}

HostCallAction GuestOutput::take(bc_output& output, const uint8_t* log, Waiter& stoppable) {
  uint32_t used = __atomic_exchange_n(&output.used, 0, __ATOMIC_RELAXED);
  if (!taker_ || log == nullptr || used > BC_OUTPUT_LOG_BYTES) return HostCallAction::Continue;
  uint8_t copy[BC_OUTPUT_LOG_BYTES];
  std::memcpy(copy, log, used);
  LinearMemory bytes;
  bytes.attach(copy, used);
  ReadyFirst waiter(stoppable);
  uint32_t at = 0;
  bc_output_record record;
  while (bytes.read_value(at, &record)) {
    at += sizeof record;
    // The guest's runtime writes no such record: what follows has no meaning either.
    if (record.bytes > used - at) break;
    HostCallAction action = taker_->take(record.fd, bytes, at, record.bytes, waiter);
    if (action != HostCallAction::Continue) return action;
    at += record.bytes;
  }
  return HostCallAction::Continue;
}

}  // namespace barecell
