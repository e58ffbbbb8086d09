// Regular files of the host.
#pragma once

#include "../owners.h"
#include "descriptor.h"
#include "limits.h"

namespace barecell::wasi {

class HostFile final : public Descriptor {
 public:
  // `fd` was opened for what the guest's rights will allow; `budget` outlives the file.
  HostFile(UniqueFd fd, bool read_only, WriteBudget& budget) : fd_(std::move(fd)), read_only_(read_only), budget_(budget) {}

  Rights base_rights() const noexcept override;
  Filetype filetype() const noexcept override { return Filetype::RegularFile; }
  Errno stat(Filestat* to) noexcept override;
  Transfer read(GuestBuffers& buffers, HostCall& call) override;
  Peeked peek(std::span<uint8_t> to) noexcept override;
  void skip(uint32_t bytes) noexcept override;
  Transfer write(GuestBuffers& buffers, HostCall& call) override;
  Transfer read_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) override;
  Transfer write_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) override;
  Errno seek(int64_t offset, Whence whence, uint64_t* result) noexcept override;
  Errno allocate(uint64_t offset, uint64_t bytes, HostCall& call) override;
  Errno set_size(uint64_t bytes) override;
  Errno set_times(const Times& times) noexcept override;
  Errno sync(bool only_data) noexcept override;
  uint64_t readable_bytes() noexcept override;

 private:
  Transfer read_from(GuestBuffers& buffers, int64_t offset, HostCall& call);
  Transfer write_to(GuestBuffers& buffers, int64_t offset, HostCall& call);
  Errno charge_write(int64_t offset, uint64_t bytes) noexcept;

  UniqueFd fd_;
  bool read_only_;
  WriteBudget& budget_;
};

// For the host's utimensat(2).
void host_times(const Times& times, timespec (&to)[2]) noexcept;

}  // namespace barecell::wasi
