#include "buffers.h"

#include <algorithm>

namespace barecell::wasi {

Errno GuestBuffers::load(LinearMemory& memory, uint32_t list_at, uint32_t count) noexcept {
  uint32_t served = std::min(count, kMaxBuffers);
  // The whole list must be in memory, also what is not served of it.
  if (!memory.contains(list_at, uint64_t{count} * sizeof(Iovec))) return Errno::Fault;
  if (!memory.read(list_at, buffers_, served * sizeof(Iovec))) return Errno::Fault;
  first_ = count_ = 0;
  left_ = 0;
  for (uint32_t i = 0; i < served; i++) {
    Iovec buffer = buffers_[i];
    if (!memory.contains(buffer.buf, buffer.buf_len)) return Errno::Fault;
    buffer.buf_len = static_cast<uint32_t>(std::min<uint64_t>(buffer.buf_len, kMaxBytes - left_));
    left_ += buffer.buf_len;
    if (buffer.buf_len > 0) buffers_[count_++] = buffer;
  }
  return left_ == 0 && served < count ? Errno::Inval : Errno::Success;
}

void GuestBuffers::use(Iovec buffer) noexcept {
  buffers_[0] = buffer;
  first_ = 0;
  count_ = buffer.buf_len > 0 ? 1 : 0;
  left_ = buffer.buf_len;
}

size_t GuestBuffers::next(LinearMemory& memory, uint64_t limit, std::span<iovec> to) const noexcept {
  size_t filled = 0;
  for (size_t i = first_; i < count_ && filled < to.size() && limit > 0; i++) {
    uint64_t bytes = std::min<uint64_t>(buffers_[i].buf_len, limit);
    uint8_t* base = memory.range_for_kernel(buffers_[i].buf, bytes);
    if (base == nullptr) break;
    to[filled++] = {base, bytes};
    limit -= bytes;
  }
  return filled;
}

void GuestBuffers::advance(uint64_t bytes) noexcept {
  left_ -= bytes;
  while (bytes > 0) {
    Iovec& buffer = buffers_[first_];
    uint32_t step = static_cast<uint32_t>(std::min<uint64_t>(buffer.buf_len, bytes));
    buffer.buf += step;
    buffer.buf_len -= step;
    bytes -= step;
    if (buffer.buf_len == 0) first_++;
  }
}

}  // namespace barecell::wasi
