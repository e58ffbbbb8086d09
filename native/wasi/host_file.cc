#include "host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "host_io.h"
#include "host_stat.h"
#include "rights.h"

namespace barecell::wasi {
namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<int64_t>::max();

}  // namespace

void host_times(const Times& times, timespec (&to)[2]) noexcept {
  const TimeChange* changes[] = {&times.access, &times.modification};
  for (size_t i = 0; i < 2; i++) {
    to[i] = {};
    if (changes[i]->kind == TimeChange::Kind::At) {
      to[i].tv_sec = static_cast<time_t>(changes[i]->nanoseconds / 1'000'000'000);
      to[i].tv_nsec = static_cast<long>(changes[i]->nanoseconds % 1'000'000'000);
    } else {
      to[i].tv_nsec = changes[i]->kind == TimeChange::Kind::Now ? UTIME_NOW : UTIME_OMIT;
    }
  }
}

Rights HostFile::base_rights() const noexcept { return kFileRights; }

Errno HostFile::stat(Filestat* to) noexcept {
  struct stat status{};
  if (fstat(fd_.get(), &status) < 0) return errno_of_host(errno);
  *to = filestat_of_host(status);
  return Errno::Success;
}

Transfer HostFile::read(GuestBuffers& buffers, HostCall& call) { return read_from(buffers, -1, call); }

// The description is this guest's own. Only what is in the page cache: a read that has to wait is to be the guest's, whom a deadline ends.
Peeked HostFile::peek(std::span<uint8_t> to) noexcept {
  // Each read is to wait for what others are writing.
  if (has_flag(kFdflagRsync)) return {};
  off_t at = lseek(fd_.get(), 0, SEEK_CUR);
  iovec piece{to.data(), to.size()};
  ssize_t bytes = at < 0 ? -1 : read_pieces(fd_.get(), {&piece, 1}, at, RWF_NOWAIT);
  return {static_cast<uint32_t>(std::max<ssize_t>(0, bytes)), false};
}

void HostFile::skip(uint32_t bytes) noexcept { lseek(fd_.get(), bytes, SEEK_CUR); }

Transfer HostFile::read_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) {
  if (offset > kMaxOffset) return failed_with(Errno::Inval);
  return read_from(buffers, static_cast<int64_t>(offset), call);
}

// All that is there, as read(2) has it of a file, in pieces between which the call can be ended.
Transfer HostFile::read_from(GuestBuffers& buffers, int64_t offset, HostCall& call) {
  Transfer result;
  while (buffers.left() > 0) {
    if (wait_ready(call, -1, 0, false) == Gate::Stop) return {HostCallAction::Interrupted};
    iovec pieces[kPieceBuffers];
    size_t count = buffers.next(call.memory, kPieceBytes, pieces);
    ssize_t bytes = read_pieces(fd_.get(), {pieces, count}, offset, 0);
    if (bytes == -EINTR) continue;
    if (bytes < 0 && result.bytes == 0) return failed_with(errno_of_host(static_cast<int>(-bytes)));
    if (bytes <= 0) break;
    result.bytes += static_cast<uint64_t>(bytes);
    buffers.advance(static_cast<uint64_t>(bytes));
    if (offset >= 0) offset += bytes;
  }
  return result;
}

Transfer HostFile::write(GuestBuffers& buffers, HostCall& call) { return write_to(buffers, -1, call); }

Transfer HostFile::write_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) {
  if (offset > kMaxOffset) return failed_with(Errno::Inval);
  return write_to(buffers, static_cast<int64_t>(offset), call);
}

// Before anything is written: the bytes, and what the file grows by without being written, as sparse as that may be on this host.
Errno HostFile::charge_write(int64_t offset, uint64_t bytes) noexcept {
  struct stat status{};
  if (fstat(fd_.get(), &status) < 0) return errno_of_host(errno);
  int64_t hole = std::max<int64_t>(0, offset - status.st_size);
  if (!budget_.take(static_cast<uint64_t>(hole))) return Errno::Dquot;
  if (budget_.take(bytes)) return Errno::Success;
  budget_.give_back(static_cast<uint64_t>(hole));
  return Errno::Dquot;
}

