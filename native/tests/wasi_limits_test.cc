// File systems in memory and their budget, limits, fixed clocks, signals.
#include "wasi_files.h"

namespace wasi_test {
namespace {

void test_memory_budget() {
  constexpr uint64_t kBudget = (1 << 20) + 3000;
  Files files(with_directory("", false, kBudget), 4 << 20);
  uint32_t fd = files.must_open("big", kOflagCreat);
  files.guest.iovecs(16, {{100'000, 2 << 20}});
  // A short count up to the limit, then the error; and all of it can be had again.
  CHECK(files.guest.call("fd_write", {fd, 16, 1, 8}) == Errno::Success);
  CHECK(files.guest.count() > kBudget * 9 / 10 && files.guest.count() < kBudget);
  Outcome full = files.write(fd, std::string(8192, 'x'));
  CHECK(full == Errno::Nospc);
  CHECK(files.raw("fd_allocate", {fd, 0, kBudget}) == Errno::Nospc);
  CHECK(files.raw("fd_allocate", {fd, 0, kBudget + 1}) == Errno::Fbig);
  int made = 0;
  while (made < 100'000 && files.mkdir("dir" + std::to_string(made)) == Errno::Success) made++;
  CHECK(made < 1000);
  CHECK(files.open("new", kOflagCreat) == Errno::Nospc);
  CHECK(files.symlink("big", "new") == Errno::Nospc);
  CHECK(files.link("big", "new") == Errno::Nospc);
  for (int i = 0; i < made; i++) CHECK(files.rmdir("dir" + std::to_string(i)) == Errno::Success);
  // Room comes back when the last way to the file is gone, not before.
  CHECK(files.unlink("big") == Errno::Success);
  CHECK(files.open("new", kOflagCreat) == Errno::Success);
  CHECK(files.write(files.opened(), std::string(100'000, 'x')) == Errno::Nospc || files.guest.count() < 100'000);
  CHECK(files.close(fd) == Errno::Success);
  fd = files.must_open("again", kOflagCreat);
  files.guest.iovecs(16, {{100'000, 900'000}});
  CHECK(files.guest.call("fd_write", {fd, 16, 1, 8}) == Errno::Success);
  CHECK_EQ(files.guest.count(), 900'000u);
  // Cutting gives back too. Holes cost nothing, but no file is larger than the file system.
  CHECK(files.raw("fd_filestat_set_size", {fd, 0}) == Errno::Success);
  CHECK(files.raw("fd_filestat_set_size", {fd, kBudget}) == Errno::Success);
  CHECK(files.raw("fd_filestat_set_size", {fd, kBudget + 1}) == Errno::Fbig);
  CHECK(files.pwrite(fd, "x", kBudget) == Errno::Fbig);
  CHECK(files.pwrite(fd, "x", INT64_MAX) == Errno::Fbig);
  CHECK(files.pwrite(fd, "xy", kBudget - 1) == Errno::Success);
  CHECK_EQ(files.guest.count(), 1u);
  files.guest.waiter.hook = [](int, short, int64_t) { return -1; };
  files.guest.iovecs(16, {{100'000, 2 << 20}});
  CHECK(files.raw("fd_pread", {fd, 16, 1, 0, 8}) == HostCallAction::Interrupted);
}

void test_memory_depth() {
  Config config = with_directory("");
  config.limits.max_directory_depth = 5;
  Files files(std::move(config));
  CHECK(files.mkdir("1") == Errno::Success && files.mkdir("1/2") == Errno::Success && files.mkdir("1/2/3") == Errno::Success);
  CHECK(files.mkdir("1/2/3/4") == Errno::Success && files.mkdir("1/2/3/4/5") == Errno::Success);
  CHECK(files.mkdir("1/2/3/4/5/6") == Errno::Nametoolong);
  CHECK(files.open("1/2/3/4/5/file", kOflagCreat) == Errno::Success);
  uint32_t three = files.must_open("1/2/3", kOflagDirectory, kReadRights);
  CHECK(files.mkdir("4/5/6", three) == Errno::Nametoolong);
  // Nor by moving one tree under another.
  CHECK(files.mkdir("a") == Errno::Success && files.mkdir("a/b") == Errno::Success);
  CHECK(files.rename("a", "1/2/3/4/a") == Errno::Nametoolong);
  CHECK(files.rename("a", "1/2/3/a") == Errno::Success);
  CHECK(files.rename("1/2/3/a", "a") == Errno::Success);
}

void test_host_depth() {
  Folder folder;
  Config config = with_directory(folder.path);
  config.limits.max_directory_depth = 3;
  Files files(std::move(config));
  CHECK(files.mkdir("1") == Errno::Success && files.mkdir("1/2") == Errno::Success && files.mkdir("1/2/3") == Errno::Success);
  CHECK(files.mkdir("1/2/3/4") == Errno::Nametoolong);
  CHECK(files.symlink("1/2/3", "short") == Errno::Success);
  CHECK(files.mkdir("short/4") == Errno::Nametoolong);
  uint32_t three = files.must_open("short", kOflagDirectory, kReadRights);
  CHECK(files.mkdir("4", three) == Errno::Nametoolong);
  CHECK(files.mkdir("a") == Errno::Success);
  CHECK(files.rename("a", "short/a") == Errno::Nametoolong);
  CHECK(files.rename("a", "1/2/a") == Errno::Success);
  // A file may be there.
  CHECK(files.open("short/file", kOflagCreat) == Errno::Success);
}

void test_write_budget() {
  Folder folder;
  Config config = with_directory(folder.path);
  config.limits.max_write_bytes = 20'000;
  Files files(std::move(config));
  uint32_t fd = files.must_open("file", kOflagCreat);  // 4096 for the name
  CHECK(files.write(fd, std::string(10'000, 'x')) == Errno::Success);
  CHECK(files.write(fd, std::string(10'000, 'x')) == Errno::Success);
  CHECK_EQ(files.guest.count(), 5904u);
  CHECK(files.write(fd, "x") == Errno::Dquot);
  CHECK(files.write(fd, "") == Errno::Success);
  CHECK(files.pwrite(fd, "x", 0) == Errno::Dquot);
  CHECK(files.raw("fd_allocate", {fd, 0, 100'000}) == Errno::Dquot);
  CHECK(files.raw("fd_filestat_set_size", {fd, 100'000}) == Errno::Dquot);
  CHECK(files.raw("fd_filestat_set_size", {fd, 10}) == Errno::Success);
  CHECK(files.mkdir("dir") == Errno::Dquot);
  CHECK(files.open("new", kOflagCreat) == Errno::Dquot);
  CHECK(files.symlink("x", "new") == Errno::Dquot);
  CHECK(files.link("file", "new") == Errno::Dquot);
  CHECK(files.rename("file", "moved") == Errno::Success);
  CHECK_EQ(files.list(kDir).size(), 3u);

  Folder other;
  Config sparse = with_directory(other.path);
  sparse.limits.max_write_bytes = 20'000;
  Files holes(std::move(sparse));
  fd = holes.must_open("file", kOflagCreat);
  CHECK(holes.pwrite(fd, "x", 1 << 20) == Errno::Dquot);
  CHECK(holes.seek(fd, 1 << 20, 0) == Errno::Success);
  CHECK(holes.write(fd, "x") == Errno::Dquot);
  CHECK_EQ(holes.status_of(fd).size, 0u);
  CHECK(holes.pwrite(fd, "x", 10'000) == Errno::Success);
  CHECK(holes.pwrite(fd, "x", 19'000) == Errno::Dquot);
  // What failed is not counted.
  for (int i = 0; i < 100; i++) CHECK(holes.mkdir("file") == Errno::Exist);
}

void test_open_files() {
  for (bool memory : {false, true}) {
    Folder folder;
    Config config = with_directory(memory ? "" : folder.path);
    config.limits.max_open_files = 10;
    Files files(std::move(config));
    for (int i = 4; i < 10; i++) CHECK(files.open("file", kOflagCreat) == Errno::Success);
    int before = open_fds();
    CHECK(files.open("file") == Errno::Mfile);
    // And nothing is made, nor cut.
    CHECK(files.open("other", kOflagCreat) == Errno::Mfile);
    CHECK(files.stat("other") == Errno::Noent);
    CHECK_EQ(open_fds(), before);
    CHECK(files.close(7) == Errno::Success);
    CHECK(files.must_open("file") == 7);
    CHECK(files.close(0) == Errno::Success);
    CHECK(files.must_open("file") == 10);
  }
  Config config = with_directory("");
  config.limits.max_open_files = 3;
  CHECK(refuses([&] { Instance instance(std::move(config)); }));
}

void test_preopen_configuration() {
  auto code = [](Config config) -> std::string {
    try {
      Instance instance(std::move(config));
      return "";
    } catch (const Failure& failure) {
      return failure.code();
    }
  };
  CHECK(code(with_directory("/none/such")) == "BARECELL_PREOPEN_FAILED");
  CHECK(code(with_directory("/etc/passwd")) == "BARECELL_PREOPEN_FAILED");
  CHECK(code(with_directory(std::string("/\0x", 3))) == "BARECELL_ARGUMENT_INVALID");
  CHECK(code(with_directory("/tmp")).empty());
  for (const std::string& name : {std::string(), std::string("a\0b", 3), std::string("\xff"), std::string(5000, 'a')}) {
    Config config = with_directory("");
    config.preopens[0].guest_path = name;
    CHECK(code(std::move(config)) == "BARECELL_ARGUMENT_INVALID");
  }
}

void test_fixed() {
  std::string first[2];
  for (std::string& result : first) {
    Config config = with_directory("");
    config.fixed_clock = config.fixed_random = true;
    Files files(std::move(config));
    files.guest.waiter.hook = [](int, short, int64_t timeout) {
      CHECK_EQ(timeout, 0);
      return 0;
    };
    CHECK(files.guest.call("clock_time_get", {0, 0, 0}) == Errno::Success);
    CHECK_EQ(files.guest.get<uint64_t>(0) / 1'000'000, 946'684'800'000u);
    CHECK(files.guest.call("clock_time_get", {1, 0, 8}) == Errno::Success);
    CHECK(files.guest.call("random_get", {100, 10'000}) == Errno::Success);
    CHECK(files.must_open("file", kOflagCreat) == 4);
    CHECK(files.stat("file") == Errno::Success);
    result = files.guest.text(0, 11'000);
    // An hour passes at once; and then more time than there is.
    for (auto [id, timeout, absolute] : {std::tuple{1u, uint64_t{3'600'000'000'000}, 0}, std::tuple{0u, UINT64_MAX - 1, 1}}) {
      files.guest.put(20'000, std::string(48, '\0'));
      files.guest.put(20'016, id);
      files.guest.put(20'024, timeout);
      files.guest.put(20'040, absolute);
      CHECK(files.guest.call("poll_oneoff", {20'000, 30'000, 1, 0}) == Errno::Success);
      CHECK_EQ(files.guest.get<uint32_t>(0), 1u);
      if (absolute == 1) continue;
      CHECK(files.guest.call("clock_time_get", {1, 0, 0}) == Errno::Success);
      CHECK(files.guest.get<uint64_t>(0) >= 3'600'000'000'000 && files.guest.get<uint64_t>(0) < 3'601'000'000'000);
    }
    CHECK(files.guest.call("clock_res_get", {0, 0}) == Errno::Success);
    CHECK_EQ(files.guest.get<uint64_t>(0), 1000u);
  }
  CHECK(first[0] == first[1]);
}

void test_signals() {
  Guest guest;
  for (uint32_t ignored : {0u, 13u, 16u, 17u, 22u, 27u}) CHECK(guest.call("proc_raise", {ignored}) == Errno::Success);
  for (uint32_t stopping : {18u, 19u, 20u, 21u}) CHECK(guest.call("proc_raise", {stopping}) == Errno::Notsup);
  for (uint32_t unknown : {31u, 255u, UINT32_MAX}) CHECK(guest.call("proc_raise", {unknown}) == Errno::Inval);
  for (auto [signal, status] : {std::pair{6u, 134u}, std::pair{9u, 137u}, std::pair{11u, 139u}, std::pair{15u, 143u}}) {
    Outcome outcome = guest.call("proc_raise", {signal});
    CHECK(outcome == HostCallAction::Exit);
    CHECK_EQ(outcome.exit_code, status);
  }
}

}  // namespace

void run_memory_tests() {
  test_memory_budget();
  test_memory_depth();
}

void run_limit_tests() {
  test_host_depth();
  test_write_budget();
  test_open_files();
  test_preopen_configuration();
  test_fixed();
  test_signals();
}

}  // namespace wasi_test
