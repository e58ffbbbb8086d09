#include "pipe_binding.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "environment.h"
#include "napi_values.h"
#include "wasi/host_io.h"

namespace barecell {

Napi::Function PipeBinding::define(Napi::Env env) {
  return DefineClass(env, "Pipe",
                     {
                         InstanceMethod<&PipeBinding::read>("read"),
                         InstanceMethod<&PipeBinding::write>("write"),
                         InstanceMethod<&PipeBinding::end>("end"),
                         InstanceMethod<&PipeBinding::end_was_read>("endWasRead"),
                         InstanceMethod<&PipeBinding::close>("close"),
                     });
}

// new Pipe("input" | "output"). Its property `onMoved` is called when the guest first wants to read, and when it has moved bytes after
// read() or write() found nothing to move.
PipeBinding::PipeBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&]() {
    require(info[0].IsString(), "direction");
    std::string direction = info[0].As<Napi::String>().Utf8Value();
    require(direction == "input" || direction == "output", "direction");
    bool input = direction == "input";
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) fail_errno("BARECELL_STREAM_FAILED", "cannot make a pipe for a standard stream");
    UniqueFd reading(ends[0]), writing(ends[1]);
    host_ = std::move(input ? writing : reading);
    wakers_ = Environment::of(info.Env()).wakers();
    number_ = wakers_->new_number();
    guest_ = std::make_shared<wasi::GuestPipe>(std::move(input ? reading : writing),
                                               input ? wasi::PipeDirection::Input : wasi::PipeDirection::Output,
                                               // Only called on vCPU threads, which the environment outlives.
                                               [wakers = wakers_.get(), number = number_]() { wakers->wake(number); });
    // Last: an object that was not made to its end is not destroyed either, and would stay in the list.
    wakers_->add(number_, *this);
  });
}

PipeBinding::~PipeBinding() { release(); }

void PipeBinding::release() noexcept {
  if (wakers_) wakers_->remove(number_);
  host_.reset();
  guest_.reset();
}

// A property, and no reference that would keep alive what it refers to: whoever waits for a call holds the pipe.
void PipeBinding::on_wake(Napi::Env env) {
  Napi::Object self = Value();
  if (self.IsEmpty()) return;
  Napi::Value callback = self.Get("onMoved");
  if (callback.IsFunction()) callback.As<Napi::Function>().Call(env.Undefined(), {});
}

// () -> all that lies in the pipe; null if there is nothing (and onMoved will be called when there is), or it is closed.
Napi::Value PipeBinding::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!host_) return info.Env().Null();
    require(guest_->direction() == wasi::PipeDirection::Output, "direction");
    for (bool wakeable : {false, true}) {
      if (wakeable) guest_->want_wake();
      int available = 0;
      if (ioctl(host_.get(), FIONREAD, &available) < 0) fail_errno("BARECELL_STREAM_FAILED", "cannot look into the pipe of a standard stream");
      if (available <= 0) continue;
      auto bytes = Napi::Uint8Array::New(info.Env(), static_cast<size_t>(available));
      ssize_t count = ::read(host_.get(), bytes.Data(), bytes.ByteLength());
      // Nobody else reads it.
      if (count != available) fail_errno("BARECELL_STREAM_FAILED", "cannot read the pipe of a standard stream");
      return bytes;
    }
    return info.Env().Null();
  });
}

// (bytes: Uint8Array, offset) -> how many of those from there on it took: 0 if it is full (and onMoved will be called when it is not), or closed.
Napi::Value PipeBinding::write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    require(info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "bytes");
    auto bytes = info[0].As<Napi::Uint8Array>();
    uint64_t offset = as_u64(info[1], "offset");
    if (!host_ || offset >= bytes.ByteLength()) return Napi::Number::New(info.Env(), 0);
    require(guest_->direction() == wasi::PipeDirection::Input, "direction");
    for (bool wakeable : {false, true}) {
      if (wakeable) guest_->want_wake();
      iovec piece{bytes.Data() + offset, bytes.ByteLength() - offset};
      ssize_t count = wasi::write_pieces(host_.get(), {&piece, 1}, -1, 0);
      if (count >= 0) return Napi::Number::New(info.Env(), static_cast<double>(count));
      if (count != -EAGAIN) fail_errno("BARECELL_STREAM_FAILED", "cannot write to the pipe of a standard stream", static_cast<int>(-count));
    }
    return Napi::Number::New(info.Env(), 0);
  });
}

// Nothing more is moved: the guest comes to the end of its input, or gets an error when it writes on. Idempotent.
Napi::Value PipeBinding::end(const Napi::CallbackInfo& info) {
  host_.reset();
  return info.Env().Undefined();
}

// Of an input that was ended: whether the guest has come to the end.
Napi::Value PipeBinding::end_was_read(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), guest_ && guest_->end_told()); }

// Lets go of both ends; the guest's goes when its stream does, too. Idempotent.
Napi::Value PipeBinding::close(const Napi::CallbackInfo& info) {
  release();
  return info.Env().Undefined();
}

}  // namespace barecell
