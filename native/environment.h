// What one Node environment (the main thread, or a worker) owns: its vCPU threads, its way back to JavaScript, its live VMs.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

#include "counter_slab.h"
#include "loop_signal.h"
#include "vcpu_threads.h"
#include "vm.h"
#include "wakers.h"

namespace barecell {

// The VMs that are to be stopped when the environment ends. Shared with each VM's JavaScript object, which may be finalised after the environment's
// own data. JavaScript thread only.
using LiveVms = std::set<std::shared_ptr<Vm>>;

class Environment {
 public:
  explicit Environment(Napi::Env env);
  static Environment& of(Napi::Env env);

  // Runs `work` on a vCPU thread, then `finish` on the JavaScript thread (not at all if the environment ends first). The event loop stays alive
  // meanwhile, and is not kept alive otherwise. On the thread `before` if that is idle; returns the one that it is (VcpuThreads::run).
  VcpuThreads::Number run_async(VcpuThreads::Number before, std::function<void()> work, std::function<void(Napi::Env)> finish);

  // From a vCPU thread: runs `task` on the JavaScript thread, in the order of posting; not at all if the environment ends first. The task may hold nothing
  // of JavaScript's.
  void post(std::function<void(Napi::Env)> task);

  // Whether the calling thread is the one that runs this environment's JavaScript.
  bool is_this_thread() const noexcept { return std::this_thread::get_id() == thread_; }

  const std::shared_ptr<LiveVms>& live_vms() noexcept { return live_; }

  // Shared with what is woken, as the live VMs are with theirs.
  const std::shared_ptr<Wakers>& wakers() noexcept { return wakers_; }

  CounterSlab counters;
  Napi::FunctionReference image_constructor;
  Napi::FunctionReference pipe_constructor;

 private:
  struct Job {
    std::function<void()> work;
    std::function<void(Napi::Env)> finish;
  };
  void enqueue(std::function<void(Napi::Env)> task);
  void run_tasks(Napi::Env env);
  void finish_job(Napi::Env env, Job* job);
  void shut_down();

  const std::thread::id thread_ = std::this_thread::get_id();
  // Closed in shut_down(), which it outlives by a turn of the event loop.
  LoopSignal* signal_ = nullptr;
  // What Node and its tools know the tasks by (async_hooks).
  std::unique_ptr<Napi::AsyncContext> context_;
  std::mutex tasks_mutex_;
  // For the JavaScript thread, in order: what a run posted comes before the run's end.
  std::vector<std::function<void(Napi::Env)>> tasks_;
  // Owned here, because `finish` holds JavaScript references, which only the JavaScript thread may drop; vCPU threads see a bare pointer.
  std::unordered_map<Job*, std::unique_ptr<Job>> jobs_;
  std::shared_ptr<LiveVms> live_ = std::make_shared<LiveVms>();
  std::shared_ptr<Wakers> wakers_;
  std::unique_ptr<VcpuThreads> threads_ = std::make_unique<VcpuThreads>();
};

}  // namespace barecell
