// The one way by which the host touches a guest's linear memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "host_writes.h"

namespace barecell {

// memcpy that takes nothing from nowhere: null pointers are undefined for it even with count 0.
inline void copy_bytes(void* to, const void* from, size_t count) noexcept {
  if (count > 0) std::memcpy(to, from, count);
}

// A linear memory of a VM, as the host sees it: one contiguous run of bytes. Offsets and lengths come from the guest and are hostile;
// every access checks them against the size at that moment. What is read is copied, so that a check and its use see the same bytes.
class LinearMemory {
 public:
  // `writes`: where to note what the host writes, for a reset; null for memory that is never reset.
  void attach(uint8_t* base, uint64_t size_bytes, HostWrites* writes = nullptr) noexcept {
    base_ = base;
    writes_ = writes;
    size_bytes_.store(size_bytes, std::memory_order_release);
  }
  void set_size(uint64_t size_bytes) noexcept { size_bytes_.store(size_bytes, std::memory_order_release); }
  uint64_t size_bytes() const noexcept { return size_bytes_.load(std::memory_order_acquire); }

  // False, and nothing done, if any byte of the range lies outside.
  [[nodiscard]] bool read(uint64_t offset, void* to, size_t count) const noexcept {
    if (!contains(offset, count)) return false;
    copy_bytes(to, base_ + offset, count);
    return true;
  }
  [[nodiscard]] bool write(uint64_t offset, const void* from, size_t count) noexcept {
    if (!contains(offset, count)) return false;
    note(offset, count);
    copy_bytes(base_ + offset, from, count);
    return true;
  }
  template <typename Value>
  [[nodiscard]] bool read_value(uint64_t offset, Value* to) const noexcept {
    return read(offset, to, sizeof(Value));
  }
  template <typename Value>
  [[nodiscard]] bool write_value(uint64_t offset, Value value) noexcept {
    return write(offset, &value, sizeof(Value));
  }

  // For handing a range to the kernel (readv, writev), which copies it once. Null if any byte lies outside. Never look at the bytes
  // through this pointer to decide anything: a second thread of the guest's may change them. It counts as written by the host: who only
  // wants to know whether there is such a range asks contains().
  [[nodiscard]] uint8_t* range_for_kernel(uint64_t offset, uint64_t count) noexcept {
    if (!contains(offset, count)) return nullptr;
    note(offset, count);
    return base_ + offset;
  }

  // Written so that no sum can overflow.
  [[nodiscard]] bool contains(uint64_t offset, uint64_t count) const noexcept {
    uint64_t size = size_bytes();
    return offset <= size && count <= size - offset;
  }

 private:
  // Before the bytes are written, so that no reset can fall between.
  void note(uint64_t offset, uint64_t count) noexcept {
    if (writes_ != nullptr && count > 0) writes_->note(base_ + offset, count);
  }

  uint8_t* base_ = nullptr;
  HostWrites* writes_ = nullptr;
  std::atomic<uint64_t> size_bytes_{0};
};

}  // namespace barecell
