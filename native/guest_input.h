// Bytes of a file that the host puts beside the mailbox when it has answered a read, so that the guest's next reads cost no exit (guest-stubs/input.c).
//
// What is left of them is taken back after each exit, before anything else is done about it: a file's offset is where it would be had each read left the VM, and
// whatever the guest does otherwise (moves, writes, closes) meets the file as it is. The count of what was read is in the guest's hands: a forged one moves
// the guest's own offset within what it was given.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "abi.h"

namespace barecell {

// What is given at once.
struct InputAhead {
  uint32_t fd = 0;
  uint32_t bytes = 0;
  bool at_end = false;
};

// Whose input it is. Used by the thread that runs the vCPU only.
class InputSource {
 public:
  virtual ~InputSource() = default;
  // Whether ahead() may have something: asked before each entry.
  virtual bool is_due() const noexcept = 0;
  // Copies what is to come next, and leaves the file where it is; writes no more of `to` than that. No bytes and no end: there is nothing to be given.
  virtual InputAhead ahead(std::span<uint8_t> to) noexcept = 0;
  // The guest has read so much of what it was given, at most all of it, and nothing else was done since.
  virtual void took(const InputAhead& given, uint32_t bytes) noexcept = 0;
};

class GuestInput {
 public:
  // Null: nothing is given ahead.
  explicit GuestInput(std::shared_ptr<InputSource> source) noexcept : source_(std::move(source)) {}

  bool is_due() const noexcept { return source_ && source_->is_due(); }
  // Before an entry, where is_due(). `buffer`: BC_INPUT_BYTES of the guest's. Returns how many of them from the first on may have been written.
  uint32_t give(bc_input& input, uint8_t* buffer) noexcept;
  // After each exit.
  bool has_given() const noexcept { return is_given_; }
  void take_back(bc_input& input, uint8_t* buffer) noexcept;
  // The guest's memory is put back to what it was, or gone.
  void forget() noexcept { is_given_ = false; }

 private:
  std::shared_ptr<InputSource> source_;
  InputAhead given_;
  bool is_given_ = false;
};

}  // namespace barecell
