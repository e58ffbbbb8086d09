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
  VcpuThreads::Number run_async(Napi::Env env, VcpuThreads::Number before, std::function<void()> work, std::function<void(Napi::Env)> finish);

  // From a vCPU thread: runs `task` on the JavaScript thread, in the order of posting; not at all if the environment ends first. The task may hold nothing
  // of JavaScript's.
  void post(std::function<void(Napi::Env)> task);

  // Whether the calling thread is the one that runs this environment's JavaScript.
  bool is_this_thread() const noexcept { return std::this_thread::get_id() == thread_; }

  const std::shared_ptr<LiveVms>& live_vms() noexcept { return live_; }

  // Shared with what is woken, as the live VMs are with theirs.
  const std::shared_ptr<Wakers>& wakers() noexcept { return wakers_; }

  Napi::FunctionReference image_constructor;
  Napi::FunctionReference pipe_constructor;

 private:
  struct Job {
    std::function<void()> work;
    std::function<void(Napi::Env)> finish;
  };
  void run_posted(Napi::Env env);
  void finish_job(napi_env env, Job* job);
  static void on_done(napi_env env, napi_value, void* context, void* data);
  void shut_down();

  const std::thread::id thread_ = std::this_thread::get_id();
  napi_threadsafe_function done_ = nullptr;
  std::mutex posted_mutex_;
  std::vector<std::function<void(Napi::Env)>> posted_;
  // Owned here, because `finish` holds JavaScript references, which only the JavaScript thread may drop; vCPU threads see a bare pointer.
  std::unordered_map<Job*, std::unique_ptr<Job>> jobs_;
  std::shared_ptr<LiveVms> live_ = std::make_shared<LiveVms>();
  std::shared_ptr<Wakers> wakers_;
  std::unique_ptr<VcpuThreads> threads_ = std::make_unique<VcpuThreads>();
};

}  // namespace barecell