// The guest's flags are per call, because they may change, and because O_APPEND on the host would make pwrite(2) append, which
// POSIX does not allow.
Transfer HostFile::write_to(GuestBuffers& buffers, int64_t offset, HostCall& call) {
  if (read_only_) return failed_with(Errno::Rofs);
  int flags = 0;
  bool append = offset < 0 && has_flag(kFdflagAppend);
  if (append) flags |= RWF_APPEND;
  if (has_flag(kFdflagDsync)) flags |= RWF_DSYNC;
  if (has_flag(kFdflagSync) || has_flag(kFdflagRsync)) flags |= RWF_SYNC;
  Transfer result;
  while (buffers.left() > 0) {
    if (wait_ready(call, -1, 0, false) == Gate::Stop) {
      result.action = HostCallAction::Interrupted;
      return result;
    }
    iovec pieces[kPieceBuffers];
    // What the budget still allows is written: a short count, and then the error.
    uint64_t limit = std::min<uint64_t>(kPieceBytes, std::max<uint64_t>(1, budget_.left()));
    size_t count = buffers.next(call.memory, limit, pieces);
    uint64_t wanted = 0;
    for (size_t i = 0; i < count; i++) wanted += pieces[i].iov_len;
    int64_t at = offset >= 0 ? offset : append ? 0 : lseek(fd_.get(), 0, SEEK_CUR);
    result.error = charge_write(at, wanted);
    if (result.error != Errno::Success) break;
    ssize_t bytes = write_pieces(fd_.get(), {pieces, count}, offset, flags);
    budget_.give_back(wanted - static_cast<uint64_t>(std::max<ssize_t>(0, bytes)));
    if (bytes == -EINTR) continue;
    if (bytes <= 0) {
      // Nothing written without an error should not be; better an error than a loop.
      result.error = bytes == 0 ? Errno::Io : errno_of_host(static_cast<int>(-bytes));
      break;
    }
    result.bytes += static_cast<uint64_t>(bytes);
    buffers.advance(static_cast<uint64_t>(bytes));
    if (offset >= 0) offset += bytes;
  }
  // An error after the first bytes is not told: the count is, and the next call meets the error again.
  if (result.bytes > 0) result.error = Errno::Success;
  return result;
}

Errno HostFile::seek(int64_t offset, Whence whence, uint64_t* result) noexcept {
  int host = whence == Whence::Set ? SEEK_SET : whence == Whence::Current ? SEEK_CUR : SEEK_END;
  off_t at = lseek(fd_.get(), offset, host);
  if (at < 0) return errno_of_host(errno);
  *result = static_cast<uint64_t>(at);
  return Errno::Success;
}

// Not emulated where the file system has none of it, as that would mean to write.
Errno HostFile::allocate(uint64_t offset, uint64_t bytes, HostCall& call) {
  if (read_only_) return Errno::Rofs;
  if (bytes == 0 || offset > kMaxOffset) return Errno::Inval;
  if (bytes > kMaxOffset - offset) return Errno::Fbig;
  Filestat status{};
  if (Errno error = stat(&status); error != Errno::Success) return error;
  uint64_t hole = offset > status.size ? offset - status.size : 0;
  if (hole > budget_.left() || bytes > budget_.left() - hole) return Errno::Dquot;
  for (;;) {
    if (wait_ready(call, -1, 0, false) == Gate::Stop) return Errno::Intr;
    int error = allocate_quietly(fd_.get(), static_cast<int64_t>(offset), static_cast<int64_t>(bytes));
    if (error == 0) break;
    if (error != EINTR) return errno_of_host(error);
  }
  budget_.take(hole + bytes);
  return Errno::Success;
}

Errno HostFile::set_size(uint64_t bytes) {
  if (read_only_) return Errno::Rofs;
  if (bytes > kMaxOffset) return Errno::Inval;
  Filestat status{};
  if (Errno error = stat(&status); error != Errno::Success) return error;
  uint64_t growth = bytes > status.size ? bytes - status.size : 0;
  if (growth > budget_.left()) return Errno::Dquot;
  if (int error = truncate_quietly(fd_.get(), static_cast<int64_t>(bytes)); error != 0) return errno_of_host(error);
  budget_.take(growth);
  return Errno::Success;
}

Errno HostFile::set_times(const Times& times) noexcept {
  if (read_only_) return Errno::Rofs;
  timespec host[2];
  host_times(times, host);
  return futimens(fd_.get(), host) < 0 ? errno_of_host(errno) : Errno::Success;
}

Errno HostFile::sync(bool only_data) noexcept {
  return (only_data ? fdatasync(fd_.get()) : fsync(fd_.get())) < 0 ? errno_of_host(errno) : Errno::Success;
}

uint64_t HostFile::readable_bytes() noexcept {
  Filestat status{};
  off_t at = lseek(fd_.get(), 0, SEEK_CUR);
  if (at < 0 || stat(&status) != Errno::Success || static_cast<uint64_t>(at) >= status.size) return 0;
  return status.size - static_cast<uint64_t>(at);
}

}  // namespace barecell::wasi
