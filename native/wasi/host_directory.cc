#include "host_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "../failure.h"
#include "host_file.h"
#include "host_io.h"
#include "host_path.h"
#include "host_stat.h"
#include "rights.h"

namespace barecell::wasi {
namespace {

// What a grant of a directory includes. Devices, named pipes and sockets are doors to something else: opening one can wait, or do
// anything.
bool granted_type(mode_t mode) noexcept { return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode); }

int access_mode(const OpenRequest& request) noexcept {
  if (request.write || request.truncate) return request.read ? O_RDWR : O_WRONLY;
  return O_RDONLY;
}

}  // namespace

std::shared_ptr<HostDirectory> HostDirectory::hand_in(const std::string& path, bool read_only, unsigned max_depth, WriteBudget& budget) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw Failure("BARECELL_PREOPEN_FAILED", "the directory '" + path + "' cannot be opened: " + std::strerror(errno));
  // Not by the path again, which may have changed.
  UniqueFd root(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!root) throw Failure("BARECELL_PREOPEN_FAILED", "the directory '" + path + "' cannot be opened: " + std::strerror(errno));
  auto shared = std::make_shared<HostRoot>(HostRoot{std::move(root), read_only, max_depth, budget});
  return std::make_shared<HostDirectory>(std::move(fd), std::move(shared));
}

Rights HostDirectory::base_rights() const noexcept { return kDirectoryRights; }
Rights HostDirectory::inheriting_rights() const noexcept { return kInheritedRights; }

// All of them: whether a link or a move between two directories is possible is for the kernel to say.
const void* HostDirectory::file_system() const noexcept {
  static const char kHost = 0;
  return &kHost;
}

Errno HostDirectory::stat(Filestat* to) noexcept {
  struct stat status{};
  if (fstat(fd_.get(), &status) < 0) return errno_of_host(errno);
  *to = filestat_of_host(status);
  return Errno::Success;
}

Errno HostDirectory::set_times(const Times& times) noexcept {
  if (read_only()) return Errno::Rofs;
  timespec host[2];
  host_times(times, host);
  return futimens(fd_.get(), host) < 0 ? errno_of_host(errno) : Errno::Success;
}

Errno HostDirectory::sync(bool) noexcept { return fsync(fd_.get()) < 0 ? errno_of_host(errno) : Errno::Success; }

// A handle on whatever the path names, without opening it.
Errno HostDirectory::find(const std::string& path, bool follow, UniqueFd* to, struct stat* status) const {
  Errno error = open_beneath(fd_.get(), path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0, to);
  if (error != Errno::Success) return error;
  return fstat(to->get(), status) < 0 ? errno_of_host(errno) : Errno::Success;
}

// First a look without opening, so that no device or pipe is opened but by the rarest race (somebody on the host puts one in the
// file's place between the two calls), and even then it does not wait and is closed at once.
Errno HostDirectory::open(const std::string& path, const OpenRequest& request, std::shared_ptr<Descriptor>* to) {
  UniqueFd found;
  struct stat status{};
  Errno error = find(path, request.follow, &found, &status);
  int flags = request.follow ? 0 : O_NOFOLLOW;
  if (error == Errno::Noent && request.create) {
    if (read_only()) return Errno::Rofs;
    if (!root_->budget.take(WriteBudget::kNameBytes)) return Errno::Dquot;
    UniqueFd fd;
    flags |= access_mode(request) | O_CREAT | (request.exclusive ? O_EXCL : 0);
    error = open_beneath(fd_.get(), path, flags, 0666, &fd);
    if (error != Errno::Success) {
      root_->budget.give_back(WriteBudget::kNameBytes);
      return error;
    }
    return open_found(std::move(fd), request, to);
  }
  if (error != Errno::Success) return error;
  if (!granted_type(status.st_mode)) return Errno::Notcapable;
  if (request.create && request.exclusive) return Errno::Exist;
  // A symbolic link that is not followed; POSIX has ELOOP for it, but ENOTDIR where a directory is asked for.
  if (S_ISLNK(status.st_mode)) return request.directory ? Errno::Notdir : Errno::Loop;
  if (S_ISDIR(status.st_mode)) {
    if (request.create || request.truncate || request.write) return Errno::Isdir;
    flags |= O_RDONLY | O_DIRECTORY;
  } else {
    if (request.directory) return Errno::Notdir;
    if (read_only() && (request.write || request.truncate)) return Errno::Rofs;
    flags |= access_mode(request);
  }
  UniqueFd fd;
  error = open_beneath(fd_.get(), path, flags, 0, &fd);
  return error == Errno::Success ? open_found(std::move(fd), request, to) : error;
}

