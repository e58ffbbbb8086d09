// The JavaScript class `Pipe`: what a standard stream of a guest and a stream of the host's have between them.
#pragma once

#include <napi.h>

#include <memory>

#include "owners.h"
#include "wakers.h"
#include "wasi/guest_pipe.h"

namespace barecell {

class PipeBinding : public Napi::ObjectWrap<PipeBinding>, public Wakeable {
 public:
  static Napi::Function define(Napi::Env env);
  explicit PipeBinding(const Napi::CallbackInfo& info);
  ~PipeBinding() override;

  // Null once it is closed.
  const std::shared_ptr<wasi::GuestPipe>& guest_end() const noexcept { return guest_; }
  void on_wake(Napi::Env env) override;

 private:
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value end(const Napi::CallbackInfo& info);
  Napi::Value end_was_read(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  void release() noexcept;

  std::shared_ptr<Wakers> wakers_;
  uint64_t number_ = 0;
  std::shared_ptr<wasi::GuestPipe> guest_;
  UniqueFd host_;
};

}  // namespace barecell
