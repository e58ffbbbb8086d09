// Stopping a vCPU that runs: by deadline, or from another thread.
//
// The truth is in flags; the signal only makes KVM_RUN return so that somebody looks at them. The handler runs on the thread it interrupts and
// sets `immediate_exit` of the vCPU which that thread is running, so a signal that comes before KVM_RUN makes it return at once.
//
// Windows in which a stop can arrive, and what catches it:
//   W1  before the run begins (no thread is published): the flag is set; begin() publishes the thread, then the loop looks at the flag.
//   W2  between that look and KVM_RUN: the signal sets immediate_exit, KVM_RUN returns EINTR without entering the guest.
//   W3  in the guest: the signal forces an exit, KVM_RUN returns EINTR.
//   W4  in the exit path or a host call that computes: the loop looks at the flags before the next KVM_RUN.
//   W5  in a host call that waits: it waits in ppoll with the kick signal let in only there, so the signal ends it, whether it came before or
//       during the wait.
//   W6  after the run ended: end() has unpublished the thread under the mutex, so no signal is sent; one sent just before may still arrive
//       late and hit the next run of the thread. That run finds no flag of its own set, clears immediate_exit and goes on.
//   W7  while the VM is being destroyed: destruction first requests a stop and waits for the run to end.
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <sys/types.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace barecell {

// Nanoseconds of CLOCK_MONOTONIC.
int64_t monotonic_ns() noexcept;

// The real-time signal used as a kick. Its handler is installed for the process when the first VM runs.
int kick_signal() noexcept;

enum class StopReason { None, Deadline, Cancelled };

// One per vCPU.
class StopControl {
 public:
  // Called by the thread that runs the vCPU, around each run. `deadline_ns` 0: none.
  void begin(kvm_run* run, int64_t deadline_ns);
  void end() noexcept;

  // To be called before each KVM_RUN: forgets an old kick, then says whether to stop.
  StopReason before_entry() noexcept;
  // Whether to stop, asked from host functions.
  StopReason check() const noexcept;
  int64_t deadline_ns() const noexcept { return deadline_ns_; }

  // From any thread. `generation` is the run to stop, so that a late cancel cannot hit the next one; 0 stops whatever runs, and all later runs.
  void cancel(uint64_t generation) noexcept;
  uint64_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }

 private:
  std::mutex mutex_;
  bool running_ = false;
  pthread_t runner_{};
  kvm_run* run_ = nullptr;
  int64_t deadline_ns_ = 0;
  std::atomic<uint64_t> generation_{1};
  std::atomic<uint64_t> cancelled_generation_{0};
  std::atomic<bool> cancelled_forever_{false};
};

}  // namespace barecell
