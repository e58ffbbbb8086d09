// The system calls that move bytes between linear memory and a descriptor of the host, made so that they neither block nor raise a
// signal. The kernel copies directly from and to linear memory.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "../host_call.h"
#include "types.h"

namespace barecell::wasi {

constexpr size_t kPieceBuffers = 64;
// In one system call, where it cannot block: small enough that a look at whether to stop between two of them comes soon.
constexpr uint64_t kPieceBytes = 1 << 20;
// In one system call that may block, after readiness: a pipe that polls as writable has room for this much (PIPE_BUF).
constexpr uint64_t kBlockingPieceBytes = 4096;

// All four return the negated errno on failure. `flags` are those of preadv2(2), and offset -1 makes it readv(2).
ssize_t read_pieces(int fd, std::span<iovec> pieces, int64_t offset, int flags) noexcept;
ssize_t write_pieces(int fd, std::span<iovec> pieces, int64_t offset, int flags) noexcept;
// For sockets. `flags` are those of recvmsg(2), besides MSG_DONTWAIT; `truncated` may be null.
ssize_t receive_pieces(int fd, std::span<iovec> pieces, int flags, bool* truncated) noexcept;
ssize_t send_pieces(int fd, std::span<iovec> pieces) noexcept;

// ftruncate(2) and fallocate(2), which raise SIGXFSZ as writing does. Both return the errno, 0 for none.
int truncate_quietly(int fd, int64_t bytes) noexcept;
int allocate_quietly(int fd, int64_t offset, int64_t bytes) noexcept;

// Before each system call: waits until the descriptor is ready, or only asks whether to stop where waiting is of no use (fd -1).
enum class Gate { Go, WouldBlock, Stop };
Gate wait_ready(HostCall& call, int fd, short events, bool nonblocking) noexcept;

// The host's errno as the guest's.
Errno errno_of_host(int error) noexcept;

}  // namespace barecell::wasi
