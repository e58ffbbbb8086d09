#include "guest_start.h"

#include <cstring>
#include <tuple>

namespace barecell {

void GuestStart::start(bc_mailbox& mailbox) {
  if (grant_.answers == 0) return;
  if (!told_) {
    told_ = std::make_unique<bc_start>();
    std::tie(grant_.answers, told_bytes_) = grant_.teller->tell(grant_.answers, *told_);
  }
  std::memcpy(&mailbox.start, told_.get(), told_bytes_);
  mailbox.answers.granted |= grant_.answers;
}

void GuestStart::refresh(bc_start& start) noexcept {
  if (grant_.answers != 0) start.unchanged_below = grant_.teller->unchanged_below();
}

}  // namespace barecell
