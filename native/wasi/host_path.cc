#include "host_path.h"

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <vector>

#include "host_io.h"

namespace barecell::wasi {
namespace {

// Of symbolic links in one resolution, as the kernel has it.
constexpr int kMaxLinks = 40;
// Of directories on the way down, each of which costs a descriptor for as long as the walk lasts.
constexpr size_t kMaxWalkDepth = 512;
// openat2 gives EAGAIN when something was renamed while it looked at a `..`. After so many times the walk by component, which
// holds every directory on its way, goes on instead.
constexpr int kAttempts = 32;

constexpr int kAlways = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

std::atomic<bool> always_walk{false};

// O_PATH opens nothing that could wait, and openat2 refuses flags that have no meaning beside it.
int complete(int flags) noexcept { return flags | ((flags & O_PATH) != 0 ? O_CLOEXEC : kAlways); }

int kernel_open(int directory, const char* path, int flags, mode_t mode) noexcept {
  open_how how{};
  how.flags = static_cast<uint64_t>(complete(flags));
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long fd = syscall(SYS_openat2, directory, path, &how, sizeof how);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

// Container runtimes that do not know a system call make it EPERM rather than ENOSYS, so the answer for a path that cannot fail
// decides.
bool has_openat2() noexcept {
  static const bool has = [] {
    UniqueFd fd(kernel_open(AT_FDCWD, ".", O_PATH, 0));
    return static_cast<bool>(fd);
  }();
  return has && !always_walk.load(std::memory_order_relaxed);
}

// The same in user space: one component at a time, none of them followed by the kernel, and `..` taken from the descriptors of the
// way down rather than from the file system.
class Walk {
 public:
  Walk(int directory, std::string path) : root_(directory), rest_(std::move(path)) {}

  int open(int flags, mode_t mode) {
    if (rest_.empty()) return -ENOENT;
    while (int error = step(flags, mode)) {
      if (error != kGoOn) return error;
    }
    return result_;
  }

 private:
  static constexpr int kGoOn = 1;

  int current() const noexcept { return way_.empty() ? root_ : way_.back().get(); }

  // 0: done, result_ is the descriptor; kGoOn; or a negated errno.
  int step(int flags, mode_t mode) {
    if (rest_.starts_with('/')) return -EXDEV;
    size_t end = rest_.find('/');
    std::string name = rest_.substr(0, end);
    size_t next = end == std::string::npos ? end : rest_.find_first_not_of('/', end);
    bool last = next == std::string::npos;
    std::string rest = last ? "" : rest_.substr(next);
    bool slash = last && end != std::string::npos;
    if (name == "..") {
      if (way_.empty()) return -EXDEV;
      way_.pop_back();
      return last ? open_here(flags) : go_on(std::move(rest));
    }
    if (name == ".") return last ? open_here(flags) : go_on(std::move(rest));
    UniqueFd found(openat(current(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!found) {
      if (errno == ENOENT && last && !slash && (flags & O_CREAT) != 0) return open_last(name, flags, mode);
      return errno == ENOENT && slash && (flags & O_CREAT) != 0 ? -EISDIR : -errno;
    }
    struct stat status{};
    if (fstat(found.get(), &status) < 0) return -errno;
    bool created_only = (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0;
    bool follow = !last || slash || ((flags & O_NOFOLLOW) == 0 && !created_only);
    if (S_ISLNK(status.st_mode) && follow) return splice(found.get(), last, slash, std::move(rest));
    if (last && !slash) return open_last(name, flags, mode);
    if (!S_ISDIR(status.st_mode)) return -ENOTDIR;
    if (way_.size() >= kMaxWalkDepth) return -ENAMETOOLONG;
    way_.push_back(std::move(found));
    return last ? open_here(flags) : go_on(std::move(rest));
  }

  int go_on(std::string rest) noexcept {
    rest_ = std::move(rest);
    return kGoOn;
  }

  int splice(int link, bool last, bool slash, std::string rest) {
    if (++links_ > kMaxLinks) return -ELOOP;
    char target[kMaxPathBytes];
    ssize_t bytes = readlinkat(link, "", target, sizeof target);
    if (bytes < 0) return -errno;
    if (bytes == 0 || static_cast<size_t>(bytes) >= sizeof target) return bytes == 0 ? -ENOENT : -ENAMETOOLONG;
    std::string path(target, static_cast<size_t>(bytes));
    if (slash) path += '/';
    if (!last) path += "/" + rest;
    if (path.size() >= size_t{2} * kMaxPathBytes) return -ENAMETOOLONG;
    return go_on(std::move(path));
  }

  // What was found is a directory, but may not be what O_CREAT and O_EXCL ask for.
  int open_here(int flags) noexcept {
    if ((flags & O_CREAT) != 0) return (flags & O_EXCL) != 0 ? -EEXIST : -EISDIR;
    return finish(openat(current(), ".", complete(flags)));
  }
  int open_last(const std::string& name, int flags, mode_t mode) noexcept {
    // If it has become a symbolic link meanwhile, this is ELOOP.
    return finish(openat(current(), name.c_str(), complete(flags) | O_NOFOLLOW, mode));
  }
  int finish(int fd) noexcept {
    result_ = fd;
    return fd < 0 ? -errno : 0;
  }

  int root_;
  std::string rest_;
  std::vector<UniqueFd> way_;
  int links_ = 0;
  int result_ = -1;
};

}  // namespace

void walk_by_component(bool always) noexcept { always_walk = always; }

Errno open_beneath(int directory, const std::string& path, int flags, mode_t mode, UniqueFd* to) {
  int fd = -EAGAIN;
  if (has_openat2()) {
    for (int i = 0; i < kAttempts && (fd == -EAGAIN || fd == -EINTR); i++) fd = kernel_open(directory, path.c_str(), flags, mode);
  }
  if (fd == -EAGAIN || fd == -EINTR) fd = Walk(directory, path).open(flags, mode);
  if (fd == -EXDEV) return Errno::Notcapable;
  if (fd < 0) return errno_of_host(-fd);
  *to = UniqueFd(fd);
  return Errno::Success;
}

Errno open_parent(int directory, const std::string& path, Errno dot, Errno dot_dot, Parent* to) {
  SplitPath split = split_path(path);
  // Also for a path that ends in a dot the parent is looked up first: whether it leads outside comes before all else.
  if (split.parent == ".") {
    to->fd = directory;
  } else {
    Errno error = open_beneath(directory, split.parent, O_PATH | O_DIRECTORY, 0, &to->own);
    if (error != Errno::Success) return error;
    to->fd = to->own.get();
  }
  if (split.is_dot) return dot;
  if (split.is_dot_dot) {
    UniqueFd outside;
    Errno error = open_beneath(directory, path, O_PATH | O_DIRECTORY, 0, &outside);
    return error == Errno::Success ? dot_dot : error;
  }
  to->name = std::move(split.last);
  return Errno::Success;
}

unsigned depth_below(int root, int directory, unsigned limit) {
  struct stat top{}, here{};
  UniqueFd own;
  if (fstat(root, &top) < 0) return limit + 1;
  for (unsigned depth = 0; depth <= limit; depth++) {
    int current = own ? own.get() : directory;
    if (fstat(current, &here) < 0) return limit + 1;
    if (here.st_dev == top.st_dev && here.st_ino == top.st_ino) return depth;
    UniqueFd above(openat(current, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!above) return limit + 1;
    own = std::move(above);
  }
  return limit + 1;
}

}  // namespace barecell::wasi
