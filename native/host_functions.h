// Functions of the host's in JavaScript, as the guest of one VM calls them.
//
// In a synchronous call the guest runs on the JavaScript thread, so the function is simply called. In an asynchronous one the guest runs on a vCPU thread: that
// one asks the JavaScript thread and waits, for as long as the function's promise takes, and meanwhile runs what the function calls in the guest.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "environment.h"
#include "owners.h"
#include "vm.h"

namespace barecell {

// A call of an entry that ran, or what went wrong instead.
struct CallAnswer {
  Outcome outcome;
  std::vector<bc_slot> slots;
  std::string failure_code;
  std::string failure_message;

  // Runs, where nothing may be thrown on.
  void attempt(const std::function<Outcome()>& run);
};

// A call back into the guest, to be run by the thread that waits for the host function.
struct InnerCall {
  uint32_t function = 0;
  size_t argument_count = 0;
  size_t result_count = 0;
  double timeout_ms = 0;
  CallAnswer answer;
};

class HostFunctions : public std::enable_shared_from_this<HostFunctions> {
 public:
  // `dispatch(import, token)`: calls the function behind an import with the arguments in `slots`. Returns true (done, its results are there now), false (it
  // failed), or undefined for later: then answer(token, ...) is called. The token is 0 where the guest runs on the JavaScript thread, which cannot wait. It is held weakly, so that
  // a VM which is forgotten can be collected: the VM's JavaScript object must hold it.
  HostFunctions(Environment& environment, Napi::Function dispatch, Napi::Uint8Array slots);

  // What the run loop calls, on the thread that runs the vCPU.
  HostCallAction call(uint32_t import, Vm& vm, std::span<bc_slot> slots);

  // The rest on the JavaScript thread.

  // The answer to a call that was put off. Ignored if nobody waits for it any more.
  void answer(uint64_t token, bool succeeded, std::span<const bc_slot> slots);

  // Whether a host function with this token is being waited for (0: whether one runs on this thread).
  bool is_waiting(uint64_t token);

  // Calls back into the guest from within the function that was called with this token, here, or on the thread that waits. `done` is called on the JavaScript
  // thread. Throws BARECELL_BUSY if no such function is being waited for.
  Outcome run_inner_here(uint64_t token, Vm& vm, const EntryCall& call, int64_t deadline_ns);
  void run_inner_there(uint64_t token, std::shared_ptr<InnerCall> call, std::function<void(Napi::Env)> done);

 private:
  // What a vCPU thread waits for, on its stack. Calls nest, so there is one for each level.
  struct Wait {
    uint64_t token = 0;
    std::vector<bc_slot> slots;
    bool answered = false;
    bool succeeded = false;
    std::shared_ptr<InnerCall> inner;
    uint64_t inner_number = 0;
    // The JavaScript thread runs the vCPU itself; this thread must not touch it before that is over.
    bool runs_elsewhere = false;
  };

  HostCallAction call_here(uint32_t import, Vm& vm, std::span<bc_slot> slots);
  HostCallAction call_there(uint32_t import, Vm& vm, std::span<bc_slot> slots);
  HostCallAction wait_for_answer(Wait& wait, Vm& vm);
  void run_inner_of(Wait& wait, Vm& vm, std::unique_lock<std::mutex>& lock);
  void ask(Napi::Env env, uint32_t import, uint64_t token);
  // 1: done, 0: failed, -1: later.
  int dispatch(Napi::Env env, uint32_t import, uint64_t token, std::span<bc_slot> slots);
  Wait* find(uint64_t token);
  void post_inner_done(uint64_t number);
  void wake() noexcept;

  Environment& environment_;
  Napi::FunctionReference dispatch_;
  Napi::Reference<Napi::Uint8Array> slots_;
  UniqueFd event_;
  uint32_t calls_here_ = 0;

  // JavaScript thread only: what to do when inner calls are over.
  std::map<uint64_t, std::function<void(Napi::Env)>> inner_done_;

  std::mutex mutex_;
  std::condition_variable ran_elsewhere_;
  std::vector<Wait*> waits_;  // the innermost last
  uint64_t last_token_ = 0;
  uint64_t last_inner_ = 0;
};

}  // namespace barecell
