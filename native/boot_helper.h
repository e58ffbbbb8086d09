// A second thread for a part of each boot that need not wait for the rest: the guest's memory, while the vCPU is made, which does not need it before it runs.
//
// Setting a memory slot ends with an SRCU grace period, which the kernel has a worker of the first processor finish (srcu_gp_start_if_needed(), SRCU_SIZE_SMALL):
// some 15 us for who runs there, and 60 to 80 us for who runs elsewhere and is woken twice across processors. So slots are set by this thread where a boot runs
// elsewhere, and by the booting thread itself where that is on the first processor: the worker would only take the processor from it in the middle.
//
// It is kept off the processor of the boot that it helps: in a VM, the scheduler takes an idle processor for one that the host has taken away
// (vcpu_is_preempted()), wakes the thread where the boot runs, and then the two take turns.
//
// Only where there is a processor to spare: threads that boot VMs at the same time, and a helper that comes too late, are a sign that there is none. Two threads
// that did nothing but boot made a fifth fewer VMs with it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace barecell {

class BootHelper {
 public:
  BootHelper() = default;
  ~BootHelper();
  BootHelper(const BootHelper&) = delete;
  BootHelper& operator=(const BootHelper&) = delete;

  // Whether the calling thread is where the kernel's worker is.
  static bool is_on_first_processor() noexcept;

  // Work that the helper does, if it is free and comes to it before finish() does; so nobody waits for a thread that does not run.
  class Part {
   public:
    // `work` must not throw anything but what finish() is to throw. What it uses must outlive this object. It is told whether it is beside the other thread, whose
    // time it does not take then.
    Part(BootHelper& helper, std::function<void(bool is_beside)> work);
    // Waits until the work is done, or withdrawn if it has not begun.
    ~Part();
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    // Returns when the work is done, here or there, and throws what it threw.
    void finish();

   private:
    friend class BootHelper;
    void run(bool is_beside) noexcept;

    BootHelper& helper_;
    std::function<void(bool is_beside)> work_;
    std::exception_ptr error_;
    bool is_over_ = false;
    // Guarded by the helper's lock.
    bool is_taken_ = false;
  };

 private:
  bool start() noexcept;
  bool keep_off(int processor) noexcept;
  bool is_worthwhile() noexcept;
  void offer(Part* part) noexcept;
  // True: nobody has begun it, and nobody will.
  bool withdraw(Part* part) noexcept;
  void wait_for(Part* part) noexcept;
  void work() noexcept;

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::thread thread_;
  Part* offered_ = nullptr;
  // Set with the lock held; looked at without it by who waits.
  std::atomic<Part*> running_{nullptr};
  bool closing_ = false;
  bool cannot_start_ = false;
  // The processor that it is kept off; -1: none.
  int kept_off_ = -1;
  // Who made the last offer, and since when it has been one thread only.
  std::thread::id last_thread_;
  std::chrono::steady_clock::time_point alone_since_{};
  // Offers to be left out, since the last ones were in vain.
  unsigned left_out_ = 0;
  unsigned in_vain_ = 0;
};

}  // namespace barecell
