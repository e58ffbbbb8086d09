#include "vcpu_threads.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iterator>
#include <system_error>
#include <utility>

#include "failure.h"
#include "kick.h"

namespace barecell {

VcpuThreads::~VcpuThreads() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    for (auto& worker : workers_) worker->wake.notify_one();
  }
  for (auto& worker : workers_) worker->thread.join();
}

// The one of that number, or the last that was used, or null. With the lock held.
VcpuThreads::Worker* VcpuThreads::take_idle(Number before) {
  if (idle_.empty()) return nullptr;
  Worker* worker = before != 0 && workers_[before - 1]->is_idle ? workers_[before - 1].get() : idle_.back();
  // From the end, where it is unless many VMs take turns.
  auto place = std::find(idle_.rbegin(), idle_.rend(), worker);
  idle_.erase(std::next(place).base());
  worker->is_idle = false;
  return worker;
}

VcpuThreads::Number VcpuThreads::run(std::function<void()> job, std::function<void()> after, Number before) {
  std::unique_lock lock(mutex_);
  if (Worker* worker = take_idle(before)) {
    worker->job = std::move(job);
    worker->after = std::move(after);
    worker->has_job.store(true, std::memory_order_release);
    // Without the lock, or the worker wakes only to wait for it. Workers stay until this object goes, which is on this thread.
    lock.unlock();
    // No system call unless the worker sleeps.
    worker->wake.notify_one();
    return worker->number;
  }
  auto worker = std::make_unique<Worker>();
  worker->number = workers_.size() + 1;
  worker->job = std::move(job);
  worker->after = std::move(after);
  // Signals of the process (SIGINT, SIGCHLD, ...) are for Node's threads; only the kick may interrupt a vCPU. A thread inherits the mask.
  sigset_t all, mask;
  sigfillset(&all);
  sigdelset(&all, kick_signal());
  pthread_sigmask(SIG_BLOCK, &all, &mask);
  try {
    worker->thread = std::thread(&VcpuThreads::work, this, worker.get());
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    fail_errno("BARECELL_KVM_FAILED", "cannot start a vCPU thread", error.code().value());
  }
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  workers_.push_back(std::move(worker));
  return workers_.size();
}

// How long a worker watches: what it takes an idle processor to wake, libuv to tell JavaScript, and a function to ask for its next call. With half of it, a third of
// the calls in a row came too late.
constexpr auto kWatch = std::chrono::microseconds(200);

// Without the lock. Ends when there is a job, or after a moment.
void VcpuThreads::watch(Worker* worker) {
  static const bool has_other_processor = std::thread::hardware_concurrency() > 1;
  if (!has_other_processor || is_watched_.exchange(true, std::memory_order_acquire)) return;
  int luck = luck_.load(std::memory_order_relaxed);
  if (luck > 0) {
    const auto end = std::chrono::steady_clock::now() + kWatch;
    bool found = false;
    // The clock is looked at seldom: the flag is what matters.
    while (!found && std::chrono::steady_clock::now() < end) {
      for (int i = 0; i < 16 && !found; i++) {
        found = worker->has_job.load(std::memory_order_acquire);
        if (!found) __builtin_ia32_pause();
      }
    }
    luck = found ? std::min(luck + 1, kMostLuck) : luck - 1 == 0 ? -kTryAgainAfter : luck - 1;
  } else if (++luck == 0) {
    luck = 1;
  }
  luck_.store(luck, std::memory_order_relaxed);
  is_watched_.store(false, std::memory_order_release);
}

void VcpuThreads::work(Worker* worker) {
  pthread_setname_np(pthread_self(), "barecell-vcpu");
  std::unique_lock lock(mutex_);
  for (;;) {
    if (worker->job) {
      worker->has_job.store(false, std::memory_order_relaxed);
      std::function<void()> job = std::exchange(worker->job, nullptr);
      std::function<void()> after = std::exchange(worker->after, nullptr);
      lock.unlock();
      job();
      job = nullptr;  // what it holds is let go outside the lock
      lock.lock();
      worker->is_idle = true;
      idle_.push_back(worker);
      // While others run, there is more to do for the processors than to watch.
      const bool is_last = idle_.size() == workers_.size();
      lock.unlock();
      // From here on the worker may be given its next job, and finds it below.
      after();
      after = nullptr;
      if (is_last) watch(worker);
      lock.lock();
      continue;
    }
    if (closing_) return;
    worker->wake.wait(lock);
  }
}

}  // namespace barecell
