// Stopping a vCPU that runs: by a time limit, or from another thread.
//
// The truth is in flags; the signal only makes KVM_RUN return so that somebody looks at them. The handler runs on the thread it interrupts and
// sets `immediate_exit` of the vCPU which that thread is running, so a signal that comes before KVM_RUN makes it return at once.
//
// Windows in which a stop can arrive, and what catches it (tests/vm/cancel-windows.test.ts has a test for each number):
//   W1  before the run begins (no thread is published): the flag is set; begin() publishes the thread, then the loop looks at the flag. A call that
//       waits for a vCPU thread is in this window too: its number is taken when it is queued.
//   W2  between that look and KVM_RUN: the signal sets immediate_exit, KVM_RUN returns EINTR without entering the guest.
//   W3  in the guest: the signal forces an exit, KVM_RUN returns EINTR.
//   W4  in the exit path or a host call that computes: the loop looks at the flags before the next KVM_RUN.
//   W5  in a host call that waits: it waits in ppoll with the kick signal let in only there, so the signal ends it, whether it came before or
//       during the wait. A vCPU thread that waits for a host function in JavaScript waits in the same way.
//   W6  in a host function in JavaScript on this very thread (a synchronous call): nothing interrupts JavaScript; the flag is found when it returns.
//   W7  in a call that a host function makes back into the guest: the flag is the vCPU's, so the inner run ends by it, and then the outer one. The inner
//       run may be on another thread than the outer one, which waits: the inner scope publishes its thread, and gives the place back when it ends.
//   W8  after the run ended: end() has unpublished the thread under the mutex, so no signal is sent; one sent just before may still arrive
//       late and hit the next run of the thread. That run finds no flag of its own set, clears immediate_exit and goes on. A request that names the run that
//       ended finds another number, and does nothing.
//   W9  while the VM is being destroyed: destruction first requests a stop and waits for the run to end.
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <sys/types.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

#include "run_limits.h"

namespace barecell {

// Nanoseconds of CLOCK_MONOTONIC.
int64_t monotonic_ns() noexcept;

// The real-time signal used as a kick. Its handler is installed for the process when the first VM runs.
int kick_signal() noexcept;

enum class StopReason : uint32_t { None, TotalTime, GuestTime, CpuTime, Cancelled };

// One per vCPU.
class StopControl {
 public:
  // Called by the thread that runs the vCPU, around each run.
  void begin(kvm_run* run, const TimeLimits& limits);
  void end() noexcept;

  // Around a run that a host function makes within the one that called it, on any thread, between pause() and resume() of the outer one.
  // `deadline_ns` 0: none but the outer run's.
  struct Outer {
    bool running = false;
    pthread_t runner{};
    kvm_run* run_of_thread = nullptr;
    int64_t inner_deadline_ns = 0;
  };
  Outer begin_inner(kvm_run* run, int64_t deadline_ns);
  void end_inner(const Outer& outer) noexcept;

  // Around a host function in JavaScript: its time is not the guest's. `waits`: this thread waits meanwhile, and is to be woken by what deadline_ns()
  // says then.
  void pause(bool waits) noexcept;
  void resume() noexcept;

  // To be called before each KVM_RUN: forgets an old kick, then says whether to stop.
  StopReason before_entry() noexcept;
  // Whether to stop, asked from host functions.
  StopReason check() const noexcept;
  // For a thread that waits while others may run the vCPU: whether somebody stopped the run.
  bool is_cancelled() const noexcept;
  // When the run must be over, by the nearest of its wall-clock limits; 0: never.
  int64_t deadline_ns() const noexcept;

  // From any thread. `generation` is the run to stop, so that a late cancel cannot hit the next one; 0 stops whatever runs, and all later runs.
  void cancel(uint64_t generation) noexcept;
  uint64_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }

 private:
  void publish(kvm_run* run);

  std::mutex mutex_;
  bool running_ = false;
  pthread_t runner_{};

  // Of the thread that runs the vCPU; handed over between threads by what lets the other one go on.
  kvm_run* run_ = nullptr;
  TimeLimits limits_;
  int64_t inner_deadline_ns_ = 0;
  // When the guest's own time is over, while it runs: CLOCK_MONOTONIC, and the running thread's CPU clock. 0: never.
  int64_t guest_deadline_ns_ = 0;
  int64_t cpu_deadline_ns_ = 0;

  std::atomic<uint64_t> generation_{1};
  std::atomic<uint64_t> cancelled_generation_{0};
  std::atomic<bool> cancelled_forever_{false};
};

// pause() and resume() around JavaScript.
class PausedRun {
 public:
  PausedRun(StopControl& stop, bool waits) : stop_(stop) { stop_.pause(waits); }
  ~PausedRun() { stop_.resume(); }
  PausedRun(const PausedRun&) = delete;
  PausedRun& operator=(const PausedRun&) = delete;

 private:
  StopControl& stop_;
};

}  // namespace barecell
