// The interface between the run loop, which knows ports and the mailbox, and host functions, which know what they mean.
#pragma once

#include <poll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "abi.h"
#include "linear_memory.h"

namespace barecell {

// What the run loop does after a host function.
enum class HostCallAction {
  Continue,     // go back into the guest
  Exit,         // the guest asked to end; exit_code says how
  Interrupted,  // stop was requested (deadline, cancel) while the function waited; the run loop knows why
  OutputLimit,  // the guest wrote more captured output than it may
  Failed,       // a function of the host's in JavaScript failed; it knows why
};

// Waiting that a deadline or a cancel ends: a host function never blocks in any other way.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // Waits until `fd` has one of `events` (poll.h) or `timeout_ns` has passed (-1: no timeout of its own). fd -1 only sleeps.
  // Returns revents (0 when the timeout passed), or a negative number when the call must end: return HostCallAction::Interrupted then.
  virtual int wait(int fd, short events, int64_t timeout_ns) noexcept = 0;
};

constexpr size_t kHostCallMaxSlots = 16;

struct HostCall {
  // Checked copies of the mailbox's slots; the guest cannot change them any more. The results go back in them too.
  std::array<bc_slot, kHostCallMaxSlots> slots;
  LinearMemory& memory;
  Waiter& waiter;
  uint32_t exit_code = 0;

  uint32_t u32(size_t index) const noexcept { return slots[index].u32; }
  uint64_t u64(size_t index) const noexcept { return slots[index].u64; }
  HostCallAction result(uint32_t value) noexcept {
    slots[0].u64 = value;
    return HostCallAction::Continue;
  }
};

// Called on the thread that runs the vCPU.
using HostFunction = std::function<HostCallAction(HostCall&)>;

class Vm;

// A function of the host's in JavaScript. `slots` holds its arguments, and afterwards its results. Called on the thread that runs the vCPU, which may call
// back into the guest meanwhile (Vm::call_inner).
struct ScriptFunction {
  std::function<HostCallAction(Vm&, std::span<bc_slot> slots)> call;
  uint32_t argument_count = 0;
  uint32_t result_count = 0;
};

// What stands behind an import. Neither: it is not granted, and its port stays closed.
struct ImportBinding {
  HostFunction native;
  ScriptFunction script;

  bool is_granted() const noexcept { return native || script.call; }
};

}  // namespace barecell
