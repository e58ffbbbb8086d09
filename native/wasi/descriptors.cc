// fd_*: reading, writing, moving, listing, closing.
#include <algorithm>
#include <cstring>

#include "context.h"

namespace barecell::wasi {
namespace {

// Reading and writing are the same but for the direction. `move` does it.
template <typename Move>
HostCallAction transfer(HostCall& call, uint32_t result_at, Move move) {
  uint32_t list_at = call.u32(1), list_count = call.u32(2);
  GuestBuffers buffers;
  if (Errno error = buffers.load(call.memory, list_at, list_count); error != Errno::Success) return answer(call, error);
  if (!in_bounds(call.memory, result_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  Transfer done;
  // No bytes asked for: done, without waiting.
  if (buffers.left() > 0) done = move(buffers);
  if (done.action != HostCallAction::Continue) return done.action;
  if (done.error != Errno::Success) return answer(call, done.error);
  // At most GuestBuffers::kMaxBytes.
  return answer_written(call, call.memory.write_value(result_at, static_cast<uint32_t>(done.bytes)));
}

// "If rights::fd_seek is set, includes the right to invoke fd_pread", and so for fd_pwrite.
Errno find_for_offset(Context& context, uint32_t fd, Rights right, const Entry** to) {
  if (Errno error = find_entry(context, fd, right, to); error != Errno::Success) return error;
  return (*to)->has(kRightFdSeek) ? Errno::Success : (*to)->object->unseekable();
}

// Writes entries one after the other into a guest's buffer, the last one cut where it ends.
class DirentWriter final : public EntrySink {
 public:
  DirentWriter(LinearMemory& memory, uint32_t at, uint32_t bytes) : memory_(memory), at_(at), left_(bytes) {}

  bool take(uint64_t next, uint64_t inode, Filetype type, std::string_view name) noexcept override {
    Dirent entry{};
    entry.d_next = next;
    entry.d_ino = inode;
    entry.d_namlen = static_cast<uint32_t>(name.size());
    entry.d_type = static_cast<uint8_t>(type);
    put(&entry, sizeof entry);
    put(name.data(), name.size());
    return left_ > 0 && !failed_;
  }
  bool failed() const noexcept { return failed_; }
  uint32_t used() const noexcept { return used_; }

 private:
  void put(const void* from, size_t bytes) noexcept {
    auto count = static_cast<uint32_t>(std::min<size_t>(bytes, left_));
    if (!memory_.write(uint64_t{at_} + used_, from, count)) failed_ = true;
    used_ += count;
    left_ -= count;
  }

  LinearMemory& memory_;
  uint32_t at_;
  uint32_t left_;
  uint32_t used_ = 0;
  bool failed_ = false;
};

// The two dialects number them differently. False: there is no such one.
bool decode_whence(uint32_t value, Dialect dialect, Whence* to) noexcept {
  constexpr Whence kPreview1[] = {Whence::Set, Whence::Current, Whence::End};
  constexpr Whence kUnstable[] = {Whence::Current, Whence::End, Whence::Set};
  if (value >= kWhenceValues) return false;
  *to = dialect == Dialect::Preview1 ? kPreview1[value] : kUnstable[value];
  return true;
}

HostCallAction seek(const Entry& entry, HostCall& call, int64_t offset, Whence whence, uint32_t result_at) {
  if (!in_bounds(call.memory, result_at, sizeof(uint64_t))) return answer(call, Errno::Fault);
  uint64_t result = 0;
  if (Errno error = entry.object->seek(offset, whence, &result); error != Errno::Success) return answer(call, error);
  return answer_written(call, call.memory.write_value(result_at, result));
}

}  // namespace

HostCallAction fd_read(Context& context, HostCall& call, Dialect) {
  const Entry* entry = nullptr;
  if (Errno error = find_entry(context, call.u32(0), kRightFdRead, &entry); error != Errno::Success) return answer(call, error);
  return transfer(call, call.u32(3), [&](GuestBuffers& buffers) {
    uint64_t wanted = buffers.left();
    Transfer done = entry->object->read(buffers, call);
    if (wanted <= kSmallReadBytes && done.bytes > 0 && done.error == Errno::Success) {
      context.reads.last = {call.u32(0), static_cast<uint32_t>(wanted)};
    }
    return done;
  });
}

HostCallAction fd_write(Context& context, HostCall& call, Dialect) {
  const Entry* entry = nullptr;
  if (Errno error = find_entry(context, call.u32(0), kRightFdWrite, &entry); error != Errno::Success) return answer(call, error);
  return transfer(call, call.u32(3), [&](GuestBuffers& buffers) { return entry->object->write(buffers, call); });
}

HostCallAction fd_pread(Context& context, HostCall& call, Dialect) {
  const Entry* entry = nullptr;
  if (Errno error = find_for_offset(context, call.u32(0), kRightFdRead, &entry); error != Errno::Success) return answer(call, error);
  return transfer(call, call.u32(4), [&](GuestBuffers& buffers) { return entry->object->read_at(buffers, call.u64(3), call); });
}

HostCallAction fd_pwrite(Context& context, HostCall& call, Dialect) {
  const Entry* entry = nullptr;
  if (Errno error = find_for_offset(context, call.u32(0), kRightFdWrite, &entry); error != Errno::Success) return answer(call, error);
  return transfer(call, call.u32(4), [&](GuestBuffers& buffers) { return entry->object->write_at(buffers, call.u64(3), call); });
}

HostCallAction fd_close(Context& context, HostCall& call, Dialect) {
  if (context.descriptors.find(call.u32(0)) == nullptr) return answer(call, Errno::Badf);
  context.descriptors.close(call.u32(0));
  return answer(call, Errno::Success);
}

HostCallAction fd_renumber(Context& context, HostCall& call, Dialect) {
  uint32_t fd = call.u32(0), to = call.u32(1);
  if (context.descriptors.find(fd) == nullptr || context.descriptors.find(to) == nullptr) return answer(call, Errno::Badf);
  context.descriptors.renumber(fd, to);
  return answer(call, Errno::Success);
}

// An unknown `whence` comes before the right, so that streams can say ESPIPE to whom asks properly. To learn the offset, and not
// move it, takes the lesser right of fd_tell.
HostCallAction fd_seek(Context& context, HostCall& call, Dialect dialect) {
  const Entry* entry = nullptr;
  if (Errno error = find_entry(context, call.u32(0), 0, &entry); error != Errno::Success) return answer(call, error);
  auto offset = static_cast<int64_t>(call.u64(1));
  Whence whence;
  if (!decode_whence(call.u32(2), dialect, &whence)) return answer(call, Errno::Inval);
  bool only_tells = offset == 0 && whence == Whence::Current && entry->has(kRightFdTell);
  if (!entry->has(kRightFdSeek) && !only_tells) return answer(call, entry->object->unseekable());
  return seek(*entry, call, offset, whence, call.u32(3));
}

HostCallAction fd_tell(Context& context, HostCall& call, Dialect) {
  const Entry* entry = nullptr;
  if (Errno error = find_entry(context, call.u32(0), 0, &entry); error != Errno::Success) return answer(call, error);
  // "fd_seek implies fd_tell."
  if (!entry->has(kRightFdTell) && !entry->has(kRightFdSeek)) return answer(call, entry->object->unseekable());
  return seek(*entry, call, 0, Whence::Current, call.u32(1));
}

HostCallAction fd_readdir(Context& context, HostCall& call, Dialect) {
  uint32_t buffer_at = call.u32(1), bytes = call.u32(2), result_at = call.u32(4);
  const Entry* entry = nullptr;
  Directory* directory = nullptr;
  Errno error = find_directory(context, call.u32(0), kRightFdReaddir, &entry, &directory);
  // POSIX's readdir(3) has this for what is no directory, and programs that open without O_DIRECTORY (Go's) look for it here.
  if (error == Errno::Notdir) error = Errno::Badf;
  if (error != Errno::Success) return answer(call, error);
  if (!in_bounds(call.memory, buffer_at, bytes) || !in_bounds(call.memory, result_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  DirentWriter writer(call.memory, buffer_at, bytes);
  Transfer done;
  if (bytes > 0) done = directory->list(call.u64(3), writer, call);
  if (done.action != HostCallAction::Continue) return done.action;
  if (done.error != Errno::Success) return answer(call, done.error);
  return answer_written(call, !writer.failed() && call.memory.write_value(result_at, writer.used()));
}

// Programs ask from descriptor 3 on until they get EBADF, and so learn which directories they were given.
HostCallAction fd_prestat_get(Context& context, HostCall& call, Dialect) {
  const Entry* entry = context.descriptors.find(call.u32(0));
  if (entry == nullptr || !entry->preopen_name) return answer(call, Errno::Badf);
  Prestat result{};
  result.pr_name_len = static_cast<uint32_t>(entry->preopen_name->size());
  return answer_written(call, call.memory.write_value(call.u32(1), result));
}

// The name without a NUL; a buffer may be larger than it.
HostCallAction fd_prestat_dir_name(Context& context, HostCall& call, Dialect) {
  uint32_t at = call.u32(1), bytes = call.u32(2);
  const Entry* entry = context.descriptors.find(call.u32(0));
  if (entry == nullptr || !entry->preopen_name) return answer(call, Errno::Badf);
  if (!in_bounds(call.memory, at, bytes)) return answer(call, Errno::Fault);
  const std::string& name = *entry->preopen_name;
  if (bytes < name.size()) return answer(call, Errno::Nametoolong);
  return answer_written(call, call.memory.write(at, name.data(), name.size()));
}

}  // namespace barecell::wasi
