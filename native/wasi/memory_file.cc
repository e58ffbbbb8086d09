#include "memory_file.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "host_io.h"
#include "rights.h"

namespace barecell::wasi {
namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<int64_t>::max();
// So much is copied between two looks at whether to stop.
constexpr uint64_t kLookEvery = 1 << 20;
// What a page that was never written holds.
constexpr uint8_t kZeros[FileNode::kPageBytes] = {};

bool must_stop(HostCall& call, uint64_t bytes_done, uint64_t step) noexcept {
  return bytes_done / kLookEvery != (bytes_done + step) / kLookEvery && wait_ready(call, -1, 0, false) == Gate::Stop;
}

}  // namespace

void set_node_times(MemoryNode& node, const Times& times) noexcept {
  uint64_t now = node.file_system->now();
  auto apply = [&](const TimeChange& change, uint64_t* to) {
    if (change.kind != TimeChange::Kind::Leave) *to = change.kind == TimeChange::Kind::Now ? now : change.nanoseconds;
  };
  apply(times.access, &node.accessed);
  apply(times.modification, &node.modified);
  node.changed = now;
}

Rights MemoryFile::base_rights() const noexcept { return kFileRights; }

Errno MemoryFile::stat(Filestat* to) noexcept {
  *to = node_->stat();
  return Errno::Success;
}

Transfer MemoryFile::read(GuestBuffers& buffers, HostCall& call) {
  Transfer result = read_at(buffers, position_, call);
  if (result.error == Errno::Success) position_ += result.bytes;
  return result;
}

Peeked MemoryFile::peek(std::span<uint8_t> to) noexcept {
  uint64_t offset = position_;
  size_t done = 0;
  while (done < to.size() && offset < node_->bytes) {
    uint64_t in_page = offset % FileNode::kPageBytes;
    size_t count = std::min({to.size() - done, static_cast<size_t>(FileNode::kPageBytes - in_page), static_cast<size_t>(node_->bytes - offset)});
    const uint8_t* page = node_->page(offset / FileNode::kPageBytes);
    std::memcpy(to.data() + done, page == nullptr ? kZeros : page + in_page, count);
    done += count;
    offset += count;
  }
  return {static_cast<uint32_t>(done), offset >= node_->bytes};
}

void MemoryFile::skip(uint32_t bytes) noexcept {
  position_ += bytes;
  node_->accessed = node_->file_system->now();
}

Transfer MemoryFile::read_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) {
  if (offset > kMaxOffset) return failed_with(Errno::Inval);
  Transfer result;
  while (buffers.left() > 0 && offset < node_->bytes) {
    Iovec to = buffers.front();
    uint64_t in_page = offset % FileNode::kPageBytes;
    size_t count = std::min({uint64_t{to.buf_len}, FileNode::kPageBytes - in_page, node_->bytes - offset});
    const uint8_t* page = node_->page(offset / FileNode::kPageBytes);
    if (!call.memory.write(to.buf, page == nullptr ? kZeros : page + in_page, count)) return failed_with(Errno::Fault);
    if (must_stop(call, result.bytes, count)) return {HostCallAction::Interrupted};
    buffers.advance(count);
    offset += count;
    result.bytes += count;
  }
  node_->accessed = node_->file_system->now();
  return result;
}

Transfer MemoryFile::write(GuestBuffers& buffers, HostCall& call) {
  if (has_flag(kFdflagAppend)) position_ = node_->bytes;
  Transfer result = write_at(buffers, position_, call);
  if (result.error == Errno::Success) position_ += result.bytes;
  return result;
}

Transfer MemoryFile::write_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) {
  if (offset > kMaxOffset) return failed_with(Errno::Inval);
  uint64_t limit = node_->file_system->max_bytes;
  Transfer result;
  while (buffers.left() > 0) {
    if (offset >= limit) result.error = Errno::Fbig;
    uint8_t* page = offset >= limit ? nullptr : node_->page_for_writing(offset / FileNode::kPageBytes);
    if (page == nullptr) {
      if (result.error == Errno::Success) result.error = Errno::Nospc;
      break;
    }
    Iovec from = buffers.front();
    uint64_t in_page = offset % FileNode::kPageBytes;
    size_t count = std::min({uint64_t{from.buf_len}, FileNode::kPageBytes - in_page, limit - offset});
    if (!call.memory.read(from.buf, page + in_page, count)) return failed_with(Errno::Fault);
    buffers.advance(count);
    offset += count;
    node_->bytes = std::max(node_->bytes, offset);
    if (must_stop(call, result.bytes, count)) return {HostCallAction::Interrupted};
    result.bytes += count;
  }
  // A short count is the answer as long as there is one; the next call meets the error again.
  if (result.bytes > 0) result.error = Errno::Success;
  if (result.bytes > 0) node_->modified = node_->changed = node_->file_system->now();
  return result;
}

Errno MemoryFile::seek(int64_t offset, Whence whence, uint64_t* result) noexcept {
  uint64_t base = whence == Whence::Set ? 0 : whence == Whence::Current ? position_ : node_->bytes;
  // Both are below 2^63, so neither sum can wrap.
  int64_t from = static_cast<int64_t>(base);
  if (offset < 0 ? from + offset < 0 : static_cast<uint64_t>(offset) > kMaxOffset - base) {
    return offset < 0 ? Errno::Inval : Errno::Overflow;
  }
  position_ = static_cast<uint64_t>(from + offset);
  *result = position_;
  return Errno::Success;
}

Errno MemoryFile::allocate(uint64_t offset, uint64_t bytes, HostCall& call) {
  if (bytes == 0 || offset > kMaxOffset) return Errno::Inval;
  uint64_t limit = node_->file_system->max_bytes;
  if (bytes > limit || offset > limit - bytes) return Errno::Fbig;
  uint64_t last = (offset + bytes - 1) / FileNode::kPageBytes;
  for (uint64_t page = offset / FileNode::kPageBytes; page <= last; page++) {
    if (must_stop(call, page * FileNode::kPageBytes, FileNode::kPageBytes)) return Errno::Intr;
    if (node_->page_for_writing(page) == nullptr) return Errno::Nospc;
  }
  return offset + bytes > node_->bytes ? node_->resize(offset + bytes) : Errno::Success;
}

Errno MemoryFile::set_size(uint64_t bytes) { return bytes > kMaxOffset ? Errno::Inval : node_->resize(bytes); }

Errno MemoryFile::set_times(const Times& times) noexcept {
  set_node_times(*node_, times);
  return Errno::Success;
}

uint64_t MemoryFile::readable_bytes() noexcept { return position_ < node_->bytes ? node_->bytes - position_ : 0; }

}  // namespace barecell::wasi
