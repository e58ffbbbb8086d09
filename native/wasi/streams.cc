#include "streams.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "../failure.h"
#include "host_stat.h"

namespace barecell::wasi {

Stream::Stream(StreamConfig config, unsigned number, OutputBudget& budget) : kind_(config.kind), number_(number), budget_(budget) {
  using Kind = StreamConfig::Kind;
  if (kind_ == (number == 0 ? Kind::Capture : Kind::Bytes)) {
    throw Failure("BARECELL_ARGUMENT_INVALID", "standard stream " + std::to_string(number) + " cannot be of this kind");
  }
  if (kind_ == Kind::Bytes) bytes_ = std::move(config.bytes);
  if (kind_ == Kind::Fd) {
    fd_ = config.fd;
    inspect_fd();
  }
  if (kind_ == Kind::Pipe) {
    pipe_ = std::move(config.pipe);
    if (!pipe_ || (pipe_->direction() == PipeDirection::Input) != (number == 0)) {
      throw Failure("BARECELL_ARGUMENT_INVALID", "the pipe for standard stream " + std::to_string(number) + " is closed or of the other direction");
    }
    // From here on a descriptor like others.
    kind_ = Kind::Fd;
    fd_ = pipe_->fd();
  }
}

// Where it makes no difference in how many pieces bytes are written. Datagrams, packet pipes (O_DIRECT), event counters and the like have messages.
Keep Stream::keep_of(int fd, const struct stat& status) noexcept {
  bool takes_any_pieces = false;
  if (S_ISREG(status.st_mode)) return Keep::Bursts;
  if (S_ISCHR(status.st_mode)) {
    // /dev/null, by its number (Documentation/admin-guide/devices.txt of Linux).
    bool is_writable = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    if (status.st_rdev == makedev(1, 3) && is_writable) return Keep::Discard;
    takes_any_pieces = isatty(fd) == 1;
  } else if (S_ISFIFO(status.st_mode)) {
    takes_any_pieces = (fcntl(fd, F_GETFL) & O_DIRECT) == 0;
  } else if (S_ISSOCK(status.st_mode)) {
    int type = 0;
    socklen_t size = sizeof type;
    takes_any_pieces = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
  }
  return takes_any_pieces ? Keep::Lines : Keep::Nothing;
}

// Readiness is a hint: another process that shares a pipe or a terminal can take the bytes, or the space, between poll and the
// transfer, and then a transfer on a blocking description sleeps in the kernel, where no deadline reaches it (the kick signal
// restarts system calls). Setting O_NONBLOCK would change it for everybody who shares the description. So sockets are asked with
// MSG_DONTWAIT, pipes with RWF_NOWAIT (transfer.cc), and terminals, which know neither, are opened a second time for a
// non-blocking description of our own, as libuv does. Pipes are not: a second writer would keep their reader from seeing the end.
void Stream::inspect_fd() {
  struct stat status{};
  int flags = fcntl(fd_, F_GETFL);
  if (flags < 0 || fstat(fd_, &status) < 0) {
    std::string stream = "standard stream " + std::to_string(number_);
    throw Failure("BARECELL_ARGUMENT_INVALID", "descriptor " + std::to_string(fd_) + " for " + stream + " is not open");
  }
  if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) type_ = FdType::Regular;
  if (S_ISSOCK(status.st_mode)) type_ = FdType::Socket;
  if (number_ != 0) fd_keep_ = keep_of(fd_, status);
  // Never more rights than were handed in: a description that cannot be read is not opened again for reading.
  int mode = number_ == 0 ? O_RDONLY : O_WRONLY;
  bool allowed = (flags & O_ACCMODE) == O_RDWR || (flags & O_ACCMODE) == mode;
  // Opening the master of a pseudo-terminal makes a new one. Other character devices are left alone: opening them can do
  // anything.
  int pty = 0;
  bool terminal = S_ISCHR(status.st_mode) && isatty(fd_) == 1 && ioctl(fd_, TIOCGPTN, &pty) != 0;
  if (!allowed || !terminal) return;
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd_);
  UniqueFd own(open(path, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  struct stat own_status{};
  if (!own || fstat(own.get(), &own_status) < 0) return;
  bool same = own_status.st_dev == status.st_dev && own_status.st_ino == status.st_ino && own_status.st_rdev == status.st_rdev;
  if (same) own_ = std::move(own);
}

// No seek, tell or size: a descriptor's offset is shared with the host, and streams of the other kinds have none.
Rights Stream::base_rights() const noexcept {
  return (number_ == 0 ? kRightFdRead : kRightFdWrite) | kRightFdFdstatSetFlags | kRightFdFilestatGet | kRightPollFdReadwrite;
}

// wasi-libc takes a character device without the rights to seek and tell for a terminal, and no stream has those rights. So only
// terminals are character devices here, and /dev/null is of type unknown, which the specification has for "different from any of
// the other types". It has no pipes.
Filetype Stream::filetype() const noexcept {
  struct stat status{};
  if (kind_ != StreamConfig::Kind::Fd || fstat(fd_, &status) < 0) return Filetype::Unknown;
  if (S_ISREG(status.st_mode)) return Filetype::RegularFile;
  if (S_ISBLK(status.st_mode)) return Filetype::BlockDevice;
  if (S_ISDIR(status.st_mode)) return Filetype::Directory;
  if (S_ISCHR(status.st_mode)) return isatty(fd_) == 1 ? Filetype::CharacterDevice : Filetype::Unknown;
  int type = 0;
  socklen_t size = sizeof type;
  if (!S_ISSOCK(status.st_mode) || getsockopt(fd_, SOL_SOCKET, SO_TYPE, &type, &size) < 0) return Filetype::Unknown;
  return type == SOCK_DGRAM ? Filetype::SocketDgram : Filetype::SocketStream;
}

// Size and times belong to a regular file that was handed in. Device and inode would name it on the host, so streams have names
// of their own.
Errno Stream::stat(Filestat* to) noexcept {
  *to = {};
  struct stat status{};
  Filetype type = filetype();
  if (type == Filetype::RegularFile && fstat(fd_, &status) == 0) {
    *to = filestat_of_host(status);
    to->dev = 0;
  }
  to->ino = number_ + 1;
  to->nlink = 1;
  to->filetype = static_cast<uint8_t>(type);
  return Errno::Success;
}

// NONBLOCK takes effect. APPEND is true of every stream. Synchronous output is refused rather than promised and not done.
Errno Stream::set_flags(uint32_t flags) noexcept {
  if ((flags & (kFdflagDsync | kFdflagRsync | kFdflagSync)) != 0) return Errno::Notsup;
  return Descriptor::set_flags(flags);
}

Transfer Stream::read(GuestBuffers& buffers, HostCall& call) {
  if (kind_ == StreamConfig::Kind::Fd) return read_fd(buffers, call);
  Transfer result;
  while (kind_ == StreamConfig::Kind::Bytes && buffers.left() > 0 && position_ < bytes_.size()) {
    Iovec to = buffers.front();
    size_t count = std::min<size_t>(to.buf_len, bytes_.size() - position_);
    if (!call.memory.write(to.buf, bytes_.data() + position_, count)) return {HostCallAction::Continue, Errno::Fault, 0};
    position_ += count;
    result.bytes += count;
    buffers.advance(count);
  }
  return result;
}

Peeked Stream::peek(std::span<uint8_t> to) noexcept {
  if (kind_ != StreamConfig::Kind::Bytes) return {};
  size_t left = bytes_.size() - position_;
  size_t bytes = std::min(left, to.size());
  if (bytes > 0) std::memcpy(to.data(), bytes_.data() + position_, bytes);
  return {static_cast<uint32_t>(bytes), bytes == left};
}

Transfer Stream::write(GuestBuffers& buffers, HostCall& call) {
  if (late_error_ != Errno::Success) return failed_with(std::exchange(late_error_, Errno::Success));
  Transfer result;
  if (kind_ == StreamConfig::Kind::Fd) {
    result = write_fd(buffers, call);
  } else if (kind_ == StreamConfig::Kind::Capture) {
    result = capture(buffers, call);
  } else {
    result.bytes = buffers.left();
  }
  total_bytes_ += result.bytes;
  return result;
}

// Not where the guest wants to be told at once: that it would have to wait (NONBLOCK), or what went wrong.
Keep Stream::keep() const noexcept {
  if ((flags() & ~kFdflagAppend) != 0 || late_error_ != Errno::Success) return Keep::Nothing;
  switch (kind_) {
    case StreamConfig::Kind::None:
      return Keep::Discard;
    case StreamConfig::Kind::Capture:
      return Keep::Everything;
    case StreamConfig::Kind::Fd:
      return fd_keep_;
    default:
      return Keep::Nothing;
  }
}

HostCallAction Stream::write_kept(GuestBuffers& buffers, HostCall& call) {
  Transfer done;
  while (buffers.left() > 0 && done.error == Errno::Success && done.action == HostCallAction::Continue) {
    try {
      done = write(buffers, call);
    } catch (const std::bad_alloc&) {
      done = failed_with(Errno::Nomem);
    }
  }
  late_error_ = done.error;
  return done.action;
}

// Memory for output is taken up to the limit that the host set, never for what the guest says it will write.
Transfer Stream::capture(GuestBuffers& buffers, HostCall& call) {
  Transfer result;
  while (buffers.left() > 0) {
    Iovec from = buffers.front();
    size_t count = std::min<uint64_t>(from.buf_len, budget_.left());
    // What fits is kept, so that a user sees the output up to the limit.
    size_t before = bytes_.size();
    bytes_.resize(before + count);
    if (!call.memory.read(from.buf, bytes_.data() + before, count)) {
      bytes_.resize(before);
      return {HostCallAction::Continue, Errno::Fault, result.bytes};
    }
    budget_.used += count;
    result.bytes += count;
    buffers.advance(count);
    if (count < from.buf_len) {
      result.action = HostCallAction::OutputLimit;
      return result;
    }
  }
  return result;
}

uint64_t Stream::readable_bytes() noexcept {
  if (kind_ == StreamConfig::Kind::Bytes) return bytes_.size() - position_;
  int bytes = 0;
  return kind_ == StreamConfig::Kind::Fd && ioctl(fd_, FIONREAD, &bytes) == 0 && bytes > 0 ? static_cast<uint64_t>(bytes) : 0;
}

bool Stream::at_end() const noexcept {
  return kind_ == StreamConfig::Kind::None || (kind_ == StreamConfig::Kind::Bytes && position_ == bytes_.size());
}

void Stream::close() noexcept {
  if (kind_ == StreamConfig::Kind::Fd) kind_ = StreamConfig::Kind::None;
  fd_ = -1;
  own_.reset();
  pipe_.reset();
}

void Stream::restart() noexcept {
  if (kind_ == StreamConfig::Kind::Capture) bytes_ = {};
  position_ = 0;
  total_bytes_ = 0;
  Descriptor::set_flags(0);
}

std::vector<uint8_t> Stream::take() noexcept {
  return kind_ == StreamConfig::Kind::Capture ? std::exchange(bytes_, {}) : std::vector<uint8_t>();
}

}  // namespace barecell::wasi
