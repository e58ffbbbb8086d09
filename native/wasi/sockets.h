// Sockets: listening ones that the host hands in, and the connections that a guest accepts from them.
#pragma once

#include <memory>

#include "../owners.h"
#include "descriptor.h"
#include "host_io.h"

namespace barecell::wasi {

class Socket : public Descriptor {
 public:
  Socket(UniqueFd fd, Filetype type) : fd_(std::move(fd)), type_(type) {}

  Filetype filetype() const noexcept override { return type_; }
  Errno stat(Filestat* to) noexcept override;
  Errno set_flags(uint32_t flags) noexcept override;
  Errno unseekable() const noexcept override { return Errno::Spipe; }
  int wait_fd() const noexcept override { return fd_.get(); }
  Socket* as_socket() noexcept override { return this; }

  virtual Transfer accept(uint32_t, HostCall&, std::shared_ptr<Descriptor>*) { return failed_with(Errno::Notsup); }
  virtual Transfer receive(GuestBuffers&, uint32_t, bool*, HostCall&) { return failed_with(Errno::Notconn); }
  virtual Errno shutdown(uint32_t) noexcept { return Errno::Notconn; }

  // A socket that the host hands in. It gets a descriptor of its own, so the host may close its. Throws a Failure if it is none, or
  // cannot be made not to block.
  static std::shared_ptr<Socket> hand_in(int fd);

 protected:
  UniqueFd fd_;

 private:
  Filetype type_;
};

class Listener final : public Socket {
 public:
  using Socket::Socket;
  Rights base_rights() const noexcept override;
  Rights inheriting_rights() const noexcept override;
  Transfer read(GuestBuffers&, HostCall&) override { return failed_with(Errno::Notconn); }
  Transfer accept(uint32_t flags, HostCall& call, std::shared_ptr<Descriptor>* to) override;
};

class Connection final : public Socket {
 public:
  using Socket::Socket;
  Rights base_rights() const noexcept override;
  Transfer read(GuestBuffers& buffers, HostCall& call) override;
  Transfer write(GuestBuffers& buffers, HostCall& call) override;
  // `flags`: $riflags
  Transfer receive(GuestBuffers& buffers, uint32_t flags, bool* truncated, HostCall& call) override;
  Errno shutdown(uint32_t how) noexcept override;
  uint64_t readable_bytes() noexcept override;
};

}  // namespace barecell::wasi
