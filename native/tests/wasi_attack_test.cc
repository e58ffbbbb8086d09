// Ways out of a preopened directory, each of which must fail, by openat2 and by component; and things in it that are no files.
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <thread>

#include "../wasi/guest_path.h"
#include "wasi_files.h"

namespace wasi_test {
namespace {

// A directory "in" that is handed in, and beside it what must not be reached.
struct Cage {
  explicit Cage(bool read_only = false) {
    if (::mkdir((outer / "in").c_str(), 0755) != 0 || ::mkdir((outer / "out").c_str(), 0755) != 0) std::abort();
    outer.write("secret", "secret");
    outer.write("out/secret", "secret");
    outer.write("in/mine", "mine");
    files = std::make_unique<Files>(with_directory(outer / "in", read_only));
  }
  void host_link(const std::string& target, const std::string& name) {
    if (::symlink(target.c_str(), (outer / ("in/" + name)).c_str()) != 0) std::abort();
  }
  Folder outer;
  std::unique_ptr<Files> files;
};

// Every function that takes a path, with one that leads outside. None may succeed.
void check_outside(Cage& cage, const std::string& path) {
  Files& files = *cage.files;
  auto refused = [&](const char* what, Outcome outcome) {
    bool good = outcome == Errno::Notcapable || outcome == Errno::Noent || outcome == Errno::Loop || outcome == Errno::Notdir;
    check(good, __FILE__, __LINE__, std::string(what) + " of '" + path.substr(0, 60) + "' gives " + std::to_string(outcome.error));
  };
  for (uint32_t lookup : {0u, kFollow}) {
    refused("open", files.open(path, 0, kReadRights, lookup));
    refused("open for writing", files.open(path, kOflagTrunc, kAllRights, lookup));
    refused("create", files.open(path, kOflagCreat, kAllRights, lookup));
    refused("open directory", files.open(path, kOflagDirectory, kReadRights, lookup));
    refused("times", files.set_times(path, 1, 1, kFstflagAtim | kFstflagMtim, lookup));
    refused("stat", files.stat(path, lookup));
    refused("link from", files.link(path, "stolen", lookup));
  }
  refused("rename from", files.rename(path, "stolen"));
  refused("rename to", files.rename("mine", path));
  refused("link to", files.link("mine", path));
  refused("symlink", files.symlink("mine", path));
  refused("mkdir", files.mkdir(path));
  refused("rmdir", files.rmdir(path));
  refused("unlink", files.unlink(path));
  refused("readlink", files.readlink(path));
  CHECK(cage.outer.read("secret") == "secret" && cage.outer.read("out/secret") == "secret");
  CHECK(cage.outer.read("in/mine") == "mine" && !cage.outer.has("in/stolen"));
  CHECK(!cage.outer.has("new") && !cage.outer.has("out/new"));
}

void test_paths_outside() {
  Cage cage;
  if (::mkdir((cage.outer / "in/sub").c_str(), 0755) != 0) std::abort();
  const std::string absolute = cage.outer / "secret";
  for (const std::string& path : {std::string("../secret"), std::string("../out/new"), std::string("sub/../../secret"), std::string("./../secret"),
                                  std::string("sub/../../in/../secret"), std::string("../new"), std::string("/etc/passwd"), std::string("//etc/passwd"),
                                  absolute, std::string("/proc/self/fd/0"), std::string("/dev/null"), std::string("../in/../secret"),
                                  std::string("sub/./.././../secret"), std::string("../../../../../../../../etc/passwd")}) {
    check_outside(cage, path);
  }
  // Inside, `..` is what it always was; not even the directory itself can be reached by way of its parent.
  CHECK(cage.files->stat("sub/../mine") == Errno::Success);
  CHECK(cage.files->stat("..") == Errno::Notcapable);
  CHECK(cage.files->stat("../in/mine") == Errno::Notcapable);
  CHECK(cage.files->stat("sub/../../in") == Errno::Notcapable);
  CHECK(cage.files->stat("/") == Errno::Notcapable);
  // A descriptor of a directory below is a wall too.
  uint32_t sub = cage.files->must_open("sub", kOflagDirectory, kReadRights);
  CHECK(cage.files->stat("../mine", 0, sub) == Errno::Notcapable);
  CHECK(cage.files->stat("..", 0, sub) == Errno::Notcapable);
}

void test_links_of_the_host() {
  Cage cage;
  cage.host_link("/etc", "etc");
  cage.host_link(cage.outer / "out", "out");
  cage.host_link("../out", "up");
  cage.host_link("up", "chain");
  cage.host_link("/proc/self/root", "root");
  cage.host_link("/proc/self/fd", "fds");
  cage.host_link("/proc/self/cwd", "cwd");
  cage.host_link(".././out/../secret", "file");
  for (const char* path : {"etc/passwd", "out/secret", "out/new", "up/secret", "up/new", "chain/secret", "root/etc/passwd", "fds/0", "cwd/x", "up/../secret"}) {
    check_outside(cage, path);
  }
  // The link itself may be seen, moved and removed. It may not be followed.
  CHECK(cage.files->stat("file", 0) == Errno::Success);
  CHECK(cage.files->stat("file") == Errno::Notcapable);
  CHECK(cage.files->open("file") == Errno::Notcapable);
  CHECK(cage.files->open("file", kOflagCreat) == Errno::Notcapable);
  CHECK(cage.files->stat("up/", 0) == Errno::Notcapable);
  CHECK(cage.files->link("file", "hard", kFollow) == Errno::Notcapable);
  CHECK(cage.files->rename("file", "other") == Errno::Success);
  CHECK(cage.files->unlink("other") == Errno::Success);
  CHECK(cage.outer.read("secret") == "secret");
}

void test_links_of_the_guest() {
  Cage cage;
  Files& files = *cage.files;
  CHECK(files.symlink("/etc/passwd", "a") == Errno::Notcapable);
  CHECK(files.symlink("../secret", "b") == Errno::Success);
  CHECK(files.open("b") == Errno::Notcapable);
  CHECK(files.open("b", kOflagCreat) == Errno::Notcapable);
  CHECK(files.symlink("../new", "c") == Errno::Success);
  CHECK(files.open("c", kOflagCreat) == Errno::Notcapable);
  CHECK(!cage.outer.has("new"));
  CHECK(files.symlink("..", "d") == Errno::Success);
  CHECK(files.symlink("d/out", "e") == Errno::Success);
  check_outside(cage, "d/secret");
  check_outside(cage, "e/secret");
  CHECK(files.open("d", kOflagDirectory, kReadRights) == Errno::Notcapable);
  // Moved, a link points elsewhere; what counts is where it leads when it is followed.
  CHECK(files.mkdir("sub") == Errno::Success);
  CHECK(files.symlink("../mine", "sub/f") == Errno::Success);
  CHECK(files.open("sub/f") == Errno::Success);
  CHECK(files.rename("sub/f", "f") == Errno::Success);
  CHECK(files.open("f") == Errno::Notcapable);
}

// Somebody on the host swaps a directory for a link to the outside, as fast as it can, while the guest goes through it.
void test_race() {
  Cage cage;
  if (::mkdir((cage.outer / "in/a").c_str(), 0755) != 0) std::abort();
  cage.outer.write("in/a/secret", "harmless");
  cage.host_link("../out", "b");
  std::atomic<bool> done = false;
  std::string a = cage.outer / "in/a", b = cage.outer / "in/b", c = cage.outer / "in/c";
  std::thread hostile([&] {
    while (!done) {
      ::rename(a.c_str(), c.c_str());
      ::rename(b.c_str(), a.c_str());
      ::rename(a.c_str(), b.c_str());
      ::rename(c.c_str(), a.c_str());
    }
  });
  int opened = 0, leaks = 0;
  for (int i = 0; i < 3000; i++) {
    Files& files = *cage.files;
    if (files.open("a/secret") == Errno::Success) {
      uint32_t fd = files.opened();
      leaks += files.pread(fd, 20, 0) == Errno::Success && files.got() != "harmless";
      opened++;
      files.close(fd);
    }
    if (files.open("a/new", kOflagCreat) == Errno::Success) files.close(files.opened());
    files.mkdir("a/dir");
    files.rename("mine", "a/../a/mine");
    files.rename("a/mine", "mine");
    files.unlink("a/secret2");
    files.set_times("a/secret", 1, 1, kFstflagMtim);
  }
  done = true;
  hostile.join();
  CHECK_EQ(leaks, 0);
  CHECK(opened > 0);
  CHECK(!cage.outer.has("out/new") && !cage.outer.has("out/dir") && !cage.outer.has("out/mine"));
  struct stat status{};
  CHECK(lstat((cage.outer / "out/secret").c_str(), &status) == 0 && status.st_mtim.tv_sec > 1);
}

void test_odd_names() {
  Cage cage;
  Files& files = *cage.files;
  using Case = std::pair<std::string, Errno>;
  for (const auto& [path, expected] : {
           Case{std::string("a\0b", 3), Errno::Inval}, Case{std::string("\0", 1), Errno::Inval}, Case{std::string("mine\0", 5), Errno::Inval},
           Case{"\xff", Errno::Ilseq}, Case{"a\xc0\xaf", Errno::Ilseq}, Case{"\xed\xa0\x80", Errno::Ilseq}, Case{"\xf4\x90\x80\x80", Errno::Ilseq},
           Case{"\xe2\x82", Errno::Ilseq}, Case{std::string(4096, 'a'), Errno::Nametoolong}, Case{std::string(4095, 'a'), Errno::Nametoolong},
           Case{std::string(100'000, '/'), Errno::Nametoolong}, Case{std::string(256, 'a'), Errno::Nametoolong}, Case{"", Errno::Noent},
       }) {
    // The path lies at 1000, and other things after it.
    files.guest.put(300'000, path);
    auto refused = [&](const char* name, std::initializer_list<uint64_t> arguments) {
      Outcome outcome = files.raw(name, arguments);
      check(outcome == expected, __FILE__, __LINE__, std::string(name) + " gives " + std::to_string(outcome.error));
    };
    uint64_t size = path.size();
    refused("path_open", {3, 0, 300'000, size, kOflagCreat, kAllRights, kAllRights, 0, 0});
    refused("path_create_directory", {3, 300'000, size});
    refused("path_filestat_get", {3, 0, 300'000, size, 0});
    refused("path_unlink_file", {3, 300'000, size});
    files.guest.put(6000, std::string("new"));
    if (!(path.size() > 255 && path.size() < 4096)) refused("path_symlink", {300'000, size, 3, 6000, 3});
  }
  // What is allowed: any other UTF-8, line feeds, backslashes, 255 bytes, and a path of 4095.
  std::string deep;
  while (deep.size() + 2 <= 4094) deep += "./";
  for (const std::string& name : {std::string("ünï ☃ 𝄞"), std::string("a\nb\\c"), std::string(255, 'x'), std::string("..."), deep + "x"}) {
    CHECK(files.open(name, kOflagCreat) == Errno::Success);
    CHECK(files.close(files.opened()) == Errno::Success);
    CHECK(files.unlink(name) == Errno::Success);
  }
  // A name on the host that is no UTF-8 cannot be said, and so is not listed.
  cage.outer.write("in/\xff\xfe", "");
  CHECK_EQ(files.list(kDir).size(), 3u);
  CHECK(!is_utf8("\xc1\x81") && is_utf8("\xf0\x90\x80\x80") && !is_utf8("\xf0\x8f\xbf\xbf") && is_utf8("\xed\x9f\xbf") && !is_utf8("\x80"));
}

void test_no_files() {
  Cage cage;
  std::string in = cage.outer / "in/";
  if (mkfifo((in + "fifo").c_str(), 0666) != 0) std::abort();
  bool devices = mknod((in + "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0;
  if (!devices) {
    std::printf("SKIPPED: device files: they cannot be made here\n");
    skipped++;
  }
  UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = in + "socket";
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  if (bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
  Files& files = *cage.files;
  for (const char* path : {"fifo", "null", "socket"}) {
    if (!devices && std::strcmp(path, "null") == 0) continue;
    for (uint64_t rights : {kReadRights, kAllRights, uint64_t{kRightFdWrite}, uint64_t{0}}) {
      CHECK(files.open(path, 0, rights) == Errno::Notcapable);
      CHECK(files.open(path, kOflagCreat, rights) == Errno::Notcapable);
      CHECK(files.open(path, kOflagTrunc, rights) == Errno::Notcapable);
    }
    CHECK(files.set_times(path, 1, 1, kFstflagAtim) == Errno::Notcapable);
    CHECK(files.link(path, "other") == Errno::Notcapable);
    CHECK(files.stat(path) == Errno::Success);
    CHECK(files.status().filetype != 4);
    CHECK(files.unlink(path) == Errno::Success);
  }
  CHECK_EQ(files.guest.waiter.waits, 0);
}

// Magic links of /proc lead anywhere, whatever their text is.
void test_proc() {
  Files files(with_directory("/proc/self", true));
  for (const char* path : {"fd/0", "root/etc/passwd", "cwd/.", "exe", "fd/0/", "task/../fd/1", "root", "cwd"}) {
    Outcome outcome = files.open(path, 0, kReadRights);
    bool good = outcome == Errno::Notcapable || outcome == Errno::Loop || outcome == Errno::Noent || outcome == Errno::Notdir;
    check(good, __FILE__, __LINE__, std::string("/proc/self/") + path + " gives " + std::to_string(outcome.error));
  }
  CHECK(files.open("stat", 0, kReadRights) == Errno::Success);
}

void test_read_only() {
  Cage cage(true);
  cage.host_link("mine", "link");
  if (::mkdir((cage.outer / "in/dir").c_str(), 0755) != 0) std::abort();
  Files& files = *cage.files;
  CHECK(files.open("mine", 0, kAllRights) == Errno::Rofs);
  CHECK(files.open("mine", 0, kRightFdAllocate) == Errno::Rofs);
  CHECK(files.open("mine", kOflagTrunc, kReadRights) == Errno::Rofs);
  CHECK(files.open("new", kOflagCreat, kReadRights) == Errno::Rofs);
  CHECK(files.open("mine", kOflagCreat, kReadRights) == Errno::Success);
  CHECK(files.mkdir("new") == Errno::Rofs);
  CHECK(files.rmdir("dir") == Errno::Rofs);
  CHECK(files.unlink("mine") == Errno::Rofs);
  CHECK(files.rename("mine", "new") == Errno::Rofs);
  CHECK(files.link("mine", "new") == Errno::Rofs);
  CHECK(files.symlink("mine", "new") == Errno::Rofs);
  CHECK(files.set_times("mine", 1, 1, kFstflagAtim) == Errno::Rofs);
  CHECK(files.set_times("link", 1, 1, kFstflagAtim, 0) == Errno::Rofs);
  uint32_t fd = files.must_open("mine", 0, kReadRights);
  CHECK(files.read_all(fd) == "mine");
  CHECK(files.write(fd, "x") == Errno::Notcapable);
  CHECK(files.pwrite(fd, "x", 0) == Errno::Notcapable);
  CHECK(files.raw("fd_filestat_set_size", {fd, 0}) == Errno::Notcapable);
  CHECK(files.raw("fd_filestat_set_times", {fd, 1, 1, 1}) == Errno::Rofs);
  CHECK(files.raw("fd_filestat_set_times", {kDir, 1, 1, 1}) == Errno::Rofs);
  uint32_t dir = files.must_open("dir", kOflagDirectory, kReadRights);
  CHECK(files.mkdir("new", dir) == Errno::Rofs);
  CHECK(files.stat("link") == Errno::Success);
  CHECK(cage.outer.read("in/mine") == "mine");

  // From one that may only be read into one that may be written: a second name would make the file writable.
  Config config = with_directory(cage.outer / "in", true);
  config.preopens.push_back({"/rw", cage.outer / "out", false, 0});
  config.preopens.push_back({"/tmp", "", false, 1 << 20});
  Files both(std::move(config));
  CHECK(both.link("mine", "mine", 0, kDir, 4) == Errno::Rofs);
  CHECK(both.rename("mine", "mine", kDir, 4) == Errno::Rofs);
  CHECK(both.rename("secret", "x", 4, kDir) == Errno::Rofs);
  CHECK(both.link("secret", "x", 0, 4, 5) == Errno::Xdev);
  CHECK(both.rename("mine", "x", kDir, 5) == Errno::Xdev);
  CHECK(!cage.outer.has("out/mine") && cage.outer.has("out/secret"));
}

void test_many_entries() {
  Cage cage;
  for (int i = 0; i < 10'000; i++) {
    UniqueFd fd(open((cage.outer / ("in/entry-" + std::to_string(i))).c_str(), O_CREAT | O_WRONLY, 0644));
    if (!fd) std::abort();
  }
  CHECK_EQ(cage.files->list(kDir).size(), 10'003u);
  CHECK_EQ(cage.files->list(kDir, 500'000).size(), 10'003u);
  // A long listing can be stopped.
  cage.files->guest.waiter.hook = [](int, short, int64_t) { return -1; };
  CHECK(cage.files->raw("fd_readdir", {kDir, 20000, 500'000, 0, 0}) == HostCallAction::Interrupted);
}

}  // namespace

void run_attack_tests() {
  for (bool by_component : {false, true}) {
    walk_by_component(by_component);
    auto again = [&](auto test) {
      walk_by_component(by_component);
      test();
    };
    again(test_paths_outside);
    again(test_links_of_the_host);
    again(test_links_of_the_guest);
    again(test_race);
    again(test_odd_names);
    again(test_no_files);
    again(test_proc);
    again(test_read_only);
  }
  walk_by_component(false);
  test_many_entries();
}

}  // namespace wasi_test
