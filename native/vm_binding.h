// The JavaScript class `Vm`.
#pragma once

#include <napi.h>

#include <memory>

#include "environment.h"
#include "vm.h"
#include "wasi/instance.h"

namespace barecell {

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
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  Napi::Value linear_bytes(const Napi::CallbackInfo& info);
  Napi::Value read_linear(const Napi::CallbackInfo& info);
  Napi::Value write_linear(const Napi::CallbackInfo& info);
  Napi::Value read_stack(const Napi::CallbackInfo& info);
  Napi::Value read_image(const Napi::CallbackInfo& info);
  Napi::Value exits(const Napi::CallbackInfo& info);
  Napi::Value timeline(const Napi::CallbackInfo& info);
  Napi::Value take_output(const Napi::CallbackInfo& info);

  struct CallRequest;
  CallRequest call_request(const Napi::CallbackInfo& info);
  Vm& idle_vm();
  LinearMemory& linear(const Napi::CallbackInfo& info);

  std::shared_ptr<wasi::Instance> wasi_;
  std::shared_ptr<Vm> vm_;
  std::shared_ptr<LiveVms> live_vms_;
  bool busy_ = false;  // JavaScript thread only
};

}  // namespace barecell
