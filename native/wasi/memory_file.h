// Open files and directories of a file system in memory.
#pragma once

#include <memory>
#include <string>

#include "descriptor.h"
#include "memory_nodes.h"

namespace barecell::wasi {

class MemoryFile final : public Descriptor {
 public:
  explicit MemoryFile(std::shared_ptr<FileNode> node) : node_(std::move(node)) {}

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
  uint64_t readable_bytes() noexcept override;

 private:
  std::shared_ptr<FileNode> node_;
  uint64_t position_ = 0;
};

class MemoryDirectory final : public Directory {
 public:
  explicit MemoryDirectory(std::shared_ptr<DirectoryNode> node) : node_(std::move(node)) {}
  // A new, empty file system's root.
  static std::shared_ptr<MemoryDirectory> make(std::shared_ptr<MemoryFileSystem> file_system);

  Rights base_rights() const noexcept override;
  Rights inheriting_rights() const noexcept override;
  Errno stat(Filestat* to) noexcept override;
  Errno set_times(const Times& times) noexcept override;

  const void* file_system() const noexcept override { return node_->file_system.get(); }
  bool holds_data() const noexcept override { return !node_->children.empty(); }
  Errno open(const std::string& path, const OpenRequest& request, std::shared_ptr<Descriptor>* to) override;
  Errno stat_path(const std::string& path, bool follow, Filestat* to) override;
  Errno set_times_path(const std::string& path, bool follow, const Times& times) override;
  Errno read_link(const std::string& path, std::string* target) override;
  Errno create_directory(const std::string& path) override;
  Errno create_symlink(const std::string& target, const std::string& path) override;
  Errno link(const std::string& path, bool follow, Directory& to, const std::string& to_path) override;
  Errno rename(const std::string& path, Directory& to, const std::string& to_path) override;
  Errno unlink(const std::string& path) override;
  Errno remove_directory(const std::string& path) override;
  Transfer list(uint64_t cookie, EntrySink& sink, HostCall& call) override;

 private:
  std::shared_ptr<DirectoryNode> node_;
};

void set_node_times(MemoryNode& node, const Times& times) noexcept;

}  // namespace barecell::wasi