// The second look, at what was opened.
Errno HostDirectory::open_found(UniqueFd fd, const OpenRequest& request, std::shared_ptr<Descriptor>* to) const {
  struct stat status{};
  if (fstat(fd.get(), &status) < 0) return errno_of_host(errno);
  if (S_ISDIR(status.st_mode)) {
    *to = std::make_shared<HostDirectory>(std::move(fd), root_);
    return Errno::Success;
  }
  if (!S_ISREG(status.st_mode)) return Errno::Notcapable;
  if (request.directory) return Errno::Notdir;
  if (request.truncate && status.st_size > 0) {
    // Only now: O_TRUNC would have been done before anybody looked.
    if (int error = truncate_quietly(fd.get(), 0); error != 0) return errno_of_host(error);
  }
  auto file = std::make_shared<HostFile>(std::move(fd), read_only(), root_->budget);
  file->set_flags(request.flags);
  *to = std::move(file);
  return Errno::Success;
}

Errno HostDirectory::stat_path(const std::string& path, bool follow, Filestat* to) {
  UniqueFd found;
  struct stat status{};
  Errno error = find(path, follow, &found, &status);
  if (error == Errno::Success) *to = filestat_of_host(status);
  return error;
}

Errno HostDirectory::set_times_path(const std::string& path, bool follow, const Times& times) {
  if (read_only()) return Errno::Rofs;
  UniqueFd found;
  struct stat status{};
  Errno error = find(path, follow, &found, &status);
  if (error != Errno::Success) return error;
  if (!granted_type(status.st_mode)) return Errno::Notcapable;
  timespec host[2];
  host_times(times, host);
  return utimensat(found.get(), "", host, AT_EMPTY_PATH) < 0 ? errno_of_host(errno) : Errno::Success;
}

Errno HostDirectory::read_link(const std::string& path, std::string* target) {
  UniqueFd found;
  struct stat status{};
  Errno error = find(path, false, &found, &status);
  if (error != Errno::Success) return error;
  if (!S_ISLNK(status.st_mode)) return Errno::Inval;
  target->resize(kMaxPathBytes);
  ssize_t bytes = readlinkat(found.get(), "", target->data(), target->size());
  if (bytes < 0) return errno_of_host(errno);
  target->resize(static_cast<size_t>(bytes));
  return Errno::Success;
}

Errno HostDirectory::create_directory(const std::string& path) {
  if (read_only()) return Errno::Rofs;
  Parent parent;
  Errno error = open_parent(fd_.get(), path, Errno::Exist, Errno::Exist, &parent);
  if (error != Errno::Success) return error;
  // The path from the preopened directory would be too long: deep trees cost everybody who walks them later.
  if (depth_below(root_->fd.get(), parent.fd, root_->max_depth) >= root_->max_depth) return Errno::Nametoolong;
  if (!root_->budget.take(WriteBudget::kNameBytes)) return Errno::Dquot;
  if (mkdirat(parent.fd, parent.name.c_str(), 0777) == 0) return Errno::Success;
  root_->budget.give_back(WriteBudget::kNameBytes);
  return errno_of_host(errno);
}

