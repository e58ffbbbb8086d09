#include "sockets.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "../failure.h"
#include "rights.h"

namespace barecell::wasi {

std::shared_ptr<Socket> Socket::hand_in(int fd) {
  std::string name = "socket descriptor " + std::to_string(fd);
  int type = 0, listening = 0;
  socklen_t size = sizeof type, listening_size = sizeof listening;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) {
    throw Failure("BARECELL_ARGUMENT_INVALID", name + " is not an open socket");
  }
  bool is_listener = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &listening_size) == 0 && listening != 0;
  UniqueFd own(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!own) fail_errno("BARECELL_ARGUMENT_INVALID", name + " cannot be kept");
  if (!is_listener) {
    auto filetype = type == SOCK_DGRAM ? Filetype::SocketDgram : Filetype::SocketStream;
    return std::make_shared<Connection>(std::move(own), filetype);
  }
  // Another process may take the connection that a wait promised, and accept(2), unlike receiving and sending, has no flag for not
  // waiting then. The flag belongs to the socket, so the host sees it too; Node's own sockets have it anyway.
  int flags = fcntl(own.get(), F_GETFL);
  if (flags < 0 || fcntl(own.get(), F_SETFL, flags | O_NONBLOCK) < 0) fail_errno("BARECELL_ARGUMENT_INVALID", name + " cannot be made non-blocking");
  return std::make_shared<Listener>(std::move(own), Filetype::SocketStream);
}

// What a socket is on the host, its inode for one, is nothing that a guest was granted.
Errno Socket::stat(Filestat* to) noexcept {
  *to = {};
  to->filetype = static_cast<uint8_t>(type_);
  to->nlink = 1;
  return Errno::Success;
}

// As of streams: NONBLOCK takes effect, synchronous output is not promised.
Errno Socket::set_flags(uint32_t flags) noexcept {
  if ((flags & (kFdflagDsync | kFdflagRsync | kFdflagSync)) != 0) return Errno::Notsup;
  return Descriptor::set_flags(flags);
}

Rights Listener::base_rights() const noexcept { return kListenerRights; }
Rights Listener::inheriting_rights() const noexcept { return kConnectionRights; }

Transfer Listener::accept(uint32_t flags, HostCall& call, std::shared_ptr<Descriptor>* to) {
  for (;;) {
    Gate gate = wait_ready(call, fd_.get(), POLLIN, has_flag(kFdflagNonblock));
    if (gate == Gate::Stop) return {HostCallAction::Interrupted};
    if (gate == Gate::WouldBlock) return failed_with(Errno::Again);
    UniqueFd fd(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      auto connection = std::make_shared<Connection>(std::move(fd), Filetype::SocketStream);
      connection->set_flags(flags);
      *to = std::move(connection);
      return {};
    }
    // A connection that went away before it was taken is no error of the listening socket.
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) return failed_with(errno_of_host(errno));
  }
}

Rights Connection::base_rights() const noexcept { return kConnectionRights; }

Transfer Connection::read(GuestBuffers& buffers, HostCall& call) { return receive(buffers, 0, nullptr, call); }

Transfer Connection::receive(GuestBuffers& buffers, uint32_t flags, bool* truncated, HostCall& call) {
  bool peek = (flags & kRiflagPeek) != 0;
  // To wait for all and leave it there could wait for ever for what the socket has no room for.
  bool all = (flags & kRiflagWaitall) != 0 && !peek && filetype() == Filetype::SocketStream;
  Transfer result;
  do {
    Gate gate = wait_ready(call, fd_.get(), POLLIN, has_flag(kFdflagNonblock));
    if (gate == Gate::Stop) return {HostCallAction::Interrupted};
    if (gate == Gate::WouldBlock) {
      result.error = Errno::Again;
      break;
    }
    iovec pieces[kPieceBuffers];
    size_t count = buffers.next(call.memory, kPieceBytes, pieces);
    ssize_t bytes = receive_pieces(fd_.get(), {pieces, count}, peek ? MSG_PEEK : 0, truncated);
    if (bytes == -EINTR || bytes == -EAGAIN) continue;
    if (bytes < 0) result.error = errno_of_host(static_cast<int>(-bytes));
    if (bytes <= 0) break;
    result.bytes += static_cast<uint64_t>(bytes);
    buffers.advance(static_cast<uint64_t>(bytes));
    if (!all) break;
  } while (buffers.left() > 0);
  if (result.bytes > 0) result.error = Errno::Success;
  return result;
}

// All of it, as of streams.
Transfer Connection::write(GuestBuffers& buffers, HostCall& call) {
  Transfer result;
  while (buffers.left() > 0) {
    Gate gate = wait_ready(call, fd_.get(), POLLOUT, has_flag(kFdflagNonblock));
    if (gate == Gate::Stop) {
      result.action = HostCallAction::Interrupted;
      return result;
    }
    if (gate == Gate::WouldBlock) {
      result.error = Errno::Again;
      break;
    }
    iovec pieces[kPieceBuffers];
    size_t count = buffers.next(call.memory, kPieceBytes, pieces);
    ssize_t bytes = send_pieces(fd_.get(), {pieces, count});
    if (bytes == -EINTR || bytes == -EAGAIN) continue;
    if (bytes <= 0) {
      result.error = bytes == 0 ? Errno::Io : errno_of_host(static_cast<int>(-bytes));
      break;
    }
    result.bytes += static_cast<uint64_t>(bytes);
    buffers.advance(static_cast<uint64_t>(bytes));
  }
  if (result.bytes > 0) result.error = Errno::Success;
  return result;
}

Errno Connection::shutdown(uint32_t how) noexcept {
  int host = how == kSdflagRd ? SHUT_RD : how == kSdflagWr ? SHUT_WR : SHUT_RDWR;
  return ::shutdown(fd_.get(), host) < 0 ? errno_of_host(errno) : Errno::Success;
}

uint64_t Connection::readable_bytes() noexcept {
  int bytes = 0;
  return ioctl(fd_.get(), FIONREAD, &bytes) == 0 && bytes > 0 ? static_cast<uint64_t>(bytes) : 0;
}

}  // namespace barecell::wasi
