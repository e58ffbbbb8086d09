// Lists of buffers (iovec) that a guest names, and how a transfer to or from them ends.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "../host_call.h"
#include "types.h"

namespace barecell::wasi {

// A guest's list of buffers (iovec), read once and checked as a whole, so that nothing the guest does later changes what is used.
// Buffers may overlap: reads fill them in order, so the last one wins, as with readv(2).
class GuestBuffers {
 public:
  // Like IOV_MAX, which wasi-libc tells programs too. A longer list is served in part (a short count, which POSIX allows) instead
  // of refused, because Rust's standard library passes lists of any length; only if the served part is empty is it EINVAL, as a
  // count of 0 would stop its caller for good.
  static constexpr uint32_t kMaxBuffers = 1024;
  // What Linux transfers at most in one call (MAX_RW_COUNT); it keeps counts positive as a 32-bit ssize_t.
  static constexpr uint64_t kMaxBytes = 0x7ffff000;

  Errno load(LinearMemory& memory, uint32_t list_at, uint32_t count) noexcept;

  // One buffer that the host made itself.
  void use(Iovec buffer) noexcept;

  // What is left of the bytes that are to be transferred.
  uint64_t left() const noexcept { return left_; }
  // The next at most `limit` bytes, as the kernel wants them. Returns how many entries of `to` are filled.
  size_t next(LinearMemory& memory, uint64_t limit, std::span<iovec> to) const noexcept;
  void advance(uint64_t bytes) noexcept;
  // The next buffer in full, as offset and length; empty at the end.
  Iovec front() const noexcept { return first_ < count_ ? buffers_[first_] : Iovec{}; }

 private:
  Iovec buffers_[kMaxBuffers];  // from first_ to count_: not empty; filled by load()
  size_t first_ = 0;
  size_t count_ = 0;
  uint64_t left_ = 0;
};

// How a transfer ended. `bytes` counts if `action` is Continue and `error` is Success.
struct Transfer {
  HostCallAction action = HostCallAction::Continue;
  Errno error = Errno::Success;
  uint64_t bytes = 0;
};

inline Transfer failed_with(Errno error) noexcept { return {HostCallAction::Continue, error, 0}; }

}  // namespace barecell::wasi
