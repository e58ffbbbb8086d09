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
  // For a snapshot: neither what the guest did not ask for, nor what it has wiped where it read it to.
  std::memset(buffer, 0, given_.bytes);
  source_->took(given_, taken);
}

}  // namespace barecell
