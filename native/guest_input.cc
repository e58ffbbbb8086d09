#include "guest_input.h"

#include <algorithm>
#include <cstring>

namespace barecell {

uint32_t GuestInput::give(bc_input& input, uint8_t* buffer) noexcept {
  given_ = source_->ahead({buffer, BC_INPUT_BYTES});
  is_given_ = given_.bytes > 0 || given_.at_end;
  if (is_given_) input = {given_.fd, given_.bytes, given_.at_end, 0};
  return given_.bytes;
}

void GuestInput::take_back(bc_input& input, uint8_t* buffer) noexcept {
  is_given_ = false;
  uint32_t taken = std::min(__atomic_load_n(&input.taken, __ATOMIC_RELAXED), given_.bytes);
  input = {};
  // What the guest did not ask for stays the host's: it must not get into a snapshot.
  std::memset(buffer + taken, 0, given_.bytes - taken);
  source_->took(given_, taken);
}

}  // namespace barecell
