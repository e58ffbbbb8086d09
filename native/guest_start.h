// What a program asks for when it starts, put into the mailbox before it runs, so that it need not leave the VM for it (guest-stubs/start.c).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "abi.h"

namespace barecell {

// Who knows the answers. Used by the thread that runs the vCPU only.
class StartTeller {
 public:
  virtual ~StartTeller() = default;
  // The answers to those of the functions `answers` (BC_ANSWER_*) that fit, and nothing that belongs to another. Returns which, and how many bytes of `start`
  // they take from its beginning on. All of it is true of the program as it is at its start.
  virtual std::pair<uint32_t, size_t> tell(uint32_t answers, bc_start& start) = 0;
  // From which descriptor on something has changed since the start.
  virtual uint32_t unchanged_below() const noexcept = 0;
};

struct StartGrant {
  std::shared_ptr<StartTeller> teller;
  uint32_t answers = 0;
};

class GuestStart {
 public:
  explicit GuestStart(StartGrant grant) noexcept : grant_(std::move(grant)) {}

  // Before the guest starts, and after a reset.
  void start(bc_mailbox& mailbox);

  // Before each entry.
  void refresh(bc_start& start) noexcept;

 private:
  StartGrant grant_;
  // The same in each life of the VM, so asked for once.
  std::unique_ptr<bc_start> told_;
  size_t told_bytes_ = 0;
};

}  // namespace barecell
