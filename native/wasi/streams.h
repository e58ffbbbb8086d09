// The three standard streams, as the host sees them.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "../host_call.h"
#include "../owners.h"
#include "descriptor.h"
#include "guest_pipe.h"
#include "host_io.h"

namespace barecell::wasi {

struct StreamConfig {
  enum class Kind {
    None,     // reads give end of file, writes are discarded (counted)
    Fd,       // a descriptor of the host
    Bytes,    // stdin from memory
    Capture,  // stdout, stderr into memory
    Pipe,     // to or from the host's own streams
  };
  Kind kind = Kind::None;
  int fd = -1;
  std::vector<uint8_t> bytes;
  std::shared_ptr<GuestPipe> pipe = nullptr;  // two streams may have the same one
};

struct OutputBudget {
  uint64_t limit = 0;  // captured bytes, both streams together
  uint64_t used = 0;

  // The limit may have been lowered meanwhile.
  uint64_t left() const noexcept { return used < limit ? limit - used : 0; }
};

class Stream final : public Descriptor {
 public:
  // `number` is 0, 1 or 2; `budget` is for Capture. Throws a Failure if the kind does not fit the direction or the descriptor is not
  // open. The descriptor stays the host's: a guest that closes the stream only loses it.
  Stream(StreamConfig config, unsigned number, OutputBudget& budget);

  Rights base_rights() const noexcept override;
  // As isatty(3) of wasi-libc wants it, see the definition.
  Filetype filetype() const noexcept override;
  Errno stat(Filestat* to) noexcept override;
  Errno set_flags(uint32_t flags) noexcept override;

  Transfer read(GuestBuffers& buffers, HostCall& call) override;
  // Of bytes in memory. A descriptor's offset is shared with the host.
  Peeked peek(std::span<uint8_t> to) noexcept override;
  void skip(uint32_t bytes) noexcept override { position_ += bytes; }
  Transfer write(GuestBuffers& buffers, HostCall& call) override;
  Keep keep() const noexcept override;
  HostCallAction write_kept(GuestBuffers& buffers, HostCall& call) override;
  // Streams cannot be moved in, whatever they are on the host: its offset is shared with others. They lack the rights too, but
  // ESPIPE is what programs ask for to fall back to plain reading (wasi-libc makes it of ENOTCAPABLE; Zig's library does not).
  Errno unseekable() const noexcept override { return Errno::Spipe; }

  void will_read() noexcept override {
    if (pipe_ && number_ == 0) pipe_->asked();
  }
  int wait_fd() const noexcept override { return kind_ == StreamConfig::Kind::Fd && type_ != FdType::Regular ? fd_ : -1; }
  uint64_t readable_bytes() noexcept override;
  bool at_end() const noexcept override;

  // Gives back what it holds of the host's, when the guest will not be called again. What was captured stays.
  void close() noexcept;

  std::vector<uint8_t> take() noexcept;
  // As when the guest had not used it yet. What is on the other side of a descriptor of the host's is not the stream's.
  void restart() noexcept;
  uint64_t total_bytes() const noexcept { return total_bytes_; }

 private:
  enum class FdType { Regular, Socket, Other };

  void inspect_fd();
  static Keep keep_of(int fd, const struct stat& status) noexcept;
  Transfer read_fd(GuestBuffers& buffers, HostCall& call) noexcept;
  Transfer write_fd(GuestBuffers& buffers, HostCall& call) noexcept;
  Transfer capture(GuestBuffers& buffers, HostCall& call);
  ssize_t receive(std::span<iovec> pieces) noexcept;
  ssize_t send(std::span<iovec> pieces) noexcept;
  bool nonblocking() const noexcept { return has_flag(kFdflagNonblock); }
  int transfer_flags() const noexcept;
  bool try_again(ssize_t result) noexcept;
  int transfer_fd() const noexcept { return own_ ? own_.get() : fd_; }
  // The description behind it is nobody else's, and non-blocking.
  bool is_own() const noexcept { return own_ || pipe_; }

  StreamConfig::Kind kind_;
  unsigned number_;
  OutputBudget& budget_;
  int fd_ = -1;
  FdType type_ = FdType::Other;
  UniqueFd own_;        // see inspect_fd()
  std::shared_ptr<GuestPipe> pipe_;
  bool nowait_ = true;  // RWF_NOWAIT is worth a try
  std::vector<uint8_t> bytes_;
  size_t position_ = 0;  // in bytes_, for stdin
  uint64_t total_bytes_ = 0;
  Keep fd_keep_ = Keep::Nothing;       // of an Fd
  Errno late_error_ = Errno::Success;  // of write_kept()
};

}  // namespace barecell::wasi
