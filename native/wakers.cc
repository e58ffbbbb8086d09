#include "wakers.h"

#include <utility>

namespace barecell {

Wakers::Wakers(Napi::Env env) {
  napi_value name = Napi::String::New(env, "barecell-wake");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, on_wake, &function_) != napi_ok) {
    throw Napi::Error::New(env, "cannot create a thread-safe function");
  }
  napi_unref_threadsafe_function(env, function_);
}

// The number travels in place of a pointer: the object may be gone when it arrives.
void Wakers::wake(uint64_t number) noexcept {
  napi_call_threadsafe_function(function_, reinterpret_cast<void*>(static_cast<uintptr_t>(number)), napi_tsfn_nonblocking);
}

void Wakers::shut_down() noexcept {
  wakeables_.clear();
  napi_release_threadsafe_function(std::exchange(function_, nullptr), napi_tsfn_abort);
}

void Wakers::on_wake(napi_env raw_env, napi_value, void* context, void* data) {
  if (raw_env == nullptr) return;
  auto* self = static_cast<Wakers*>(context);
  auto place = self->wakeables_.find(static_cast<uint64_t>(reinterpret_cast<uintptr_t>(data)));
  if (place == self->wakeables_.end()) return;
  // As in Environment::on_done: a worker that is being terminated cannot even throw any more, and no exception may leave this function.
  try {
    Napi::Env env(raw_env);
    Napi::HandleScope scope(env);
    try {
      place->second->on_wake(env);
    } catch (const Napi::Error& error) {
      error.ThrowAsJavaScriptException();
    }
  } catch (...) {
  }
}

}  // namespace barecell
