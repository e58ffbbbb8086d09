// Records of a VM's host calls, for whoever wants to see each of them: arguments, results, times, and a little of the memory that arguments point to.
//
// The thread that runs the vCPU writes records, JavaScript reads them in batches: in a run on a vCPU thread whenever its event loop comes by, in a run on its own
// thread when enough have gathered. What is left when a run is over JavaScript takes by itself. Nothing is dropped, and what waits is bounded: a vCPU thread that is
// too far ahead waits, as host functions do, so a time limit or a cancel ends that.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "environment.h"
#include "host_call.h"
#include "kick.h"
#include "owners.h"

namespace barecell {

// Memory of the guest's to be shown with a call: where an argument says that it is.
struct CallCapture {
  enum class Kind : uint32_t {
    Range,    // bytes from the address in `pointer` on, as many as `length` or `fixed_bytes` say
    Vectors,  // what an array at `pointer` of `length` pairs of address and size (32 bits each) refers to, one after the other
  };
  Kind kind = Kind::Range;
  // When the call is over, and only if its first result is 0; else before it.
  bool after = false;
  uint32_t pointer = 0;
  // Places of arguments; -1: none. `limit` is the address of 32 bits that say how much of it counts.
  int32_t length = -1;
  int32_t limit = -1;
  uint32_t fixed_bytes = 0;
};

struct CallPlan {
  uint32_t argument_count = 0;
  uint32_t result_count = 0;
  std::vector<CallCapture> captures;
};

class CallTrace : public std::enable_shared_from_this<CallTrace> {
 public:
  // `deliver(batch: Uint8Array)`: records one after the other, see append() for their form and src/observe/trace-batch.ts for the reader. Held weakly, as
  // HostFunctions holds `dispatch`.
  CallTrace(Environment& environment, Napi::Function deliver, std::vector<CallPlan> plans);

  // Serves a host call and records it. `slots` are its arguments, and afterwards its results. On the thread that runs the vCPU.
  HostCallAction observe(size_t import, std::span<bc_slot> slots, LinearMemory& memory, StopControl& stop, Waiter& waiter,
                         const std::function<HostCallAction()>& serve);

  // Delivers what has gathered. JavaScript thread only.
  void deliver(Napi::Env env);

 private:
  void append(const std::vector<uint8_t>& record, StopControl& stop, Waiter& waiter);
  bool is_full();

  Environment& environment_;
  Napi::FunctionReference deliver_;
  const std::vector<CallPlan> plans_;
  UniqueFd delivered_;

  std::mutex mutex_;
  std::vector<uint8_t> pending_;
  bool is_posted_ = false;
};

}  // namespace barecell
