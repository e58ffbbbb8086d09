// Files packed into an image: what a guest can do with them, and bundles that are damaged or forged.
#include <filesystem>
#include <random>

#include "wasi_files.h"

namespace wasi_test {
namespace {

// As src/image/bundle.ts writes it; each number by itself, so that it can be a wrong one.
struct Packed {
  struct Entry {
    uint64_t size;
    uint32_t kind;  // 0: directory, 1: file
    std::string name;
    std::string contents;
  };
  std::string magic = "bcbundle";
  uint32_t version = 1;
  uint32_t roots = 1;
  std::vector<Entry> entries;

  std::vector<uint8_t> bytes() const {
    std::string head = magic, table, names, contents;
    auto put = [](std::string& to, auto value) { to.append(reinterpret_cast<const char*>(&value), sizeof value); };
    for (const Entry& entry : entries) {
      put(table, entry.size);
      put(table, static_cast<uint32_t>(entry.name.size()));
      put(table, entry.kind);
      names += entry.name;
      contents += entry.contents;
    }
    put(head, version);
    put(head, roots);
    put(head, static_cast<uint32_t>(entries.size()));
    put(head, static_cast<uint32_t>(names.size()));
    put(head, static_cast<uint64_t>(contents.size()));
    std::string all = head + table + names + contents;
    return {all.begin(), all.end()};
  }
};

Packed::Entry directory(const std::string& name, uint64_t size) { return {size, 0, name, ""}; }
Packed::Entry file(const std::string& name, const std::string& contents) { return {contents.size(), 1, name, contents}; }

// /data: a/{b/{deep}, f}, e/, hello, ü; /other: x
Packed sample() {
  Packed packed;
  packed.roots = 2;
  packed.entries = {directory("/data", 4), directory("/other", 1),
                    directory("a", 2),     directory("e", 0),
                    file("hello", "hello, bundle"), file("\xc3\xbc", ""),
                    file("x", "xyz"),      directory("b", 1),
                    file("f", "in a"),     file("deep", "down")};
  return packed;
}

// In a heap block of exactly its size, so that the sanitizer sees any step outside.
std::shared_ptr<const Bundle> load(const std::vector<uint8_t>& bytes) {
  std::shared_ptr<uint8_t[]> block(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), block.get());
  return std::make_shared<const Bundle>(std::span<const uint8_t>(block.get(), bytes.size()), block);
}

bool is_refused(const std::vector<uint8_t>& bytes) {
  try {
    load(bytes);
    return false;
  } catch (const Failure& failure) {
    return std::string(failure.code()) == "BARECELL_IMAGE_INVALID";
  }
}

Config with_bundle(std::shared_ptr<const Bundle> bundle) {
  Config config;
  config.bundle = std::move(bundle);
  for (uint32_t i = 0; i < config.bundle->root_count(); i++) {
    config.preopens.push_back({std::string(config.bundle->node(i).name), "", true, 0, i});
  }
  return config;
}

void test_reading() {
  Files files(with_bundle(load(sample().bytes())));
  CHECK(files.guest.call("fd_prestat_get", {4, 0}) == Errno::Success);
  CHECK_EQ(files.guest.get<uint32_t>(4), 6u);
  uint32_t fd = files.must_open("hello", 0, kReadRights);
  CHECK(files.read_all(fd) == "hello, bundle");
  CHECK(files.pread(fd, 100, 7) == Errno::Success && files.got() == "bundle");
  CHECK(files.pread(fd, 100, 13) == Errno::Success && files.guest.count() == 0);
  CHECK(files.pread(fd, 100, UINT64_MAX) == Errno::Inval);
  CHECK(files.seek(fd, -3, 2) == Errno::Success && files.position() == 10);
  CHECK(files.read(fd, 100) == Errno::Success && files.got() == "dle");
  CHECK(files.seek(fd, -14, 1) == Errno::Inval);
  CHECK(files.seek(fd, 100, 1) == Errno::Success);
  CHECK(files.read(fd, 100) == Errno::Success && files.guest.count() == 0);
  CHECK(files.seek(fd, INT64_MAX, 1) == Errno::Overflow);
  // In pieces, two of which overlap, and one of which is empty.
  CHECK(files.seek(fd, 0, 0) == Errno::Success);
  files.guest.iovecs(16, {{20000, 5}, {20002, 4}, {500, 0}, {20010, 100}});
  CHECK(files.guest.call("fd_read", {fd, 16, 4, 8}) == Errno::Success);
  CHECK_EQ(files.guest.count(), 13u);
  CHECK(files.guest.text(20000, 6) == "he, bu" && files.guest.text(20010, 4) == "ndle");
  files.guest.iovecs(16, {{static_cast<uint32_t>(files.guest.size - 4), 5}});
  CHECK(files.guest.call("fd_read", {fd, 16, 1, 8}) == Errno::Fault);

  Filestat status = files.status_of(fd);
  CHECK_EQ(status.size, 13u);
  CHECK(status.filetype == static_cast<uint8_t>(Filetype::RegularFile) && status.nlink == 1);
  CHECK(status.atim == status.mtim && status.mtim == status.ctim && status.mtim == Bundle::kTimeNs);
  CHECK(files.stat("hello") == Errno::Success && files.status().ino == status.ino);
  CHECK(files.stat("a/f") == Errno::Success && files.status().ino != status.ino);
  // Empty files, and the other root.
  CHECK(files.read_all(files.must_open("\xc3\xbc", 0, kReadRights)).empty());
  CHECK(files.read_all(files.must_open("x", 0, kReadRights, kFollow, 0, 4)) == "xyz");
  // A descriptor further down is a wall too.
  uint32_t below = files.must_open("a/b", kOflagDirectory, kReadRights);
  CHECK(files.open("../f", 0, kReadRights, kFollow, 0, below) == Errno::Notcapable);
  CHECK(files.read_all(files.must_open("./deep", 0, kReadRights, kFollow, 0, below)) == "down");
  CHECK(files.read_all(files.must_open("a/b/../../a//f", 0, kReadRights)) == "in a");
  CHECK(files.readlink("hello") == Errno::Inval);
  // Reading is all that a file is for.
  Rights rights = 0;
  CHECK(files.guest.call("fd_fdstat_get", {fd, 0}) == Errno::Success);
  rights = files.guest.get<uint64_t>(8);
  CHECK((rights & kRightFdRead) != 0 && (rights & (kRightFdWrite | kRightFdAllocate | kRightFdFilestatSetSize)) == 0);
}

void test_listing() {
  Files files(with_bundle(load(sample().bytes())));
  using List = std::map<std::string, uint8_t>;
  constexpr uint8_t kDir = static_cast<uint8_t>(Filetype::Directory), kReg = static_cast<uint8_t>(Filetype::RegularFile);
  List expected{{".", kDir}, {"..", kDir}, {"a", kDir}, {"e", kDir}, {"hello", kReg}, {"\xc3\xbc", kReg}};
  // Small buffers take many calls, and tell the same.
  for (uint32_t bytes : {4096, 64, 30, 1}) CHECK(files.list(3, bytes) == expected);
  CHECK(files.list(4) == (List{{".", kDir}, {"..", kDir}, {"x", kReg}}));
  CHECK(files.list(files.must_open("e", kOflagDirectory, kReadRights)) == (List{{".", kDir}, {"..", kDir}}));
  // A cookie means the same entry for ever.
  for (int round = 0; round < 2; round++) {
    CHECK(files.raw("fd_readdir", {3, 20000, 4096, 4, 0}) == Errno::Success);
    auto entry = files.guest.get<Dirent>(20000);
    CHECK(files.guest.text(20000 + sizeof entry, entry.d_namlen) == "hello" && entry.d_next == 5);
    CHECK(files.stat("hello") == Errno::Success && files.status().ino == entry.d_ino);
  }
  for (uint64_t cookie : {uint64_t{6}, uint64_t{7}, uint64_t{1} << 32, UINT64_MAX}) {
    CHECK(files.raw("fd_readdir", {3, 20000, 4096, cookie, 0}) == Errno::Success);
    CHECK_EQ(files.guest.get<uint32_t>(0), 0u);
  }
  // A long list ends when it must.
  Packed many;
  many.entries.push_back(directory("/", 5000));
  for (int i = 0; i < 5000; i++) many.entries.push_back(file("f" + std::to_string(100'000 + i), ""));
  Files long_list(with_bundle(load(many.bytes())));
  CHECK_EQ(long_list.list(3).size(), 5002u);
  long_list.guest.waiter.hook = [](int, short, int64_t) { return -1; };
  CHECK(long_list.raw("fd_readdir", {3, 20000, 900'000, 0, 0}) == HostCallAction::Interrupted);
}

void test_long_reads_end() {
  Packed packed;
  packed.entries = {directory("/", 1), file("large", std::string(5 << 20, 'x'))};
  Files files(with_bundle(load(packed.bytes())), 8 << 20);
  uint32_t fd = files.must_open("large", 0, kReadRights);
  files.guest.iovecs(16, {{100'000, 7 << 20}});
  CHECK(files.guest.call("fd_read", {fd, 16, 1, 8}) == Errno::Success);
  CHECK_EQ(files.guest.count(), 5u << 20);
  CHECK(files.guest.text(100'000 + (5 << 20) - 1, 2) == std::string("x\0", 2));
  CHECK(files.seek(fd, 0, 0) == Errno::Success);
  files.guest.waiter.hook = [](int, short, int64_t) { return -1; };
  CHECK(files.guest.call("fd_read", {fd, 16, 1, 8}) == HostCallAction::Interrupted);
}

// Whatever is asked, the answer is that of a directory of the host with the same files that may only be read.
void test_same_as_read_only_directory() {
  Folder folder;
  std::filesystem::create_directories(folder / "a/b");
  std::filesystem::create_directories(folder / "e");
  folder.write("hello", "hello, bundle");
  folder.write("\xc3\xbc", "");
  folder.write("a/f", "in a");
  folder.write("a/b/deep", "down");
  Files host(with_directory(folder.path, true));
  Files packed(with_bundle(load(sample().bytes())));
  const std::string paths[] = {
      "hello", "hello/", "hello//", "hello/.", "hello/..", "hello/x", "./hello", "a", "a/", "a/.", "a/..", "a/../hello", "a//f", "a/f/", "a/f/../f",
      "a/b", "a/b/", "a/b/deep", "a/b/../../hello", "a/b/../../..", "..", "../", "../data", "a/../..", ".", "./", "./.", "/", "/hello", "//", "e", "e/x",
      "missing", "missing/", "missing/x", "a/missing", "", "\xc3\xbc", "\xc3", "hello\0", std::string("hello\0", 6), std::string(255, 'n'),
      std::string(256, 'n'), "a/" + std::string(256, 'n'), std::string(4095, 'p'), std::string(4096, 'p'), "HELLO", " hello"};
  constexpr uint64_t kRights[] = {kRightFdRead, kReadRights, kRightFdRead | kRightFdWrite, kRightFdAllocate, 0, kRightFdReaddir};
  int compared = 0;
  auto same = [&](const std::string& what, Outcome left, Outcome right) {
    compared++;
    std::string text = what + ": host " + std::to_string(left.error) + ", bundle " + std::to_string(right.error);
    check(left.action == right.action && left.error == right.error, __FILE__, __LINE__, text);
    return left == Errno::Success;
  };
  for (const std::string& path : paths) {
    for (uint32_t oflags = 0; oflags < 16; oflags++) {
      for (uint64_t rights : kRights) {
        for (uint32_t lookup : {0u, kFollow}) {
          std::string what = "open '" + path + "' " + std::to_string(oflags) + " rights " + std::to_string(rights);
          if (!same(what, host.open(path, oflags, rights, lookup), packed.open(path, oflags, rights, lookup))) continue;
          for (Files* files : {&host, &packed}) CHECK(files->close(files->opened()) == Errno::Success);
        }
      }
    }
    if (same("stat '" + path + "'", host.stat(path), packed.stat(path))) {
      CHECK(host.status().filetype == packed.status().filetype);
      if (packed.status().filetype == static_cast<uint8_t>(Filetype::RegularFile)) CHECK_EQ(host.status().size, packed.status().size);
    }
    same("readlink '" + path + "'", host.readlink(path), packed.readlink(path));
    same("mkdir '" + path + "'", host.mkdir(path), packed.mkdir(path));
    same("rmdir '" + path + "'", host.rmdir(path), packed.rmdir(path));
    same("unlink '" + path + "'", host.unlink(path), packed.unlink(path));
    same("symlink '" + path + "'", host.symlink("hello", path), packed.symlink("hello", path));
    same("link '" + path + "'", host.link(path, "new"), packed.link(path, "new"));
    same("link to '" + path + "'", host.link("hello", path), packed.link("hello", path));
    same("rename '" + path + "'", host.rename(path, "new"), packed.rename(path, "new"));
    same("set times '" + path + "'", host.set_times(path, 1, 1, 5), packed.set_times(path, 1, 1, 5));
  }
  for (const char* path : {"hello", "a"}) {
    uint64_t rights = kReadRights;
    uint32_t left = host.must_open(path, 0, rights), right = packed.must_open(path, 0, rights);
    same("write", host.write(left, "x"), packed.write(right, "x"));
    same("pwrite", host.pwrite(left, "x", 0), packed.pwrite(right, "x", 0));
    same("set size", host.raw("fd_filestat_set_size", {left, 0}), packed.raw("fd_filestat_set_size", {right, 0}));
    same("allocate", host.raw("fd_allocate", {left, 0, 1}), packed.raw("fd_allocate", {right, 0, 1}));
    same("set times", host.raw("fd_filestat_set_times", {left, 1, 1, 5}), packed.raw("fd_filestat_set_times", {right, 1, 1, 5}));
    same("sync", host.raw("fd_sync", {left}), packed.raw("fd_sync", {right}));
    same("advise", host.raw("fd_advise", {left, 0, 0, 0}), packed.raw("fd_advise", {right, 0, 0, 0}));
    same("set flags", host.raw("fd_fdstat_set_flags", {left, kFdflagAppend}), packed.raw("fd_fdstat_set_flags", {right, kFdflagAppend}));
    same("seek", host.seek(left, 0, 0), packed.seek(right, 0, 0));
    same("read", host.read(left, 10), packed.read(right, 10));
    same("readdir", host.raw("fd_readdir", {left, 20000, 100, 0, 0}), packed.raw("fd_readdir", {right, 20000, 100, 0, 0}));
  }
  CHECK(compared > 9000);
}

// From and to file systems that can be written.
void test_between_file_systems() {
  Config config = with_bundle(load(sample().bytes()));
  config.preopens.push_back({"/tmp", "", false, 1 << 20});
  Files files(std::move(config));
  constexpr uint32_t kTmp = 5;
  uint32_t fd = files.must_open("own", kOflagCreat, kAllRights, kFollow, 0, kTmp);
  CHECK(files.write(fd, "own") == Errno::Success);
  CHECK(files.link("hello", "stolen", 0, 3, kTmp) == Errno::Xdev);
  CHECK(files.rename("hello", "stolen", 3, kTmp) == Errno::Xdev);
  CHECK(files.rename("own", "own", kTmp, 3) == Errno::Xdev);
  // The two roots are of one file system, of which nothing can be changed.
  CHECK(files.link("hello", "stolen", 0, 3, 4) == Errno::Rofs);
  CHECK(files.rename("x", "stolen", 4, 3) == Errno::Rofs);
  CHECK(files.stat("own", kFollow, kTmp) == Errno::Success);
  uint64_t device = files.status().dev;
  CHECK(files.stat("hello") == Errno::Success && files.status().dev != device);
}

void test_preopens() {
  auto bundle = load(sample().bytes());
  Config wrong = with_bundle(bundle);
  wrong.preopens[0].bundle_root = 2;
  CHECK(refuses([&] { Instance instance(std::move(wrong)); }));
  Config none;
  none.preopens.push_back({"/data", "", true, 0, 0});
  CHECK(refuses([&] { Instance instance(std::move(none)); }));
  // The bundle stays for those who have files open, whoever else is gone.
  std::weak_ptr<const Bundle> watch = bundle;
  {
    Files files(with_bundle(std::move(bundle)));
    CHECK(files.read_all(files.must_open("hello", 0, kReadRights)) == "hello, bundle");
    CHECK(!watch.expired());
  }
  CHECK(watch.expired());
}

void test_damaged() {
  CHECK(!is_refused(sample().bytes()));
  auto refused = [](const char* what, auto change) {
    Packed packed = sample();
    change(packed);
    check(is_refused(packed.bytes()), __FILE__, __LINE__, what);
  };
  refused("magic", [](Packed& p) { p.magic = "bcbundlf"; });
  refused("version", [](Packed& p) { p.version = 2; });
  refused("no roots", [](Packed& p) { p.roots = 0; });
  refused("more roots than nodes", [](Packed& p) { p.roots = 11; });
  refused("a root that is a file", [](Packed& p) { p.entries[1] = file("/other", ""); });
  refused("roots with one path", [](Packed& p) { p.entries[1].name = "/data"; });
  refused("a root without a path", [](Packed& p) { p.entries[1].name = ""; });
  refused("a root with a NUL", [](Packed& p) { p.entries[1].name = std::string("/\0x", 3); });
  refused("a root's path too long", [](Packed& p) { p.entries[1].name = std::string(4096, 'p'); });
  refused("kind", [](Packed& p) { p.entries[5].kind = 2; });
  refused("a size that wraps", [](Packed& p) { p.entries[4].size = UINT64_MAX; });
  refused("entries that wrap", [](Packed& p) { p.entries[3].size = UINT64_MAX; });
  refused("a file longer than its contents", [](Packed& p) { p.entries[4].size++; });
  refused("a file shorter than its contents", [](Packed& p) { p.entries[4].size--; });
  refused("one entry too many", [](Packed& p) { p.entries[3].size++; });
  refused("one entry too few", [](Packed& p) { p.entries[7].size--; });
  refused("a directory that is its own entry", [](Packed& p) { p.entries[0].size = 0, p.entries[1].size = 0, p.entries[2].size = 7; });
  for (std::string name : {std::string(""), std::string("."), std::string(".."), std::string("a/b"), std::string("/"), std::string("a\0", 2),
                           std::string("\xff"), std::string("\xed\xa0\x80"), std::string("\xc0\xaf"), std::string(256, 'z')}) {
    refused("a name", [&](Packed& p) { p.entries[5].name = name; });
  }
  refused("a name twice", [](Packed& p) { p.entries[3].name = "a"; });
  refused("names out of order", [](Packed& p) { std::swap(p.entries[3].name, p.entries[4].name); });
  std::vector<uint8_t> longer = sample().bytes();
  longer.push_back(0);
  CHECK(is_refused(longer));
  CHECK(is_refused({}));

  auto deep = [](uint32_t levels) {
    Packed packed;
    packed.entries.push_back(directory("/", 1));
    for (uint32_t i = 1; i < levels; i++) packed.entries.push_back(directory("d", 1));
    packed.entries.push_back(file("f", ""));
    return packed.bytes();
  };
  CHECK(!is_refused(deep(Bundle::kMaxDepth)));
  CHECK(is_refused(deep(Bundle::kMaxDepth + 1)));
  auto wide = [](uint32_t files) {
    Packed packed;
    packed.entries.push_back(directory("/", files));
    for (uint32_t i = 0; i < files; i++) packed.entries.push_back(file("f" + std::to_string(100'000 + i), ""));
    return packed.bytes();
  };
  CHECK(!is_refused(wide(Bundle::kMaxNodes - 1)));
  CHECK(is_refused(wide(Bundle::kMaxNodes)));
  auto rooted = [](uint32_t roots) {
    Packed packed;
    packed.roots = roots;
    for (uint32_t i = 0; i < roots; i++) packed.entries.push_back(directory("/" + std::to_string(i), 0));
    return packed.bytes();
  };
  CHECK(!is_refused(rooted(Bundle::kMaxRoots)));
  CHECK(is_refused(rooted(Bundle::kMaxRoots + 1)));
}

// Cut off at any byte it is refused; with bytes changed it is refused, or a bundle that can be walked.
void test_mutated() {
  std::vector<uint8_t> good = sample().bytes();
  for (size_t bytes = 0; bytes < good.size(); bytes++) CHECK(is_refused({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(bytes)}));
  std::mt19937 random(1);
  int accepted = 0;
  for (int round = 0; round < 20'000; round++) {
    std::vector<uint8_t> bytes = good;
    for (unsigned changes = 1 + random() % 3; changes > 0; changes--) {
      static constexpr uint8_t kBytes[] = {0, 1, 2, 0x7f, 0x80, 0xff, '/', '.'};
      bytes[random() % bytes.size()] = random() % 2 == 0 ? kBytes[random() % 8] : static_cast<uint8_t>(random());
    }
    std::shared_ptr<const Bundle> bundle;
    try {
      bundle = load(bytes);
    } catch (const Failure&) {
      continue;
    }
    accepted++;
    Files files(with_bundle(bundle), 65536);
    for (uint32_t root = 0; root < bundle->root_count(); root++) {
      for (const auto& [name, type] : files.list(3 + root)) {
        if (name == "..") continue;
        CHECK(files.stat(name, 0, 3 + root) == Errno::Success);
        if (files.open(name, 0, kReadRights, 0, 0, 3 + root) == Errno::Success) files.read(files.opened(), 1000);
      }
    }
  }
  // Other contents, or other names.
  CHECK(accepted > 1000 && accepted < 15'000);
}

}  // namespace

void run_bundle_tests() {
  test_reading();
  test_listing();
  test_long_reads_end();
  test_same_as_read_only_directory();
  test_between_file_systems();
  test_preopens();
  test_damaged();
  test_mutated();
}

}  // namespace wasi_test
