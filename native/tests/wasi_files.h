// A guest with a directory at descriptor 3, and calls of path_* and fd_* in words.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <string>

#include "../wasi/host_path.h"
#include "wasi_support.h"

namespace wasi_test {

constexpr uint32_t kDir = 3;
constexpr uint64_t kAllRights = (uint64_t{1} << 30) - 1;
constexpr uint64_t kReadRights = kAllRights & ~(kRightFdWrite | kRightFdAllocate | kRightFdFilestatSetSize | kRightFdDatasync);
constexpr uint32_t kFollow = kLookupflagSymlinkFollow;

// A folder of the host that goes with the object.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/wasi-test-XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  void write(const std::string& name, const std::string& text) const {
    UniqueFd fd(open((*this / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644));
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  }
  std::string read(const std::string& name) const {
    char text[256];
    UniqueFd fd(open((*this / name).c_str(), O_RDONLY));
    ssize_t bytes = ::read(fd.get(), text, sizeof text);
    return bytes < 0 ? "(unreadable)" : std::string(text, static_cast<size_t>(bytes));
  }
  bool has(const std::string& name) const {
    struct stat status{};
    return lstat((*this / name).c_str(), &status) == 0;
  }
  std::string path;
};

inline Config with_directory(const std::string& host, bool read_only = false, uint64_t max_bytes = 16 << 20) {
  Config config;
  config.preopens.push_back({"/", host, read_only, max_bytes});
  return config;
}

class Files {
 public:
  explicit Files(Config config, uint64_t memory_bytes = 1 << 20) : guest(std::move(config), memory_bytes) {}
  explicit Files(Backing backing) : guest(with_directory(backing == Backing::Memory ? "" : folder.path), 1 << 20) {
    walk_by_component(backing == Backing::HostByComponent);
  }
  ~Files() = default;

