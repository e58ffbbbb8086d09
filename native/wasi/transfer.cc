// Moving bytes between a guest's buffers and a descriptor of the host. The kernel copies them directly from and to linear memory.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "streams.h"

namespace barecell::wasi {
namespace {

constexpr size_t kPieceBuffers = 64;
// In one system call, where it cannot block: small enough that a look at whether to stop between two of them comes soon.
constexpr uint64_t kPieceBytes = 1 << 20;
// In one system call that may block, after readiness: a pipe that polls as writable has room for this much (PIPE_BUF).
constexpr uint64_t kBlockingPieceBytes = 4096;

// Writing to a pipe without a reader raises SIGPIPE, to a file beyond RLIMIT_FSIZE SIGXFSZ; by default both end the process. The
// kernel sends them to the thread that writes, so holding them back on this thread and taking away what came suffices, whatever
// the host's handlers are (Node ignores SIGPIPE, but not SIGXFSZ, and a program around Node may differ). Sockets need only
// MSG_NOSIGNAL.
class WriteSignalsHeld {
 public:
  WriteSignalsHeld() noexcept {
    sigemptyset(&set_);
    sigaddset(&set_, SIGPIPE);
    sigaddset(&set_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
    sigset_t pending;
    sigpending(&pending);
    // One that was pending before is not ours to take.
    for (int signal : {SIGPIPE, SIGXFSZ}) {
      if (sigismember(&pending, signal) == 1) sigdelset(&set_, signal);
    }
  }
  ~WriteSignalsHeld() {
    if (look_) {
      timespec none{};
      while (sigtimedwait(&set_, nullptr, &none) > 0 || errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WriteSignalsHeld(const WriteSignalsHeld&) = delete;
  WriteSignalsHeld& operator=(const WriteSignalsHeld&) = delete;

  // The signal can also come with a short count, if the reader leaves in the middle of a write.
  void expect_signal() noexcept { look_ = true; }

 private:
  sigset_t set_;
  sigset_t before_;
  bool look_ = false;
};

// Both return the negated errno on failure. `flags` are those of preadv2(2), whose offset -1 makes it readv(2).
ssize_t receive(int fd, bool socket, std::span<iovec> pieces, int flags) noexcept {
  ssize_t bytes;
  if (socket) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    bytes = recvmsg(fd, &message, MSG_DONTWAIT);
  } else {
    bytes = preadv2(fd, pieces.data(), static_cast<int>(pieces.size()), -1, flags);
  }
  return bytes < 0 ? -errno : bytes;
}

ssize_t send(int fd, bool socket, std::span<iovec> pieces, int flags) noexcept {
  if (socket) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    ssize_t bytes = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return bytes < 0 ? -errno : bytes;
  }
  size_t wanted = 0;
  for (const iovec& piece : pieces) wanted += piece.iov_len;
  WriteSignalsHeld held;
  ssize_t bytes = pwritev2(fd, pieces.data(), static_cast<int>(pieces.size()), -1, flags);
  int error = errno;
  if (bytes < static_cast<ssize_t>(wanted)) held.expect_signal();
  return bytes < 0 ? -error : bytes;
}

// Before each system call: waits until the descriptor is ready, or only asks whether to stop where waiting is of no use.
enum class Gate { Go, WouldBlock, Stop };

Gate wait_ready(HostCall& call, int fd, short events, bool nonblocking) noexcept {
  for (;;) {
    int ready = fd < 0 ? call.waiter.wait(-1, 0, 0) : call.waiter.wait(fd, events, nonblocking ? 0 : -1);
    if (ready < 0) return Gate::Stop;
    // Any event will do: if it is an error, the system call says which.
    if (fd < 0 || ready > 0) return Gate::Go;
    if (nonblocking) return Gate::WouldBlock;
  }
}

}  // namespace

Errno GuestBuffers::load(LinearMemory& memory, uint32_t list_at, uint32_t count) noexcept {
  uint32_t served = std::min(count, kMaxBuffers);
  // The whole list must be in memory, also what is not served of it.
  if (memory.range_for_kernel(list_at, uint64_t{count} * sizeof(Iovec)) == nullptr) return Errno::Fault;
  if (!memory.read(list_at, buffers_, served * sizeof(Iovec))) return Errno::Fault;
  first_ = count_ = 0;
  left_ = 0;
  for (uint32_t i = 0; i < served; i++) {
    Iovec buffer = buffers_[i];
    if (memory.range_for_kernel(buffer.buf, buffer.buf_len) == nullptr) return Errno::Fault;
    buffer.buf_len = static_cast<uint32_t>(std::min<uint64_t>(buffer.buf_len, kMaxBytes - left_));
    left_ += buffer.buf_len;
    if (buffer.buf_len > 0) buffers_[count_++] = buffer;
  }
  return left_ == 0 && served < count ? Errno::Inval : Errno::Success;
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

int Stream::transfer_flags() const noexcept { return type_ == FdType::Other && !own_ && nowait_ ? RWF_NOWAIT : 0; }

bool Stream::try_again(ssize_t result) noexcept {
  // Kernels before 6.5 do not know RWF_NOWAIT for pipes; character devices and named pipes have it nowhere.
  if (result == -EOPNOTSUPP && transfer_flags() != 0) {
    nowait_ = false;
    return true;
  }
  // EAGAIN: somebody else was quicker. The next wait knows whether the guest wants to wait at all.
  return result == -EINTR || result == -EAGAIN;
}

// One successful system call, like read(2): what is there, not all that was asked for.
Transfer Stream::read_fd(GuestBuffers& buffers, HostCall& call) noexcept {
  for (;;) {
    Gate gate = wait_ready(call, wait_fd(), POLLIN, nonblocking());
    if (gate == Gate::Stop) return {HostCallAction::Interrupted};
    if (gate == Gate::WouldBlock) return {HostCallAction::Continue, Errno::Again};
    iovec pieces[kPieceBuffers];
    size_t count = buffers.next(call.memory, kPieceBytes, pieces);
    ssize_t bytes = receive(transfer_fd(), type_ == FdType::Socket, {pieces, count}, transfer_flags());
    if (bytes >= 0) return {HostCallAction::Continue, Errno::Success, static_cast<uint64_t>(bytes)};
    if (!try_again(bytes)) return {HostCallAction::Continue, errno_of_host(static_cast<int>(-bytes))};
  }
}

// All of it, like write(2) on a blocking descriptor, because many programs do not look at the count. An error after the first
// bytes is not told: the count is, and the next call meets the error again.
Transfer Stream::write_fd(GuestBuffers& buffers, HostCall& call) noexcept {
  Transfer result;
  while (buffers.left() > 0) {
    Gate gate = wait_ready(call, wait_fd(), POLLOUT, nonblocking());
    if (gate == Gate::Stop) {
      result.action = HostCallAction::Interrupted;
      return result;
    }
    if (gate == Gate::WouldBlock) {
      result.error = Errno::Again;
      break;
    }
    bool may_block = type_ == FdType::Other && !own_ && !nowait_;
    iovec pieces[kPieceBuffers];
    size_t count = buffers.next(call.memory, may_block ? kBlockingPieceBytes : kPieceBytes, pieces);
    ssize_t bytes = send(transfer_fd(), type_ == FdType::Socket, {pieces, count}, transfer_flags());
    if (bytes > 0) {
      result.bytes += static_cast<uint64_t>(bytes);
      buffers.advance(static_cast<uint64_t>(bytes));
    } else if (!try_again(bytes)) {
      // Nothing written without an error should not be; better an error than a loop.
      result.error = bytes == 0 ? Errno::Io : errno_of_host(static_cast<int>(-bytes));
      break;
    }
  }
  if (result.bytes > 0) result.error = Errno::Success;
  return result;
}

// Those that reading and writing a descriptor can give (read(2), write(2), recvmsg(2), sendmsg(2)).
Errno errno_of_host(int error) noexcept {
  switch (error) {
    case EACCES: return Errno::Acces;
    case EAGAIN: return Errno::Again;
    case EBADF: return Errno::Badf;
    case ECONNREFUSED: return Errno::Connrefused;
    case ECONNRESET: return Errno::Connreset;
    case EDESTADDRREQ: return Errno::Destaddrreq;
    case EDQUOT: return Errno::Dquot;
    case EFAULT: return Errno::Fault;
    case EFBIG: return Errno::Fbig;
    case EINVAL: return Errno::Inval;
    case EISDIR: return Errno::Isdir;
    case EMFILE: return Errno::Mfile;
    case EMSGSIZE: return Errno::Msgsize;
    case ENFILE: return Errno::Nfile;
    case ENOBUFS: return Errno::Nobufs;
    case ENOMEM: return Errno::Nomem;
    case ENOSPC: return Errno::Nospc;
    case ENOTCONN: return Errno::Notconn;
    case ENXIO: return Errno::Nxio;
    case EPERM: return Errno::Perm;
    case EPIPE: return Errno::Pipe;
    case EROFS: return Errno::Rofs;
    case ESTALE: return Errno::Stale;
    case ETIMEDOUT: return Errno::Timedout;
    default: return Errno::Io;
  }
}

}  // namespace barecell::wasi
