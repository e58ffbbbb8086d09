#include "host_io.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace barecell::wasi {
namespace {

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

size_t bytes_of(std::span<iovec> pieces) noexcept {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

}  // namespace

ssize_t read_pieces(int fd, std::span<iovec> pieces, int64_t offset, int flags) noexcept {
  ssize_t bytes = preadv2(fd, pieces.data(), static_cast<int>(pieces.size()), offset, flags);
  return bytes < 0 ? -errno : bytes;
}

ssize_t write_pieces(int fd, std::span<iovec> pieces, int64_t offset, int flags) noexcept {
  WriteSignalsHeld held;
  ssize_t bytes = pwritev2(fd, pieces.data(), static_cast<int>(pieces.size()), offset, flags);
  int error = errno;
  if (bytes < static_cast<ssize_t>(bytes_of(pieces))) held.expect_signal();
  return bytes < 0 ? -error : bytes;
}

int truncate_quietly(int fd, int64_t bytes) noexcept {
  WriteSignalsHeld held;
  int error = ftruncate(fd, bytes) < 0 ? errno : 0;
  if (error != 0) held.expect_signal();
  return error;
}

int allocate_quietly(int fd, int64_t offset, int64_t bytes) noexcept {
  WriteSignalsHeld held;
  int error = fallocate(fd, 0, offset, bytes) < 0 ? errno : 0;
  if (error != 0) held.expect_signal();
  return error;
}

ssize_t receive_pieces(int fd, std::span<iovec> pieces, int flags, bool* truncated) noexcept {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  ssize_t bytes = recvmsg(fd, &message, MSG_DONTWAIT | flags);
  if (truncated != nullptr) *truncated = bytes >= 0 && (message.msg_flags & MSG_TRUNC) != 0;
  return bytes < 0 ? -errno : bytes;
}

ssize_t send_pieces(int fd, std::span<iovec> pieces) noexcept {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  ssize_t bytes = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return bytes < 0 ? -errno : bytes;
}

Gate wait_ready(HostCall& call, int fd, short events, bool nonblocking) noexcept {
  for (;;) {
    int ready = fd < 0 ? call.waiter.wait(-1, 0, 0) : call.waiter.wait(fd, events, nonblocking ? 0 : -1);
    if (ready < 0) return Gate::Stop;
    // Any event will do: if it is an error, the system call says which.
    if (fd < 0 || ready > 0) return Gate::Go;
    if (nonblocking) return Gate::WouldBlock;
  }
}

}  // namespace barecell::wasi
