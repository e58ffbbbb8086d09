// What one Node environment (the main thread, or a worker) owns: its vCPU threads, its way back to JavaScript, its live VMs.
#pragma once

#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <set>

#include "vcpu_threads.h"
#include "vm.h"

namespace barecell {

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();
  static Environment& of(Napi::Env env);

  // Runs `work` on a vCPU thread, then `finish` on the JavaScript thread (not at all if the environment ends first). The event loop stays alive
  // meanwhile, and is not kept alive otherwise.
  void run_async(Napi::Env env, std::function<void()> work, std::function<void(Napi::Env)> finish);

  void add(const std::shared_ptr<Vm>& vm);
  void remove(const std::shared_ptr<Vm>& vm) noexcept;

  Napi::FunctionReference image_constructor;

 private:
  struct Job;
  static void on_done(napi_env env, napi_value, void* context, void* data);

  napi_threadsafe_function done_ = nullptr;
  uint32_t pending_ = 0;  // JavaScript thread only
  std::set<std::shared_ptr<Vm>> live_;
  std::unique_ptr<VcpuThreads> threads_ = std::make_unique<VcpuThreads>();
};

}  // namespace barecell
