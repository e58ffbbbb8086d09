// Open files and directories of an image's bundle. All of it is read only (EROFS), and there are no symbolic links.
#pragma once

#include <memory>
#include <string>

#include "bundle.h"
#include "descriptor.h"

namespace barecell::wasi {

class BundleFile final : public Descriptor {
 public:
  BundleFile(std::shared_ptr<const Bundle> bundle, const Bundle::Node& node) : bundle_(std::move(bundle)), node_(node) {}

  Rights base_rights() const noexcept override;
  Filetype filetype() const noexcept override { return Filetype::RegularFile; }
  Errno stat(Filestat* to) noexcept override;
  Transfer read(GuestBuffers& buffers, HostCall& call) override;
  Peeked peek(std::span<uint8_t> to) noexcept override;
  void skip(uint32_t bytes) noexcept override { position_ += bytes; }
  Transfer write(GuestBuffers&, HostCall&) override { return failed_with(Errno::Rofs); }
  Transfer read_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) override;
  Transfer write_at(GuestBuffers&, uint64_t, HostCall&) override { return failed_with(Errno::Rofs); }
  Errno seek(int64_t offset, Whence whence, uint64_t* result) noexcept override;
  Errno allocate(uint64_t, uint64_t, HostCall&) override { return Errno::Rofs; }
  Errno set_size(uint64_t) override { return Errno::Rofs; }
  Errno set_times(const Times&) noexcept override { return Errno::Rofs; }
  uint64_t readable_bytes() noexcept override;

 private:
  std::shared_ptr<const Bundle> bundle_;
  const Bundle::Node& node_;
  uint64_t position_ = 0;
};

class BundleDirectory final : public Directory {
 public:
  BundleDirectory(std::shared_ptr<const Bundle> bundle, const Bundle::Node& node) : bundle_(std::move(bundle)), node_(node) {}
  // `root` is less than the bundle's root_count.
  static std::shared_ptr<BundleDirectory> make(std::shared_ptr<const Bundle> bundle, uint32_t root);

  Rights base_rights() const noexcept override;
  Rights inheriting_rights() const noexcept override;
  Errno stat(Filestat* to) noexcept override;
  Errno set_times(const Times&) noexcept override { return Errno::Rofs; }

  const void* file_system() const noexcept override { return bundle_.get(); }
  Errno open(const std::string& path, const OpenRequest& request, std::shared_ptr<Descriptor>* to) override;
  Errno stat_path(const std::string& path, bool follow, Filestat* to) override;
  Errno set_times_path(const std::string&, bool, const Times&) override { return Errno::Rofs; }
  Errno read_link(const std::string& path, std::string* target) override;
  Errno create_directory(const std::string&) override { return Errno::Rofs; }
  Errno create_symlink(const std::string&, const std::string&) override { return Errno::Rofs; }
  Errno link(const std::string&, bool, Directory&, const std::string&) override { return Errno::Rofs; }
  Errno rename(const std::string&, Directory&, const std::string&) override { return Errno::Rofs; }
  Errno unlink(const std::string&) override { return Errno::Rofs; }
  Errno remove_directory(const std::string&) override { return Errno::Rofs; }
  Transfer list(uint64_t cookie, EntrySink& sink, HostCall& call) override;

 private:
  Errno resolve(std::string_view path, const Bundle::Node** to) const noexcept;

  std::shared_ptr<const Bundle> bundle_;
  const Bundle::Node& node_;
};

}  // namespace barecell::wasi
