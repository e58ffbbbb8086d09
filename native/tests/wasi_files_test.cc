// fd_* and path_*, the same tests over a directory of the host (by openat2 and by component) and one in memory.
#include "wasi_files.h"

namespace wasi_test {
namespace {

constexpr uint32_t kSet = 0, kCurrent = 1, kEnd = 2;

void test_preopen(Backing backing) {
  Files files(backing);
  CHECK(files.guest.call("fd_prestat_get", {kDir, 100}) == Errno::Success);
  CHECK_EQ(files.guest.get<uint64_t>(100), uint64_t{1} << 32);
  files.guest.put(200, std::string("xx"));
  CHECK(files.guest.call("fd_prestat_dir_name", {kDir, 200, 2}) == Errno::Success);
  CHECK(files.guest.text(200, 2) == "/x");
  CHECK(files.guest.call("fd_prestat_dir_name", {kDir, 200, 0}) == Errno::Nametoolong);
  CHECK(files.guest.call("fd_prestat_dir_name", {kDir, UINT32_MAX, 2}) == Errno::Fault);
  CHECK(files.guest.call("fd_prestat_get", {4, 100}) == Errno::Badf);
  CHECK(files.guest.call("fd_fdstat_get", {kDir, 100}) == Errno::Success);
  Fdstat stat = files.guest.get<Fdstat>(100);
  CHECK_EQ(stat.fs_filetype, 3);
  CHECK((stat.fs_rights_base & kRightFdSeek) == 0 && (stat.fs_rights_base & kRightFdRead) == 0);
  CHECK((stat.fs_rights_inheriting & kRightFdWrite) != 0);
  // Closed, it is a directory no more; a file that is opened takes its number.
  CHECK(files.close(kDir) == Errno::Success);
  CHECK(files.guest.call("fd_prestat_get", {kDir, 100}) == Errno::Badf);
  CHECK(files.stat(".") == Errno::Badf);
}

void test_read_and_write(Backing backing) {
  Files files(backing);
  uint32_t fd = files.must_open("file", kOflagCreat);
  CHECK(fd == 4);
  CHECK(files.write(fd, "hello world") == Errno::Success);
  CHECK_EQ(files.guest.count(), 11u);
  CHECK(files.seek(fd, 6, kSet) == Errno::Success);
  CHECK(files.read_all(fd) == "world");
  CHECK(files.pread(fd, 5, 0) == Errno::Success);
  CHECK(files.got() == "hello");
  CHECK(files.pwrite(fd, "J", 0) == Errno::Success);
  CHECK(files.guest.call("fd_tell", {fd, 0}) == Errno::Success);
  CHECK_EQ(files.position(), 11u);
  CHECK(files.pread(fd, 5, 100) == Errno::Success);
  CHECK_EQ(files.guest.count(), 0u);
  // A hole reads as zeros.
  CHECK(files.pwrite(fd, "!", 10'000) == Errno::Success);
  CHECK_EQ(files.status_of(fd).size, 10'001u);
  CHECK(files.pread(fd, 20, 5000) == Errno::Success);
  CHECK(files.got() == std::string(20, '\0'));
  CHECK(files.pread(fd, 20, uint64_t{1} << 63) == Errno::Inval);
  CHECK(files.pwrite(fd, "x", UINT64_MAX) == Errno::Inval);
  if (backing != Backing::Memory) CHECK(files.folder.read("file").starts_with("Jello world"));
  // Many buffers, over page borders and overlapping.
  std::string text(30'000, ' ');
  for (size_t i = 0; i < text.size(); i++) text[i] = static_cast<char>('a' + i * i % 23);
  files.guest.put(100'000, text);
  for (uint32_t i = 0; i < 30; i++) files.guest.put(40'000 + uint64_t{8} * i, Iovec{100'000 + i * 1000, 1000});
  CHECK(files.seek(fd, 0, kSet) == Errno::Success);
  CHECK(files.guest.call("fd_write", {fd, 40'000, 30, 8}) == Errno::Success);
  CHECK_EQ(files.guest.count(), 30'000u);
  files.guest.iovecs(16, {{200'000, 29'000}, {228'000, 2000}});
  CHECK(files.raw("fd_pread", {fd, 16, 2, 0, 8}) == Errno::Success);
  CHECK_EQ(files.guest.count(), 30'000u);
  CHECK(files.guest.text(200'000, 28'000) == text.substr(0, 28'000));
  CHECK(files.guest.text(228'000, 1000) == text.substr(29'000, 1000));
}

void test_seek(Backing backing) {
  Files files(backing);
  uint32_t fd = files.must_open("file", kOflagCreat);
  CHECK(files.write(fd, "0123456789") == Errno::Success);
  CHECK(files.seek(fd, -3, kEnd) == Errno::Success);
  CHECK_EQ(files.position(), 7u);
  CHECK(files.seek(fd, -2, kCurrent) == Errno::Success);
  CHECK_EQ(files.position(), 5u);
  CHECK(files.seek(fd, 100, kSet) == Errno::Success);
  CHECK(files.read(fd, 10) == Errno::Success);
  CHECK_EQ(files.guest.count(), 0u);
  CHECK(files.seek(fd, -1, kSet) == Errno::Inval);
  CHECK(files.seek(fd, -11, kEnd) == Errno::Inval);
  CHECK(files.seek(fd, INT64_MIN, kCurrent) == Errno::Inval);
  Outcome far = files.seek(fd, INT64_MAX, kEnd);
  CHECK(far == Errno::Overflow || far == Errno::Inval);
  CHECK(files.seek(fd, 0, 3) == Errno::Inval);
  CHECK(files.guest.seek(fd, 0, kCurrent, 1 << 20) == Errno::Fault);
  CHECK(files.seek(kDir, 0, kSet) == Errno::Notcapable);
  // The older interface numbers them otherwise: cur, end, set.
  files.guest.module = kUnstable;
  CHECK(files.seek(fd, 2, 2) == Errno::Success);
  CHECK_EQ(files.position(), 2u);
  CHECK(files.seek(fd, 3, 0) == Errno::Success);
  CHECK_EQ(files.position(), 5u);
  CHECK(files.seek(fd, 0, 1) == Errno::Success);
  CHECK_EQ(files.position(), 10u);
}

void test_open_flags(Backing backing) {
  Files files(backing);
  CHECK(files.open("file") == Errno::Noent);
  CHECK(files.open("", kOflagCreat) == Errno::Noent);
  CHECK(files.open("file/", kOflagCreat) == Errno::Isdir);
  uint32_t fd = files.must_open("file", kOflagCreat | kOflagExcl);
  CHECK(files.write(fd, "content") == Errno::Success);
  CHECK(files.open("file", kOflagCreat | kOflagExcl) == Errno::Exist);
  CHECK(files.open("file", kOflagDirectory) == Errno::Notdir);
  CHECK(files.open("file/") == Errno::Notdir);
  CHECK(files.open("file/x") == Errno::Notdir);
  CHECK(files.open("file", kOflagCreat | kOflagDirectory) == Errno::Inval);
  CHECK(files.open("file", 16) == Errno::Inval);
  CHECK(files.open("file", 0, kAllRights, 2) == Errno::Inval);
  CHECK(files.open("file", 0, kAllRights, 0, 32) == Errno::Inval);
  CHECK(files.open("file", kOflagTrunc, kReadRights) == Errno::Success);
  CHECK_EQ(files.status_of(fd).size, 0u);
  CHECK(files.mkdir("dir") == Errno::Success);
  CHECK(files.open("dir", kOflagCreat) == Errno::Isdir);
  CHECK(files.open("dir", kOflagTrunc, kReadRights) == Errno::Isdir);
  CHECK(files.open("dir", 0, kAllRights) == Errno::Isdir);
  CHECK(files.open("dir", kOflagDirectory, kAllRights) == Errno::Isdir);
  uint32_t dir = files.must_open("dir", kOflagDirectory, kReadRights);
  CHECK(files.read(dir, 10) == Errno::Notcapable);
  CHECK(files.write(dir, "x") == Errno::Notcapable);
  uint32_t inner = files.must_open("inner", kOflagCreat, kAllRights, 0, 0, dir);
  CHECK(files.stat("dir/inner") == Errno::Success);
  CHECK_EQ(files.status().filetype, 4);
  CHECK(files.open("x", 0, kAllRights, 0, 0, inner) == Errno::Notdir);
  // Appending, wherever the offset is; and no more when the flag is gone. pwrite never appends.
  uint32_t log = files.must_open("log", kOflagCreat, kAllRights, 0, kFdflagAppend);
  CHECK(files.write(log, "one ") == Errno::Success);
  CHECK(files.seek(log, 0, kSet) == Errno::Success);
  CHECK(files.write(log, "two ") == Errno::Success);
  CHECK(files.pwrite(log, "O", 0) == Errno::Success);
  CHECK(files.guest.call("fd_fdstat_get", {log, 100}) == Errno::Success);
  CHECK_EQ(files.guest.get<Fdstat>(100).fs_flags, kFdflagAppend);
  CHECK(files.guest.call("fd_fdstat_set_flags", {log, kFdflagSync | kFdflagNonblock}) == Errno::Success);
  CHECK(files.seek(log, 4, kSet) == Errno::Success);
  CHECK(files.write(log, "2") == Errno::Success);
  CHECK(files.pread(log, 20, 0) == Errno::Success);
  CHECK(files.got() == "One 2wo ");
}

void test_rights(Backing backing) {
  Files files(backing);
  uint32_t fd = files.must_open("file", kOflagCreat, kRightFdRead | kRightFdTell);
  CHECK(files.write(fd, "x") == Errno::Notcapable);
  CHECK(files.seek(fd, 1, kSet) == Errno::Notcapable);
  CHECK(files.seek(fd, 0, kCurrent) == Errno::Success);
  CHECK(files.pread(fd, 1, 0) == Errno::Notcapable);
  CHECK(files.read(fd, 1) == Errno::Success);
  CHECK(files.guest.call("fd_filestat_get", {fd, 100}) == Errno::Notcapable);
  CHECK(files.raw("fd_filestat_set_size", {fd, 10}) == Errno::Notcapable);
  CHECK(files.raw("fd_filestat_set_times", {fd, 0, 0, 1}) == Errno::Notcapable);
  CHECK(files.raw("fd_allocate", {fd, 0, 10}) == Errno::Notcapable);
  CHECK(files.raw("fd_advise", {fd, 0, 10, 0}) == Errno::Notcapable);
  CHECK(files.guest.call("fd_sync", {fd}) == Errno::Notcapable);
  CHECK(files.guest.call("fd_datasync", {fd}) == Errno::Notcapable);
  CHECK(files.guest.call("fd_fdstat_set_flags", {fd, 0}) == Errno::Notcapable);
  // A directory that passes on less, and then has less.
  CHECK(files.mkdir("dir") == Errno::Success);
  CHECK(files.open("dir", kOflagDirectory, kReadRights, 0, 0, kDir, kReadRights) == Errno::Success);
  uint32_t dir = files.opened();
  CHECK(files.open("new", kOflagCreat, kAllRights, 0, 0, dir) == Errno::Notcapable);
  CHECK(files.open("new", kOflagCreat, kReadRights, 0, 0, dir, kReadRights) == Errno::Success);
  CHECK(files.open("new", 0, kReadRights, 0, kFdflagDsync, dir, 0) == Errno::Notcapable);
  using Case = std::pair<uint64_t, std::function<Outcome()>>;
  for (const auto& [right, act] : {
           Case{kRightPathCreateFile, [&] { return files.open("b", kOflagCreat, 0, 0, 0, dir, 0); }},
           Case{kRightPathFilestatSetSize, [&] { return files.open("new", kOflagTrunc, 0, 0, 0, dir, 0); }},
           Case{kRightPathCreateDirectory, [&] { return files.mkdir("c", dir); }},
           Case{kRightPathRenameSource, [&] { return files.rename("new", "d", dir); }},
           Case{kRightPathRenameTarget, [&] { return files.rename("file", "d", kDir, dir); }},
           Case{kRightPathLinkSource, [&] { return files.link("new", "e", 0, dir); }},
           Case{kRightPathLinkTarget, [&] { return files.link("file", "e", 0, kDir, dir); }},
           Case{kRightPathSymlink, [&] { return files.symlink("new", "f", dir); }},
           Case{kRightPathRemoveDirectory, [&] { return files.rmdir("g", dir); }},
           Case{kRightPathUnlinkFile, [&] { return files.unlink("new", dir); }},
           Case{kRightPathFilestatGet, [&] { return files.stat("new", 0, dir); }},
           Case{kRightFdReaddir, [&] { return files.raw("fd_readdir", {dir, 20000, 100, 0, 0}); }},
           Case{kRightPathOpen, [&] { return files.open("new", 0, 0, 0, 0, dir, 0); }},
       }) {
    CHECK(files.guest.call("fd_fdstat_get", {dir, 100}) == Errno::Success);
    Fdstat stat = files.guest.get<Fdstat>(100);
    CHECK((stat.fs_rights_base & right) != 0);
    CHECK(files.raw("fd_fdstat_set_rights", {dir, stat.fs_rights_base & ~right, stat.fs_rights_inheriting}) == Errno::Success);
    Outcome outcome = act();
    check(outcome == Errno::Notcapable, __FILE__, __LINE__, "without right " + std::to_string(right) + ": " + std::to_string(outcome.error));
    CHECK(files.raw("fd_fdstat_set_rights", {dir, stat.fs_rights_base, stat.fs_rights_inheriting}) == Errno::Notcapable);
    CHECK(files.raw("fd_fdstat_set_rights", {dir, 0, UINT64_MAX}) == Errno::Notcapable);
  }
}

void test_renumber(Backing backing) {
  Files files(backing);
  uint32_t a = files.must_open("a", kOflagCreat), b = files.must_open("b", kOflagCreat);
  CHECK(files.write(a, "in a") == Errno::Success);
  CHECK(files.guest.call("fd_renumber", {a, 100}) == Errno::Badf);
  CHECK(files.guest.call("fd_renumber", {100, a}) == Errno::Badf);
  CHECK(files.guest.call("fd_renumber", {UINT32_MAX, UINT32_MAX}) == Errno::Badf);
  CHECK(files.guest.call("fd_renumber", {a, a}) == Errno::Success);
  CHECK(files.guest.call("fd_renumber", {a, b}) == Errno::Success);
  CHECK(files.pread(b, 10, 0) == Errno::Success);
  CHECK(files.got() == "in a");
  CHECK(files.close(a) == Errno::Badf);
  CHECK(files.must_open("c", kOflagCreat) == a);
  // Over a standard stream: its output then goes to the file.
  CHECK(files.guest.call("fd_renumber", {b, 1}) == Errno::Success);
  CHECK(files.write(1, "!") == Errno::Success);
  uint32_t again = files.must_open("a");
  CHECK(files.read_all(again) == "in a!");
  CHECK_EQ(files.guest.instance.stdout_total(), 0u);
}

void test_sizes_and_times(Backing backing) {
  Files files(backing);
  uint32_t fd = files.must_open("file", kOflagCreat);
  CHECK(files.write(fd, "0123456789") == Errno::Success);
  CHECK(files.raw("fd_filestat_set_size", {fd, 4}) == Errno::Success);
  CHECK(files.raw("fd_filestat_set_size", {fd, 8}) == Errno::Success);
  CHECK(files.pread(fd, 20, 0) == Errno::Success);
  CHECK(files.got() == std::string("0123\0\0\0\0", 8));
  CHECK(files.raw("fd_filestat_set_size", {fd, UINT64_MAX}) == Errno::Inval);
  CHECK(files.raw("fd_filestat_set_size", {kDir, 0}) == Errno::Notcapable);
  CHECK(files.raw("fd_allocate", {fd, 0, 0}) == Errno::Inval);
  CHECK(files.raw("fd_allocate", {fd, UINT64_MAX, 1}) == Errno::Inval);
  CHECK(files.raw("fd_allocate", {fd, 1, INT64_MAX}) == Errno::Fbig);
  CHECK(files.raw("fd_allocate", {fd, 100, 50}) == Errno::Success);
  CHECK_EQ(files.status_of(fd).size, 150u);
  for (uint64_t advice = 0; advice < 6; advice++) CHECK(files.raw("fd_advise", {fd, 0, 0, advice}) == Errno::Success);
  CHECK(files.raw("fd_advise", {fd, 0, 0, 6}) == Errno::Inval);
  CHECK(files.raw("fd_advise", {fd, UINT64_MAX, 1, 0}) == Errno::Inval);
  CHECK(files.guest.call("fd_sync", {fd}) == Errno::Success);
  CHECK(files.guest.call("fd_datasync", {fd}) == Errno::Success);
  CHECK(files.guest.call("fd_sync", {kDir}) == Errno::Success);

  CHECK(files.raw("fd_filestat_set_times", {fd, 1'000'000'007, 2'000'000'009, kFstflagAtim | kFstflagMtim}) == Errno::Success);
  CHECK_EQ(files.status_of(fd).atim, 1'000'000'007u);
  CHECK_EQ(files.status().mtim, 2'000'000'009u);
  CHECK(files.set_times("file", 5'000'000'000, 7, kFstflagAtim) == Errno::Success);
  CHECK(files.stat("file") == Errno::Success);
  CHECK_EQ(files.status().atim, 5'000'000'000u);
  CHECK_EQ(files.status().mtim, 2'000'000'009u);
  CHECK(files.set_times("file", 0, 0, kFstflagMtimNow) == Errno::Success);
  CHECK(files.stat("file") == Errno::Success);
  CHECK(files.status().mtim > 1'000'000'000'000'000'000);
  for (uint64_t flags : {uint64_t{3}, uint64_t{12}, uint64_t{16}, uint64_t{0x10001}}) {
    CHECK(files.set_times("file", 0, 0, static_cast<uint32_t>(flags)) == Errno::Inval);
    CHECK(files.raw("fd_filestat_set_times", {fd, 0, 0, flags}) == Errno::Inval);
  }
  // A link itself, or what it points to.
  CHECK(files.symlink("file", "link") == Errno::Success);
  CHECK(files.set_times("link", 0, 3'000'000'000, kFstflagMtim, 0) == Errno::Success);
  CHECK(files.stat("link", 0) == Errno::Success);
  CHECK_EQ(files.status().filetype, 7);
  CHECK_EQ(files.status().size, 4u);
  CHECK_EQ(files.status().mtim, 3'000'000'000u);
  CHECK(files.stat("link", kFollow) == Errno::Success);
  CHECK_EQ(files.status().filetype, 4);
  CHECK(files.status().mtim > 1'000'000'000'000'000'000);
  CHECK(files.raw("fd_filestat_set_times", {kDir, 0, 4'000'000'000, kFstflagMtim}) == Errno::Success);
  CHECK_EQ(files.status_of(kDir).mtim, 4'000'000'000u);
  CHECK_EQ(files.status().filetype, 3);
}

void test_names(Backing backing) {
  Files files(backing);
  CHECK(files.mkdir("a") == Errno::Success);
  CHECK(files.mkdir("a") == Errno::Exist);
  CHECK(files.mkdir("a/") == Errno::Exist);
  CHECK(files.mkdir("b/") == Errno::Success);
  CHECK(files.mkdir("x/y") == Errno::Noent);
  CHECK(files.mkdir(".") == Errno::Exist);
  CHECK(files.mkdir("a/..") == Errno::Exist);
  CHECK(files.must_open("a/file", kOflagCreat) > kDir);
  CHECK(files.rmdir("a") == Errno::Notempty);
  CHECK(files.rmdir("a/file") == Errno::Notdir);
  CHECK(files.rmdir("a/.") == Errno::Inval);
  CHECK(files.rmdir("a/..") == Errno::Notempty);
  CHECK(files.rmdir("none") == Errno::Noent);
  CHECK(files.unlink("a") == Errno::Isdir);
  CHECK(files.unlink("a/file/") == Errno::Notdir);
  CHECK(files.unlink("none") == Errno::Noent);
  CHECK(files.rename("a/file", "b/moved") == Errno::Success);
  CHECK(files.stat("a/file") == Errno::Noent);
  CHECK(files.stat("b/moved") == Errno::Success);
  CHECK(files.rename("b/moved", "a") == Errno::Isdir);
  CHECK(files.rename("a", "b/moved") == Errno::Notdir);
  CHECK(files.rename("a", "b") == Errno::Notempty);
  CHECK(files.rename("b", "b/inside") == Errno::Inval);
  CHECK(files.rename("none", "b/inside") == Errno::Noent);
  CHECK(files.rename("b/moved", "c/") == Errno::Notdir);
  CHECK(files.rename("b/moved/", "c") == Errno::Notdir);
  CHECK(files.rename(".", "c") == Errno::Busy);
  CHECK(files.rename("a", "b/..") == Errno::Busy);
  CHECK(files.rename("b/", "c/") == Errno::Success);
  CHECK(files.stat("c/moved") == Errno::Success);
  CHECK(files.rename("a", "a") == Errno::Success);
  CHECK(files.must_open("over", kOflagCreat) > kDir);
  CHECK(files.rename("c/moved", "over") == Errno::Success);
  CHECK(files.rmdir("c/") == Errno::Success);
  CHECK(files.unlink("over") == Errno::Success);
  CHECK(files.rmdir("a") == Errno::Success);
  // Still open, a removed directory takes nothing new.
  CHECK(files.mkdir("gone") == Errno::Success);
  uint32_t gone = files.must_open("gone", kOflagDirectory, kReadRights);
  CHECK(files.rmdir("gone") == Errno::Success);
  CHECK(files.mkdir("x", gone) == Errno::Noent);
  CHECK(files.list(gone).size() <= 2);
  CHECK(files.list(kDir).size() == 2);
}

void test_links(Backing backing) {
  Files files(backing);
  uint32_t fd = files.must_open("file", kOflagCreat);
  CHECK(files.write(fd, "text") == Errno::Success);
  CHECK(files.link("file", "hard") == Errno::Success);
  CHECK_EQ(files.status_of(fd).nlink, 2u);
  uint64_t inode = files.status().ino;
  CHECK(files.stat("hard") == Errno::Success);
  CHECK_EQ(files.status().ino, inode);
  CHECK(files.link("file", "hard") == Errno::Exist);
  CHECK(files.link("file", "new/") == Errno::Noent);
  CHECK(files.link("none", "x") == Errno::Noent);
  CHECK(files.mkdir("dir") == Errno::Success);
  CHECK(files.link("dir", "x") == Errno::Perm);
  CHECK(files.link("file", "x", 2) == Errno::Inval);
  CHECK(files.unlink("file") == Errno::Success);
  CHECK(files.pread(fd, 10, 0) == Errno::Success);
  CHECK(files.got() == "text");
  CHECK(files.symlink("hard", "soft") == Errno::Success);
  CHECK(files.symlink("x", "soft") == Errno::Exist);
  CHECK(files.symlink("", "empty") == Errno::Noent);
  CHECK(files.readlink("soft") == Errno::Success);
  CHECK_EQ(files.guest.get<uint32_t>(0), 4u);
  CHECK(files.guest.text(20000, 4) == "hard");
  CHECK(files.readlink("soft", 2) == Errno::Success);
  CHECK_EQ(files.guest.get<uint32_t>(0), 2u);
  CHECK(files.readlink("hard") == Errno::Inval);
  CHECK(files.readlink("none") == Errno::Noent);
  CHECK(files.open("soft", 0, kAllRights, 0) == Errno::Loop);
  CHECK(files.open("soft", kOflagDirectory, kAllRights, 0) == Errno::Notdir);
  CHECK(files.read_all(files.must_open("soft")) == "text");
  // The link itself gets another name, or what it points to does.
  CHECK(files.link("soft", "soft2", 0) == Errno::Success);
  CHECK(files.readlink("soft2") == Errno::Success);
  CHECK(files.link("soft", "hard2", kFollow) == Errno::Success);
  CHECK(files.stat("hard2", 0) == Errno::Success);
  CHECK_EQ(files.status().ino, inode);
  // Through a link in the middle, and one at the end with a slash.
  CHECK(files.symlink("dir", "way") == Errno::Success);
  CHECK(files.must_open("way/in", kOflagCreat, kAllRights, 0) > 0);
  CHECK(files.stat("dir/in") == Errno::Success);
  CHECK(files.stat("way/", 0) == Errno::Success);
  CHECK_EQ(files.status().filetype, 3);
  CHECK(files.rmdir("way/") == Errno::Notdir);
  CHECK(files.unlink("way") == Errno::Success);
  CHECK(files.stat("dir/in") == Errno::Success);
  // Dangling: nothing to follow, but a file can be made through it.
  CHECK(files.symlink("later", "dangling") == Errno::Success);
  CHECK(files.stat("dangling") == Errno::Noent);
  CHECK(files.open("dangling", kOflagCreat | kOflagExcl) == Errno::Exist);
  CHECK(files.link("dangling", "x", kFollow) == Errno::Noent);
  CHECK(files.open("dangling", kOflagCreat) == Errno::Success);
  CHECK(files.stat("later") == Errno::Success);
  CHECK(files.symlink("loop", "loop") == Errno::Success);
  CHECK(files.stat("loop") == Errno::Loop);
  CHECK(files.stat("loop/x") == Errno::Loop);
  CHECK(files.open("loop", kOflagCreat) == Errno::Loop);
}

void test_listing(Backing backing) {
  Files files(backing);
  CHECK(files.list(kDir).size() == 2);
  CHECK(files.mkdir("dir") == Errno::Success);
  CHECK(files.symlink("dir", "link") == Errno::Success);
  for (int i = 0; i < 500; i++) CHECK(files.close(files.must_open("file" + std::to_string(i), kOflagCreat)) == Errno::Success);
  for (uint32_t bytes : {24u + 7, 100u, 4096u, 100'000u}) {
    auto names = files.list(kDir, bytes);
    CHECK_EQ(names.size(), 504u);
    CHECK(names["."] == 3 && names[".."] == 3 && names["dir"] == 3 && names["link"] == 7 && names["file77"] == 4);
  }
  // Nothing fits: the buffer is full of what there is.
  CHECK(files.raw("fd_readdir", {kDir, 20000, 10, 0, 0}) == Errno::Success);
  CHECK_EQ(files.guest.get<uint32_t>(0), 10u);
  CHECK(files.raw("fd_readdir", {kDir, 20000, 0, 0, 0}) == Errno::Success);
  CHECK_EQ(files.guest.get<uint32_t>(0), 0u);
  CHECK(files.raw("fd_readdir", {files.must_open("file1"), 20000, 100, 0, 0}) == Errno::Badf);
  // A cookie that was never given is an error or some place, but nothing worse.
  for (uint64_t cookie : {uint64_t{12345}, uint64_t{INT64_MAX}, UINT64_MAX}) {
    Outcome outcome = files.raw("fd_readdir", {kDir, 20000, 4096, cookie, 0});
    CHECK(outcome == Errno::Success || outcome == Errno::Inval);
  }
  // Removing while reading misses none of those that stay.
  uint64_t cookie = 0;
  int removed = 0;
  for (;;) {
    CHECK(files.raw("fd_readdir", {kDir, 20000, 300, cookie, 0}) == Errno::Success);
    uint32_t used = files.guest.get<uint32_t>(0);
    uint64_t at = 0;
    std::vector<std::string> batch;
    while (at + sizeof(Dirent) <= used) {
      auto entry = files.guest.get<Dirent>(20000 + at);
      if (at + sizeof(Dirent) + entry.d_namlen > used) break;
      std::string name = files.guest.text(20000 + at + sizeof(Dirent), entry.d_namlen);
      if (name.starts_with("file")) batch.push_back(name);
      cookie = entry.d_next;
      at += sizeof(Dirent) + entry.d_namlen;
    }
    for (const std::string& name : batch) removed += files.unlink(name) == Errno::Success;
    if (used < 300) break;
  }
  CHECK_EQ(removed, 500);
  CHECK_EQ(files.list(kDir).size(), 4u);
}

void test_unstable_filestat(Backing backing) {
  Files files(backing);
  uint32_t fd = files.must_open("file", kOflagCreat);
  CHECK(files.write(fd, "twelve bytes") == Errno::Success);
  files.guest.module = kUnstable;
  files.guest.put(100, std::string(64, '\xff'));
  CHECK(files.stat("file") == Errno::Success);
  auto status = files.guest.get<FilestatUnstable>(100);
  CHECK(status.nlink == 1 && status.size == 12 && status.filetype == 4);
  CHECK_EQ(files.guest.get<uint8_t>(156), 0xff);
}

void test_poll_files(Backing backing) {
  Files files(backing);
  uint32_t fd = files.must_open("file", kOflagCreat);
  CHECK(files.write(fd, "12345") == Errno::Success);
  CHECK(files.seek(fd, 2, kSet) == Errno::Success);
  files.guest.put(1000, std::string(96, '\0'));
  files.guest.put(1008, kEventtypeFdRead);
  files.guest.put(1016, fd);
  files.guest.put(1056, kEventtypeFdWrite);
  files.guest.put(1064, fd);
  CHECK(files.guest.call("poll_oneoff", {1000, 2000, 2, 0}) == Errno::Success);
  CHECK_EQ(files.guest.get<uint32_t>(0), 2u);
  CHECK_EQ(files.guest.get<Event>(2000).nbytes, 3u);
  CHECK_EQ(files.guest.get<Event>(2000).error, 0);
}

}  // namespace

void run_file_tests(Backing backing) {
  test_preopen(backing);
  test_read_and_write(backing);
  test_seek(backing);
  test_open_flags(backing);
  test_rights(backing);
  test_renumber(backing);
  test_sizes_and_times(backing);
  test_names(backing);
  test_links(backing);
  test_listing(backing);
  test_unstable_filestat(backing);
  test_poll_files(backing);
}

}  // namespace wasi_test
