// The three standard streams, as the host sees them.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../host_call.h"
#include "../owners.h"
#include "types.h"

namespace barecell::wasi {

struct StreamConfig {
  enum class Kind {
    None,     // reads give end of file, writes are discarded (counted)
    Fd,       // a descriptor of the host
    Bytes,    // stdin from memory
    Capture,  // stdout, stderr into memory
  };
  Kind kind = Kind::None;
  int fd = -1;
  std::vector<uint8_t> bytes;
};

struct OutputBudget {
  uint64_t limit = 0;  // captured bytes, both streams together
  uint64_t used = 0;
};

// A guest's list of buffers (iovec), read once and checked as a whole, so that nothing the guest does later changes what is used.
// Buffers may overlap: reads fill them in order, so the last one wins, as with readv(2).
class GuestBuffers {
 public:
  // Like IOV_MAX, which wasi-libc tells programs too. A longer list is served in part (a short count, which POSIX allows) instead
  // of refused, because Rust's standard library passes lists of any length; only if the served part is empty is it EINVAL, as a
  // count of 0 would stop its caller for good.
  static constexpr uint32_t kMaxBuffers = 1024;
  // What Linux transfers at most in one call (MAX_RW_COUNT); it keeps counts positive as a 32-bit ssize_t.
  static constexpr uint64_t kMaxBytes = 0x7ffff000;

  Errno load(LinearMemory& memory, uint32_t list_at, uint32_t count) noexcept;

  // What is left of the bytes that are to be transferred.
  uint64_t left() const noexcept { return left_; }
  // The next at most `limit` bytes, as the kernel wants them. Returns how many entries of `to` are filled.
  size_t next(LinearMemory& memory, uint64_t limit, std::span<iovec> to) const noexcept;
  void advance(uint64_t bytes) noexcept;
  // The next buffer in full, as offset and length; empty at the end.
  Iovec front() const noexcept { return first_ < count_ ? buffers_[first_] : Iovec{}; }

 private:
  Iovec buffers_[kMaxBuffers];  // from first_ to count_: not empty; filled by load()
  size_t first_ = 0;
  size_t count_ = 0;
  uint64_t left_ = 0;
};

// How a transfer ended. `bytes` counts if `action` is Continue and `error` is Success.
struct Transfer {
  HostCallAction action = HostCallAction::Continue;
  Errno error = Errno::Success;
  uint64_t bytes = 0;
};

class Stream {
 public:
  // `number` is 0, 1 or 2. Throws a Failure if the kind does not fit the direction or the descriptor is not open.
  Stream(StreamConfig config, unsigned number);

  bool is_open() const noexcept { return open_; }
  // Only the guest loses it: the descriptor is the host's.
  void close() noexcept { open_ = false; }

  uint64_t rights() const noexcept;
  // $fdflags as this guest set them. They never reach the descriptor: its flags are shared with everybody who has it (the user's
  // shell, for one).
  uint32_t flags() const noexcept { return flags_; }
  void set_flags(uint32_t flags) noexcept { flags_ = flags; }
  Filestat stat() const noexcept;
  // As isatty(3) of wasi-libc wants it, see the definition.
  Filetype filetype() const noexcept;

  // `buffers` holds at least one byte.
  Transfer read(GuestBuffers& buffers, HostCall& call) noexcept;
  // May throw std::bad_alloc (Capture).
  Transfer write(GuestBuffers& buffers, HostCall& call, OutputBudget& budget);

  // The descriptor to wait on; -1 if the stream is always ready.
  int wait_fd() const noexcept { return kind_ == StreamConfig::Kind::Fd && type_ != FdType::Regular ? fd_ : -1; }
  uint64_t readable_bytes() const noexcept;
  // There is an end, and it is reached. Not known of descriptors until they are read.
  bool at_end() const noexcept;

  std::vector<uint8_t> take() noexcept;
  uint64_t total_bytes() const noexcept { return total_bytes_; }

 private:
  enum class FdType { Regular, Socket, Other };

  void inspect_fd();
  Transfer read_fd(GuestBuffers& buffers, HostCall& call) noexcept;
  Transfer write_fd(GuestBuffers& buffers, HostCall& call) noexcept;
  Transfer capture(GuestBuffers& buffers, HostCall& call, OutputBudget& budget);
  bool nonblocking() const noexcept { return (flags_ & kFdflagNonblock) != 0; }
  int transfer_flags() const noexcept;
  bool try_again(ssize_t result) noexcept;
  int transfer_fd() const noexcept { return own_ ? own_.get() : fd_; }

  StreamConfig::Kind kind_;
  unsigned number_;
  bool open_ = true;
  uint32_t flags_ = 0;
  int fd_ = -1;
  FdType type_ = FdType::Other;
  UniqueFd own_;        // see inspect_fd()
  bool nowait_ = true;  // RWF_NOWAIT is worth a try
  std::vector<uint8_t> bytes_;
  size_t position_ = 0;  // in bytes_, for stdin
  uint64_t total_bytes_ = 0;
};

// The host's errno as the guest's.
Errno errno_of_host(int error) noexcept;

}  // namespace barecell::wasi
