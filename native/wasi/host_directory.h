// Directories of the host.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>

#include "../owners.h"
#include "descriptor.h"
#include "limits.h"

namespace barecell::wasi {

// One directory that the host handed in, and what all that is opened below it shares.
struct HostRoot {
  UniqueFd fd;
  bool read_only;
  unsigned max_depth;
  WriteBudget& budget;
};

class HostDirectory final : public Directory {
 public:
  HostDirectory(UniqueFd fd, std::shared_ptr<HostRoot> root) : fd_(std::move(fd)), root_(std::move(root)) {}

  // Throws a Failure if `path` cannot be opened, or is no directory.
  static std::shared_ptr<HostDirectory> hand_in(const std::string& path, bool read_only, unsigned max_depth, WriteBudget& budget);

  Rights base_rights() const noexcept override;
  Rights inheriting_rights() const noexcept override;
  Errno stat(Filestat* to) noexcept override;
  Errno set_times(const Times& times) noexcept override;
  Errno sync(bool only_data) noexcept override;

  const void* file_system() const noexcept override;
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
  Errno find(const std::string& path, bool follow, UniqueFd* to, struct stat* status) const;
  Errno open_found(UniqueFd fd, const OpenRequest& request, std::shared_ptr<Descriptor>* to) const;
  bool read_only() const noexcept { return root_->read_only; }

  UniqueFd fd_;
  std::shared_ptr<HostRoot> root_;
};

}  // namespace barecell::wasi
