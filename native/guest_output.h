// Output that a guest keeps in a log of its own until it leaves the VM, so that several writes cost one exit (guest-stubs/output.c).
//
// The host says before each entry which descriptors that holds for, and takes the log after each exit, before it does anything else about it: what a guest wrote
// is where it would be had each write left the VM. The log is in the guest's hands. All that a forged one can do is what fd_write on those descriptors can.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "abi.h"
#include "host_call.h"

namespace barecell {

// Sets of descriptors are bits, 1 << number.
struct OutputGrant {
  uint32_t kept = 0;     // go to the log
  uint32_t lines = 0;    // of those, what is written with a line's end leaves the VM at once
  uint32_t bursts = 0;   // of those, what comes some milliseconds after the last that left leaves it at once
  uint32_t dropped = 0;  // go nowhere
  uint64_t room = BC_OUTPUT_LOG_BYTES;
};

// Whom the output goes to. Used by the thread that runs the vCPU only.
class OutputTaker {
 public:
  virtual ~OutputTaker() = default;
  // What may be kept now, after all that the guest did so far.
  virtual OutputGrant grant() const noexcept = 0;
  // Bytes that the guest was told are written. `fd` is hostile: without a grant nothing is done. Continue, Interrupted or OutputLimit.
  virtual HostCallAction take(uint32_t fd, LinearMemory& bytes, uint32_t offset, uint32_t count, Waiter& waiter) = 0;
};

// Holds nothing between two exits, so a VM that is put back to an earlier state needs nothing of it but that its memory is put back.
class GuestOutput {
 public:
  // Null: nothing is kept.
  explicit GuestOutput(std::shared_ptr<OutputTaker> taker) noexcept : taker_(std::move(taker)) {}

  // Before each entry.
  void refresh(bc_output& output) noexcept;

  // After each exit. Waits as fd_write does, and ends as it does; but what can be written without waiting is written also when the run is to stop.
  bool has_some(const bc_output& output) const noexcept;
  HostCallAction take(bc_output& output, const uint8_t* log, Waiter& stoppable);

 private:
  std::shared_ptr<OutputTaker> taker_;
};

}  // namespace barecell
