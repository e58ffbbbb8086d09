#include "loop_signal.h"

#include <memory>
#include <utility>

namespace barecell {

// uv_handle_type in uv.h.
constexpr int kUvAsync = 1;

LoopSignal::LoopSignal(Napi::Env env, std::function<void(Napi::Env)> on_signal)
    : env_(env), on_signal_(std::move(on_signal)), memory_(new max_align_t[uv_handle_size(kUvAsync) / sizeof(max_align_t) + 1]) {}

LoopSignal* LoopSignal::open(Napi::Env env, std::function<void(Napi::Env)> on_signal) {
  auto signal = std::unique_ptr<LoopSignal>(new LoopSignal(env, std::move(on_signal)));
  uv_loop_s* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env, "this environment has no event loop");
  // The hook itself has nothing to do: close() is called by who opened.
  auto nothing = [](napi_async_cleanup_hook_handle, void*) {};
  if (napi_add_async_cleanup_hook(env, nothing, nullptr, &signal->hook_) != napi_ok) {
    throw Napi::Error::New(env, "cannot add a hook for the environment's end");
  }
  if (uv_async_init(loop, signal->async(), on_async) != 0) {
    napi_remove_async_cleanup_hook(signal->hook_);
    throw Napi::Error::New(env, "cannot add a handle to the event loop");
  }
  uv_handle_set_data(signal->handle(), signal.get());
  signal->keep_alive(false);
  return signal.release();
}

void LoopSignal::keep_alive(bool alive) noexcept {
  if (alive) uv_ref(handle());
  else uv_unref(handle());
}

void LoopSignal::close() noexcept {
  uv_close(handle(), [](uv_handle_s* handle) {
    std::unique_ptr<LoopSignal> self(static_cast<LoopSignal*>(uv_handle_get_data(handle)));
    napi_remove_async_cleanup_hook(self->hook_);
  });
}

void LoopSignal::on_async(uv_async_s* async) {
  auto* self = static_cast<LoopSignal*>(uv_handle_get_data(reinterpret_cast<uv_handle_s*>(async)));
  // libuv is C: whatever happens, no exception may leave this function. A worker that is being terminated still gets here, and can no longer make values.
  try {
    Napi::HandleScope scope(self->env_);
    self->on_signal_(self->env_);
  } catch (...) {
  }
}

}  // namespace barecell