  // Paths lie at 1000 and 6000, results at 0, buffers from 20000.
  Outcome open(const std::string& path, uint32_t oflags = 0, uint64_t rights = kAllRights, uint32_t lookup = kFollow,
               uint32_t fdflags = 0, uint32_t dir = kDir, uint64_t inheriting = kAllRights) {
    guest.put(1000, path);
    HostCall call{{}, guest.memory, guest.waiter};
    uint64_t arguments[] = {dir, lookup, 1000, path.size(), oflags, rights, inheriting, fdflags, 0};
    return run("path_open", call, arguments);
  }
  uint32_t opened() { return guest.get<uint32_t>(0); }
  // Opens what must open.
  uint32_t must_open(const std::string& path, uint32_t oflags = 0, uint64_t rights = kAllRights, uint32_t lookup = kFollow,
                     uint32_t fdflags = 0, uint32_t dir = kDir) {
    Outcome outcome = open(path, oflags, rights, lookup, fdflags, dir);
    check(outcome == Errno::Success, __FILE__, __LINE__, "open " + path + " gives " + std::to_string(outcome.error));
    return opened();
  }
  Outcome on_path(const char* name, const std::string& path, uint32_t dir = kDir) {
    guest.put(1000, path);
    return guest.call(name, {dir, 1000, path.size()});
  }
  Outcome mkdir(const std::string& path, uint32_t dir = kDir) { return on_path("path_create_directory", path, dir); }
  Outcome rmdir(const std::string& path, uint32_t dir = kDir) { return on_path("path_remove_directory", path, dir); }
  Outcome unlink(const std::string& path, uint32_t dir = kDir) { return on_path("path_unlink_file", path, dir); }
  Outcome rename(const std::string& from, const std::string& to, uint32_t dir = kDir, uint32_t to_dir = kDir) {
    guest.put(1000, from);
    guest.put(6000, to);
    return guest.call("path_rename", {dir, 1000, from.size(), to_dir, 6000, to.size()});
  }
  Outcome link(const std::string& from, const std::string& to, uint32_t lookup = 0, uint32_t dir = kDir, uint32_t to_dir = kDir) {
    guest.put(1000, from);
    guest.put(6000, to);
    return guest.call("path_link", {dir, lookup, 1000, from.size(), to_dir, 6000, to.size()});
  }
  Outcome symlink(const std::string& target, const std::string& path, uint32_t dir = kDir) {
    guest.put(1000, target);
    guest.put(6000, path);
    return guest.call("path_symlink", {1000, target.size(), dir, 6000, path.size()});
  }
  Outcome readlink(const std::string& path, uint32_t bytes = 100) {
    guest.put(1000, path);
    return guest.call("path_readlink", {kDir, 1000, path.size(), 20000, bytes, 0});
  }
  Outcome stat(const std::string& path, uint32_t lookup = kFollow, uint32_t dir = kDir) {
    guest.put(1000, path);
    return guest.call("path_filestat_get", {dir, lookup, 1000, path.size(), 100});
  }
  Filestat status() { return guest.get<Filestat>(100); }
  Filestat status_of(uint32_t fd) {
    CHECK(guest.call("fd_filestat_get", {fd, 100}) == Errno::Success);
    return status();
  }
  Outcome set_times(const std::string& path, uint64_t atim, uint64_t mtim, uint32_t flags, uint32_t lookup = kFollow) {
    guest.put(1000, path);
    HostCall call{{}, guest.memory, guest.waiter};
    uint64_t arguments[] = {kDir, lookup, 1000, path.size(), atim, mtim, flags};
    return run("path_filestat_set_times", call, arguments);
  }
  Outcome write(uint32_t fd, const std::string& text) {
    guest.put(20000, text);
    guest.iovecs(16, {{20000, static_cast<uint32_t>(text.size())}});
    return guest.call("fd_write", {fd, 16, 1, 8});
  }
  Outcome pwrite(uint32_t fd, const std::string& text, uint64_t offset) {
    guest.put(20000, text);
    guest.iovecs(16, {{20000, static_cast<uint32_t>(text.size())}});
    return raw("fd_pwrite", {fd, 16, 1, offset, 8});
  }
  Outcome read(uint32_t fd, uint32_t bytes) {
    guest.iovecs(16, {{20000, bytes}});
    return guest.call("fd_read", {fd, 16, 1, 8});
  }
  Outcome pread(uint32_t fd, uint32_t bytes, uint64_t offset) {
    guest.iovecs(16, {{20000, bytes}});
    return raw("fd_pread", {fd, 16, 1, offset, 8});
  }
  std::string got() { return guest.text(20000, guest.count()); }
  std::string read_all(uint32_t fd) {
    std::string text;
    while (read(fd, 1000) == Errno::Success && guest.count() > 0) text += got();
    return text;
  }
  Outcome seek(uint32_t fd, int64_t offset, uint32_t whence) { return guest.seek(fd, offset, whence, 0); }
  uint64_t position() { return guest.get<uint64_t>(0); }
  Outcome close(uint32_t fd) { return guest.call("fd_close", {fd}); }
  // Arguments as they are, for 64-bit ones.
  Outcome raw(const char* name, std::initializer_list<uint64_t> arguments) {
    HostCall call{{}, guest.memory, guest.waiter};
    return run(name, call, {arguments.begin(), arguments.size()});
  }
  // All names, by buffers of `bytes`; the types by name.
  std::map<std::string, uint8_t> list(uint32_t fd, uint32_t bytes = 4096);

  Folder folder;
  Guest guest;

 private:
  Outcome run(const char* name, HostCall& call, std::span<const uint64_t> arguments) {
    for (size_t i = 0; i < arguments.size(); i++) call.slots[i].u64 = arguments[i];
    HostCallAction action = guest.instance.bind(guest.module, name)(call);
    return {action, call.slots[0].u32, call.exit_code};
  }
};

inline std::map<std::string, uint8_t> Files::list(uint32_t fd, uint32_t bytes) {
  std::map<std::string, uint8_t> names;
  uint64_t cookie = 0;
  for (int calls = 0; calls < 100'000; calls++) {
    Outcome outcome = raw("fd_readdir", {fd, 20000, bytes, cookie, 0});
    check(outcome == Errno::Success, __FILE__, __LINE__, "fd_readdir gives " + std::to_string(outcome.error));
    uint32_t used = guest.get<uint32_t>(0);
    uint64_t at = 0;
    while (outcome == Errno::Success && at + sizeof(Dirent) <= used) {
      auto entry = guest.get<Dirent>(20000 + at);
      if (at + sizeof(Dirent) + entry.d_namlen > used) break;
      names[guest.text(20000 + at + sizeof(Dirent), entry.d_namlen)] = entry.d_type;
      cookie = entry.d_next;
      at += sizeof(Dirent) + entry.d_namlen;
    }
    if (used < bytes || !(outcome == Errno::Success)) return names;
    // A single entry that does not fit: a real program takes a larger buffer.
    if (at == 0) bytes *= 2;
  }
  return names;
}

}  // namespace wasi_test
