// Threads that run vCPUs for asynchronous calls. The addon's own, so that a guest which computes for seconds never holds one of libuv's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace barecell {

class VcpuThreads {
 public:
  VcpuThreads() = default;
  ~VcpuThreads();
  VcpuThreads(const VcpuThreads&) = delete;
  VcpuThreads& operator=(const VcpuThreads&) = delete;

  // A thread's number; 0 is none's.
  using Number = size_t;

  // Runs the job on an idle thread, or on a new one; on that of the number `before` if it is idle. Jobs never wait for each other: each runs a guest that may
  // take its whole timeout. Returns the number of the thread that took it: who runs a vCPU again asks for the same one, since Linux up to 6.13 waits for an
  // RCU grace period, which is milliseconds, whenever a vCPU is run by another thread than the last time (kvm_vcpu_ioctl(), vcpu->pid).
  // `after` follows on that thread when it counts as idle again, so that whoever is told by it finds the thread free.
  // Throws BARECELL_HOST_LIMIT if no thread can be made.
  Number run(std::function<void()> job, std::function<void()> after, Number before);

 private:
  struct Worker {
    Number number = 0;
    bool is_idle = false;
    std::thread thread;
    std::function<void()> job, after;
    std::condition_variable wake;
    // Set with the lock held, when there is a job; looked at without it while the worker watches.
    std::atomic<bool> has_job{false};
  };
  void work(Worker* worker);
  void watch(Worker* worker);
  Worker* take_idle(Number before);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;  // the last one used is the first one taken: its stack and caches are warm
  bool closing_ = false;

  // Who calls in a row asks for the next run some microseconds after the last: a thread that has gone to sleep meanwhile is woken by a system call, a thread switch
  // and an interrupt of an idle processor, which together cost as much as the run. So a worker watches for its next job for a moment first. Only one at a time, only
  // while no other runs, and not where watching has been in vain: a processor is worth more to somebody else.
  std::atomic<bool> is_watched_{false};
  static constexpr int kMostLuck = 8;
  static constexpr int kTryAgainAfter = 64;
  // Above 0 while watching has brought jobs; below, jobs until it is tried again. Only of the worker that watches.
  std::atomic<int> luck_{kMostLuck};
};

}  // namespace barecell
