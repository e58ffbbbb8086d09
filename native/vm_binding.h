// The JavaScript class `Vm`.
#pragma once

#include <napi.h>

#include <memory>

#include "environment.h"
#include "host_functions.h"
#include "vm.h"
#include "wasi/instance.h"

namespace barecell {

// vm_observed.cc
std::shared_ptr<CallTrace> read_call_trace(const Napi::Value& value, Environment& environment);

class VmBinding : public Napi::ObjectWrap<VmBinding> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit VmBinding(const Napi::CallbackInfo& info);
  ~VmBinding() override;

 private:
  Napi::Value boot_sync(const Napi::CallbackInfo& info);
  Napi::Value boot(const Napi::CallbackInfo& info);
  Napi::Value call_sync(const Napi::CallbackInfo& info);
  Napi::Value call(const Napi::CallbackInfo& info);
  Napi::Value call_inner_sync(const Napi::CallbackInfo& info);
  Napi::Value call_inner(const Napi::CallbackInfo& info);
  Napi::Value answer_host_call(const Napi::CallbackInfo& info);
  Napi::Value cancel_run(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  // vm_views.cc
  Napi::Value linear_bytes(const Napi::CallbackInfo& info);
  Napi::Value read_linear(const Napi::CallbackInfo& info);
  Napi::Value write_linear(const Napi::CallbackInfo& info);
  Napi::Value read_stack(const Napi::CallbackInfo& info);
  Napi::Value read_image(const Napi::CallbackInfo& info);
  Napi::Value exits(const Napi::CallbackInfo& info);
  Napi::Value host_calls(const Napi::CallbackInfo& info);
  Napi::Value growth_refusals(const Napi::CallbackInfo& info);
  Napi::Value timeline(const Napi::CallbackInfo& info);
  Napi::Value set_fuel(const Napi::CallbackInfo& info);
  Napi::Value fuel_left(const Napi::CallbackInfo& info);
  Napi::Value take_output(const Napi::CallbackInfo& info);
  // vm_observed.cc
  Napi::Value counts(const Napi::CallbackInfo& info);
  Napi::Value usage(const Napi::CallbackInfo& info);
  Napi::Value kvm_stats(const Napi::CallbackInfo& info);
  Napi::Value drain_trace(const Napi::CallbackInfo& info);

  struct CallRequest;
  CallRequest call_request(const Napi::CallbackInfo& info, size_t first);
  template <typename Run>
  Outcome run_here(Run run);
  Napi::Promise run_there(Napi::Env env, std::shared_ptr<CallAnswer> answer, std::function<void()> work, OutcomeKind success,
                          const Napi::Uint8Array* results);
  void begin_run() noexcept;
  Vm& any_vm();
  Vm& idle_vm();
  // reset and snapshot: inspection.cc, snapshot_binding.cc
  Napi::Value reset_sync(const Napi::CallbackInfo& info);
  Napi::Value reset(const Napi::CallbackInfo& info);
  Napi::Value reset_quickly(const Napi::CallbackInfo& info);
  Napi::Value prepare_snapshot(const Napi::CallbackInfo& info);
  Napi::Value vcpu_state(const Napi::CallbackInfo& info);
  Napi::Value memory_ranges(const Napi::CallbackInfo& info);
  Napi::Value read_physical(const Napi::CallbackInfo& info);

  LinearMemory& linear(const Napi::CallbackInfo& info);

  std::shared_ptr<wasi::Instance> wasi_;
  std::shared_ptr<HostFunctions> functions_;
  std::shared_ptr<CallTrace> trace_;
  std::shared_ptr<Vm> vm_;
  std::shared_ptr<LiveVms> live_vms_;
  // JavaScript thread only.
  bool busy_ = false;
  // That ran its vCPU last.
  VcpuThreads::Number thread_ = 0;
  // Of the run that goes on, or the last one: what a cancel names, so that one which comes late cannot hit the next run (W8 of kick.h).
  uint64_t generation_ = 0;
};

}  // namespace barecell
