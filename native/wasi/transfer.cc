// Moving bytes between a guest's buffers and the descriptor behind a standard stream.
#include <poll.h>
#include <sys/uio.h>

#include <cerrno>

#include "host_io.h"
#include "streams.h"

namespace barecell::wasi {

int Stream::transfer_flags() const noexcept { return type_ == FdType::Other && !is_own() && nowait_ ? RWF_NOWAIT : 0; }

ssize_t Stream::receive(std::span<iovec> pieces) noexcept {
  if (type_ == FdType::Socket) return receive_pieces(transfer_fd(), pieces, 0, nullptr);
  return read_pieces(transfer_fd(), pieces, -1, transfer_flags());
}

ssize_t Stream::send(std::span<iovec> pieces) noexcept {
  if (type_ == FdType::Socket) return send_pieces(transfer_fd(), pieces);
  return write_pieces(transfer_fd(), pieces, -1, transfer_flags());
}

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
  will_read();
  for (;;) {
    Gate gate = wait_ready(call, wait_fd(), POLLIN, nonblocking());
    if (gate == Gate::Stop) return {HostCallAction::Interrupted};
    if (gate == Gate::WouldBlock) return {HostCallAction::Continue, Errno::Again};
    iovec pieces[kPieceBuffers];
    size_t count = buffers.next(call.memory, kPieceBytes, pieces);
    ssize_t bytes = receive({pieces, count});
    if (bytes > 0 && pipe_) pipe_->moved();
    if (bytes == 0 && pipe_) pipe_->told_end();
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
    bool may_block = type_ == FdType::Other && !is_own() && !nowait_;
    iovec pieces[kPieceBuffers];
    size_t count = buffers.next(call.memory, may_block ? kBlockingPieceBytes : kPieceBytes, pieces);
    ssize_t bytes = send({pieces, count});
    if (bytes > 0) {
      result.bytes += static_cast<uint64_t>(bytes);
      buffers.advance(static_cast<uint64_t>(bytes));
      if (pipe_) pipe_->moved();
    } else if (!try_again(bytes)) {
      // Nothing written without an error should not be; better an error than a loop.
      result.error = bytes == 0 ? Errno::Io : errno_of_host(static_cast<int>(-bytes));
      break;
    }
  }
  if (result.bytes > 0) result.error = Errno::Success;
  return result;
}

}  // namespace barecell::wasi
