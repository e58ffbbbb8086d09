// What the host has written to a VM's memory since the last reset. KVM's dirty log only knows what the guest wrote.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "abi.h"

namespace barecell {

class HostWrites {
 public:
  // Host addresses of whole pages.
  struct Range {
    uint8_t* begin = nullptr;
    uint8_t* end = nullptr;
  };

  // From any thread, before the bytes are written. Bytes of no matter what mapping: who resets picks out its own.
  void note(uint8_t* at, size_t count) noexcept {
    auto address = reinterpret_cast<uintptr_t>(at);
    Range range;
    range.begin = at - address % BC_PAGE_SIZE;
    range.end = at + count + (BC_PAGE_SIZE - (address + count) % BC_PAGE_SIZE) % BC_PAGE_SIZE;
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i < count_; i++) {
      Range& known = ranges_[i];
      if (range.begin > known.end || range.end < known.begin) continue;
      known.begin = std::min(known.begin, range.begin);
      known.end = std::max(known.end, range.end);
      return;
    }
    if (count_ == kCapacity) {
      lost_count_ = true;
      return;
    }
    ranges_[count_++] = range;
  }

  // So much was written in so many places that it is not known any more where: everything counts as written.
  bool lost_count() const noexcept { return lost_count_; }

  // Nobody else may write meanwhile.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (size_t i = 0; i < count_; i++) visit(ranges_[i]);
  }
  void clear() noexcept {
    count_ = 0;
    lost_count_ = false;
  }

 private:
  // A run writes in few places: buffers of its own, a page of arguments. A guest that has the host write all over only makes its own reset slower.
  static constexpr size_t kCapacity = 32;

  std::mutex mutex_;
  std::array<Range, kCapacity> ranges_;
  size_t count_ = 0;
  bool lost_count_ = false;
};

}  // namespace barecell
