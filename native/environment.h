// What one Node environment (the main thread, or a worker) owns: its vCPU threads, its way back to JavaScript, its live VMs.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <set>
#include <unordered_map>

#include "vcpu_threads.h"
#include "vm.h"

namespace barecell {

// The VMs that are to be stopped when the environment ends. Shared with each VM's JavaScript object, which may be finalised after the environment's
// own data. JavaScript thread only.
using LiveVms = std::set<std::shared_ptr<Vm>>;

class Environment {
 public:
  explicit Environment(Napi::Env env);
  static Environment& of(Napi::Env env);

  // Runs `work` on a vCPU thread, then `finish` on the JavaScript thread (not at all if the environment ends first). The event loop stays alive
  // meanwhile, and is not kept alive otherwise.
  void run_async(Napi::Env env, std::function<void()> work, std::function<void(Napi::Env)> finish);

  const std::shared_ptr<LiveVms>& live_vms() noexcept { return live_; }

  Napi::FunctionReference image_constructor;

 private:
  struct Job {
    std::function<void()> work;
    std::function<void(Napi::Env)> finish;
  };
  static void on_done(napi_env env, napi_value, void* context, void* data);
  void shut_down();

  napi_threadsafe_function done_ = nullptr;
  // Owned here, because `finish` holds JavaScript references, which only the JavaScript thread may drop; vCPU threads see a bare pointer.
  std::unordered_map<Job*, std::unique_ptr<Job>> jobs_;
  std::shared_ptr<LiveVms> live_ = std::make_shared<LiveVms>();
  std::unique_ptr<VcpuThreads> threads_ = std::make_unique<VcpuThreads>();
};

}  // namespace barecell
