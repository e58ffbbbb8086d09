#include "vcpu_threads.h"

#include <pthread.h>

#include <csignal>
#include <system_error>

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

void VcpuThreads::run(std::function<void()> job) {
  std::unique_lock lock(mutex_);
  if (!idle_.empty()) {
    Worker* worker = idle_.back();
    idle_.pop_back();
    worker->job = std::move(job);
    worker->wake.notify_one();
    return;
  }
  auto worker = std::make_unique<Worker>();
  worker->job = std::move(job);
  // Signals of the process (SIGINT, SIGCHLD, ...) are for Node's threads; only the kick may interrupt a vCPU. A thread inherits the mask.
  sigset_t all, before;
  sigfillset(&all);
  sigdelset(&all, kick_signal());
  pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    worker->thread = std::thread(&VcpuThreads::work, this, worker.get());
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    fail_errno("BARECELL_KVM_FAILED", "cannot start a vCPU thread", error.code().value());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  workers_.push_back(std::move(worker));
}

void VcpuThreads::work(Worker* worker) {
  pthread_setname_np(pthread_self(), "barecell-vcpu");
  std::unique_lock lock(mutex_);
  for (;;) {
    if (worker->job) {
      std::function<void()> job = std::move(worker->job);
      worker->job = nullptr;
      lock.unlock();
      job();
      job = nullptr;  // what it holds is let go outside the lock
      lock.lock();
      idle_.push_back(worker);
      continue;
    }
    if (closing_) return;
    worker->wake.wait(lock);
  }
}

}  // namespace barecell
