// The way from a vCPU thread to an object of JavaScript that has to hear of something, while a call runs.
#pragma once

#include <napi.h>

#include <cstdint>
#include <unordered_map>

namespace barecell {

// Something that can be woken. `on_wake` is called on the JavaScript thread, from the event loop.
class Wakeable {
 public:
  virtual ~Wakeable() = default;
  virtual void on_wake(Napi::Env env) = 0;
};

// One per environment. Does not keep the event loop alive: the call that runs does.
class Wakers {
 public:
  explicit Wakers(Napi::Env env);

  // JavaScript thread only. No number is given twice, so a wake that comes late wakes nobody else.
  uint64_t new_number() noexcept { return ++last_; }
  void add(uint64_t number, Wakeable& wakeable) { wakeables_.emplace(number, &wakeable); }
  void remove(uint64_t number) noexcept { wakeables_.erase(number); }

  // From any thread, until shut_down(). Each call is one entry of a queue without a limit: who calls sees to it that one is not followed by another
  // before it was heard.
  void wake(uint64_t number) noexcept;

  // When no vCPU thread is left. Nobody is woken any more.
  void shut_down() noexcept;

 private:
  static void on_wake(napi_env env, napi_value, void* context, void* data);

  napi_threadsafe_function function_ = nullptr;
  std::unordered_map<uint64_t, Wakeable*> wakeables_;
  uint64_t last_ = 0;
};

}  // namespace barecell