// A target that is absolute could never be followed by a guest; whoever follows it is somebody else, who must not be led astray.
Errno HostDirectory::create_symlink(const std::string& target, const std::string& path) {
  if (read_only()) return Errno::Rofs;
  if (target.starts_with('/')) return Errno::Notcapable;
  Parent parent;
  Errno error = open_parent(fd_.get(), path, Errno::Exist, Errno::Exist, &parent);
  if (error != Errno::Success) return error;
  if (!root_->budget.take(WriteBudget::kNameBytes)) return Errno::Dquot;
  if (symlinkat(target.c_str(), parent.fd, parent.name.c_str()) == 0) return Errno::Success;
  root_->budget.give_back(WriteBudget::kNameBytes);
  return errno_of_host(errno);
}

Errno HostDirectory::link(const std::string& path, bool follow, Directory& to, const std::string& to_path) {
  auto& other = static_cast<HostDirectory&>(to);
  if (read_only() || other.read_only()) return Errno::Rofs;
  UniqueFd found;
  struct stat status{};
  Errno error = find(path, follow, &found, &status);
  if (error != Errno::Success) return error;
  if (S_ISDIR(status.st_mode)) return Errno::Perm;
  if (!granted_type(status.st_mode)) return Errno::Notcapable;
  Parent parent;
  error = open_parent(other.fd_.get(), to_path, Errno::Exist, Errno::Exist, &parent);
  if (error != Errno::Success) return error;
  if (!other.root_->budget.take(WriteBudget::kNameBytes)) return Errno::Dquot;
  // By the handle, so that what was looked at is what gets the name. Kernels before 6.10 want a capability for this; the way over
  // /proc is theirs for everybody else.
  int result = linkat(found.get(), "", parent.fd, parent.name.c_str(), AT_EMPTY_PATH);
  if (result < 0 && (errno == ENOENT || errno == EPERM)) {
    char handle[32];
    std::snprintf(handle, sizeof handle, "/proc/self/fd/%d", found.get());
    result = linkat(AT_FDCWD, handle, parent.fd, parent.name.c_str(), AT_SYMLINK_FOLLOW);
  }
  if (result == 0) return Errno::Success;
  other.root_->budget.give_back(WriteBudget::kNameBytes);
  return errno_of_host(errno);
}

Errno HostDirectory::rename(const std::string& path, Directory& to, const std::string& to_path) {
  auto& other = static_cast<HostDirectory&>(to);
  if (read_only() || other.read_only()) return Errno::Rofs;
  Parent from, target;
  Errno error = open_parent(fd_.get(), path, Errno::Busy, Errno::Busy, &from);
  if (error == Errno::Success) error = open_parent(other.fd_.get(), to_path, Errno::Busy, Errno::Busy, &target);
  if (error != Errno::Success) return error;
  struct stat status{};
  // Without the slash at its end, which would follow a link.
  std::string name = from.name.substr(0, from.name.find('/'));
  if (fstatat(from.fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return errno_of_host(errno);
  if (S_ISDIR(status.st_mode)) {
    unsigned limit = other.root_->max_depth;
    if (depth_below(other.root_->fd.get(), target.fd, limit) >= limit) return Errno::Nametoolong;
  }
  return renameat(from.fd, from.name.c_str(), target.fd, target.name.c_str()) < 0 ? errno_of_host(errno) : Errno::Success;
}

Errno HostDirectory::unlink(const std::string& path) {
  if (read_only()) return Errno::Rofs;
  Parent parent;
  Errno error = open_parent(fd_.get(), path, Errno::Isdir, Errno::Isdir, &parent);
  if (error != Errno::Success) return error;
  return unlinkat(parent.fd, parent.name.c_str(), 0) < 0 ? errno_of_host(errno) : Errno::Success;
}

Errno HostDirectory::remove_directory(const std::string& path) {
  if (read_only()) return Errno::Rofs;
  Parent parent;
  Errno error = open_parent(fd_.get(), path, Errno::Inval, Errno::Notempty, &parent);
  if (error != Errno::Success) return error;
  return unlinkat(parent.fd, parent.name.c_str(), AT_REMOVEDIR) < 0 ? errno_of_host(errno) : Errno::Success;
}

}  // namespace barecell::wasi
