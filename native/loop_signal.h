// A way from any thread to the JavaScript thread's event loop.
#pragma once

#include <napi.h>

#include <cstddef>
#include <functional>
#include <memory>

// libuv's functions are Node's own, and their ABI is that of libuv 1, which all versions of Node have; its header does not come with Node-API's, so what is used of it
// stands here (uv.h). Handles are made by their size at run time, so nothing depends on what is in them.
extern "C" {
struct uv_async_s;
struct uv_handle_s;
using uv_async_cb = void (*)(uv_async_s* handle);
using uv_close_cb = void (*)(uv_handle_s* handle);
size_t uv_handle_size(int type);
int uv_async_init(struct uv_loop_s* loop, uv_async_s* handle, uv_async_cb callback);
int uv_async_send(uv_async_s* handle);
void uv_close(uv_handle_s* handle, uv_close_cb callback);
void uv_ref(uv_handle_s* handle);
void uv_unref(uv_handle_s* handle);
void* uv_handle_get_data(const uv_handle_s* handle);
void uv_handle_set_data(uv_handle_s* handle, void* data);
}

namespace barecell {

// As a thread-safe function of Node-API, but without its queue: that one's lock is held while the event loop is woken, so the loop wakes only to wait for the
// lock, which costs two more changes of threads for each answer. libuv's handle is what that is made of, too.
// Signals that come together are one.
class LoopSignal {
 public:
  // Runs `on_signal` on the JavaScript thread, in a handle scope, after each signal. The event loop is not kept alive unless it is asked to be.
  static LoopSignal* open(Napi::Env env, std::function<void(Napi::Env)> on_signal);

  // From any thread, until close().
  void send() noexcept { uv_async_send(async()); }

  // Whether the event loop stays alive. JavaScript thread only, as the next.
  void keep_alive(bool alive) noexcept;

  // No signal is delivered any more. The object goes by itself, when libuv is done with it.
  void close() noexcept;

 private:
  LoopSignal(Napi::Env env, std::function<void(Napi::Env)> on_signal);
  uv_async_s* async() noexcept { return reinterpret_cast<uv_async_s*>(memory_.get()); }
  // libuv's way of inheritance: each kind of handle begins as any.
  uv_handle_s* handle() noexcept { return reinterpret_cast<uv_handle_s*>(memory_.get()); }
  static void on_async(uv_async_s* async);

  napi_env env_;
  std::function<void(Napi::Env)> on_signal_;
  // new[] of this type is aligned for anything that a handle has.
  std::unique_ptr<max_align_t[]> memory_;
  // Node ends an environment's event loop only when such hooks are removed: libuv needs one more turn to close a handle.
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

}  // namespace barecell
