// Tests of native/wasi, without a VM: streams, clocks, polling; and main() for the tests of the other files.
// Build: g++ -std=c++20 -fsanitize=address,undefined -Inative -Iguest-stubs native/tests/*.cc native/wasi/*.cc native/guest_output.cc native/guest_input.cc -lutil -o wasi_test
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "wasi_support.h"

namespace wasi_test {
namespace {

bool kernel_has_nowait_pipes() {
  Pipe pipe;
  char byte;
  iovec piece{&byte, 1};
  return preadv2(pipe.ends[0], &piece, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN;
}

bool signal_pending(int signal) {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, signal) == 1;
}

// ---- names and types

void test_table() {
  Guest guest;
  CHECK_EQ(signatures().size(), 46u);
  for (const Signature& signature : signatures()) {
    CHECK(static_cast<bool>(guest.instance.bind(kPreview1, signature.name)));
    CHECK(static_cast<bool>(guest.instance.bind(kUnstable, signature.name)));
    CHECK(signature.params.find_first_not_of("ij") == std::string_view::npos);
    CHECK(signature.params.size() <= kHostCallMaxSlots && signature.results.size() <= 1);
  }
  CHECK(!guest.instance.bind(kPreview1, "path_opens"));
  CHECK(!guest.instance.bind(kPreview1, ""));
  CHECK(!guest.instance.bind("wasi_snapshot_preview2", "fd_write"));
  CHECK(!guest.instance.bind("env", "fd_write"));
  CHECK(!guest.instance.bind("", ""));
}

void test_bound_functions_outlive_the_instance() {
  HostFunction function;
  {
    Config config;
    config.args = {"program"};
    Instance instance(std::move(config));
    function = instance.bind(kPreview1, "args_sizes_get");
  }
  uint8_t bytes[16] = {};
  LinearMemory memory;
  memory.attach(bytes, sizeof bytes);
  TestWaiter waiter;
  HostCall call{{}, memory, waiter};
  call.slots[1].u32 = 4;
  CHECK(function(call) == HostCallAction::Continue);
  CHECK_EQ(bytes[0], 1);
  CHECK_EQ(bytes[4], 8);
}

void test_close() {
  int before = open_fds();
  Config config = capturing();
  config.preopens.push_back({"/", "/tmp", true, 0});
  Guest guest(std::move(config));
  guest.put(100, std::string("text"));
  CHECK(guest.write(1, 100, 4) == Errno::Success);
  CHECK(open_fds() > before);
  guest.instance.close();
  CHECK_EQ(open_fds(), before);
  CHECK(guest.write(1, 100, 4) == Errno::Badf);
  CHECK(string_of(guest.instance.take_stdout()) == "text");
}

void test_configuration() {
  auto with = [](auto change) {
    return [change] {
      Config config;
      change(config);
      Instance instance(std::move(config));
    };
  };
  CHECK(!refuses(with([](Config&) {})));
  CHECK(refuses(with([](Config& config) { config.args = {std::string("a\0b", 3)}; })));
  CHECK(refuses(with([](Config& config) { config.env = {"A=1", std::string("\0", 1)}; })));
  CHECK(refuses(with([](Config& config) { config.stdin_ = of_kind(Kind::Capture); })));
  CHECK(refuses(with([](Config& config) { config.stdout_ = of_bytes("x"); })));
  CHECK(refuses(with([](Config& config) { config.stderr_ = of_fd(-1); })));
  CHECK(refuses(with([](Config& config) { config.stdin_ = of_fd(1000); })));
}

// ---- args_*, environ_*, proc_exit, sched_yield

void test_strings() {
  Config config;
  config.args = {"program", "", "two words"};
  config.env = {"HOME=/", "EMPTY="};
  Guest guest(std::move(config));
  CHECK(guest.call("args_sizes_get", {0, 4}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(0), 3u);
  CHECK_EQ(guest.get<uint32_t>(4), 19u);
  CHECK(guest.call("args_get", {100, 200}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(100), 200u);
  CHECK_EQ(guest.get<uint32_t>(104), 208u);
  CHECK_EQ(guest.get<uint32_t>(108), 209u);
  CHECK(guest.text(200, 20) == std::string("program\0\0two words\0\0", 20));
  CHECK(guest.call("environ_sizes_get", {0, 4}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(0), 2u);
  CHECK_EQ(guest.get<uint32_t>(4), 14u);
  CHECK(guest.call("environ_get", {300, 400}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(304), 407u);
  CHECK(guest.text(400, 14) == std::string("HOME=/\0EMPTY=\0", 14));

  // Exactly at the end fits; a byte further nothing at all is written.
  uint32_t end = static_cast<uint32_t>(guest.size);
  CHECK(guest.call("args_get", {end - 12, 0}) == Errno::Success);
  CHECK(guest.call("args_get", {0, end - 19}) == Errno::Success);
  guest.put(500, uint32_t{77});
  CHECK(guest.call("args_get", {500, end - 18}) == Errno::Fault);
  CHECK(guest.call("args_get", {end - 11, 500}) == Errno::Fault);
  CHECK(guest.call("args_sizes_get", {500, end - 3}) == Errno::Fault);
  CHECK(guest.call("args_sizes_get", {end - 3, 500}) == Errno::Fault);
  CHECK(guest.call("environ_get", {500, UINT32_MAX}) == Errno::Fault);
  CHECK_EQ(guest.get<uint32_t>(500), 77u);
  // Both on the same place: some order of bytes, no crash.
  CHECK(guest.call("args_get", {600, 600}) == Errno::Success);

  Guest bare;
  CHECK(bare.call("args_sizes_get", {0, 4}) == Errno::Success);
  CHECK_EQ(bare.get<uint64_t>(0), 0u);
  CHECK(bare.call("args_get", {end, end}) == Errno::Success);
  CHECK(bare.call("args_get", {end + 1, 0}) == Errno::Fault);
}

void test_exit_and_yield() {
  Guest guest;
  Outcome outcome = guest.call("proc_exit", {0xdeadbeef});
  CHECK(outcome == HostCallAction::Exit);
  CHECK_EQ(outcome.exit_code, 0xdeadbeefu);
  CHECK(guest.call("proc_exit", {0}) == HostCallAction::Exit);
  CHECK(guest.call("sched_yield", {}) == Errno::Success);
}

// ---- clock_*, random_get

uint64_t time_of(Guest& guest, uint32_t clock) {
  CHECK(guest.call("clock_time_get", {clock, 0, 0}) == Errno::Success);
  return guest.get<uint64_t>(0);
}

void burn_cpu() {
  timespec start{}, now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
  do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  while ((now.tv_sec - start.tv_sec) * 1'000'000'000 + now.tv_nsec - start.tv_nsec < 2'000'000);
}

void test_clocks() {
  Guest guest;
  for (uint32_t clock = 0; clock < 4; clock++) {
    guest.put(0, uint64_t{0});
    CHECK(guest.call("clock_res_get", {clock, 0}) == Errno::Success);
    CHECK(guest.get<uint64_t>(0) > 0);
    uint64_t first = time_of(guest, clock);
    burn_cpu();
    CHECK(time_of(guest, clock) >= first + 1'000'000);
    CHECK(guest.call("clock_time_get", {clock, UINT64_MAX, guest.size - 8}) == Errno::Success);
    CHECK(guest.call("clock_time_get", {clock, 0, guest.size - 7}) == Errno::Fault);
    CHECK(guest.call("clock_res_get", {clock, guest.size - 7}) == Errno::Fault);
  }
  CHECK(time_of(guest, 0) / 1'000'000'000 - static_cast<uint64_t>(time(nullptr)) + 1 <= 2);
  // Counts from the start of the program, not of the host.
  CHECK(time_of(guest, 1) < 10'000'000'000);
  for (uint32_t clock : {4u, 255u, UINT32_MAX}) {
    CHECK(guest.call("clock_time_get", {clock, 0, 0}) == Errno::Inval);
    CHECK(guest.call("clock_res_get", {clock, 0}) == Errno::Inval);
  }

  // CPU time goes on from thread to thread, whether the next one has used more before or less, and none of that is counted.
  Guest wanderer;
  uint64_t last = 0;
  for (int used : {1, 5, 0}) {
    std::thread([&] {
      for (int i = 0; i < used; i++) burn_cpu();
      CHECK_EQ(time_of(wanderer, 2), last);
      burn_cpu();
      last = time_of(wanderer, 3);
      CHECK(last >= 2'000'000 && last < 1'000'000'000);
    }).join();
  }
}

void test_random() {
  Guest guest({}, 1 << 20);
  CHECK(guest.call("random_get", {0, 1 << 20}) == Errno::Success);
  int zeros = 0;
  for (uint64_t at = 0; at < guest.size; at += 8) zeros += guest.get<uint64_t>(at) == 0;
  CHECK_EQ(zeros, 0);
  guest.put(100, uint64_t{0});
  CHECK(guest.call("random_get", {101, 1}) == Errno::Success);
  CHECK_EQ(guest.get<uint8_t>(100), 0);
  CHECK_EQ(guest.get<uint8_t>(102), 0);
  CHECK(guest.call("random_get", {1 << 20, 0}) == Errno::Success);
  CHECK(guest.call("random_get", {(1 << 20) + 1, 0}) == Errno::Fault);
  guest.put(0, uint64_t{7});
  CHECK(guest.call("random_get", {0, (1 << 20) + 1}) == Errno::Fault);
  CHECK(guest.call("random_get", {1, UINT32_MAX}) == Errno::Fault);
  CHECK(guest.call("random_get", {UINT32_MAX, UINT32_MAX}) == Errno::Fault);
  CHECK_EQ(guest.get<uint64_t>(0), 7u);
  // A long request can be stopped on its way.
  int looks = 0;
  guest.waiter.hook = [&](int, short, int64_t) { return ++looks == 2 ? -1 : 0; };
  CHECK(guest.call("random_get", {0, 1 << 20}) == HostCallAction::Interrupted);
  CHECK_EQ(looks, 2);
}

// ---- fd_write, fd_read: lists of buffers

void test_gather() {
  Guest guest(capturing());
  guest.put(1000, std::string("hello world"));
  // Overlapping, out of order, empty, and the count lying in the data.
  guest.iovecs(0, {{1006, 5}, {1000, 0}, {1000, 6}, {1000, 11}, {65536, 0}});
  CHECK(guest.call("fd_write", {1, 0, 5, 1004}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(1004), 22u);
  CHECK(string_of(guest.instance.take_stdout()) == "worldhello hello world");
  CHECK(guest.instance.take_stdout().empty());
  CHECK(guest.instance.take_stderr().empty());
  CHECK_EQ(guest.instance.stdout_total(), 22u);
  CHECK(guest.call("fd_write", {2, 0, 1, 500}) == Errno::Success);
  CHECK_EQ(guest.instance.take_stderr().size(), 5u);
  // Nothing to write.
  guest.put(8, 77);
  CHECK(guest.call("fd_write", {1, 0, 0, 8}) == Errno::Success);
  CHECK_EQ(guest.count(), 0u);
  CHECK(guest.call("fd_write", {1, 65536, 0, 8}) == Errno::Success);
  CHECK(guest.call("fd_write", {1, 65537, 0, 8}) == Errno::Fault);
}

void test_hostile_lists() {
  Guest guest(capturing());
  auto refused = [&](std::initializer_list<uint64_t> arguments) {
    return guest.call("fd_write", arguments) == Errno::Fault && guest.instance.stdout_total() == 0;
  };
  guest.iovecs(0, {{100, 10}, {65536 - 9, 10}});
  CHECK(refused({1, 0, 2, 500}));
  guest.iovecs(0, {{100, 10}, {UINT32_MAX, UINT32_MAX}});
  CHECK(refused({1, 0, 2, 500}));
  guest.iovecs(0, {{100, 10}, {65537, 0}});
  CHECK(refused({1, 0, 2, 500}));
  guest.iovecs(0, {{100, 10}});
  CHECK(refused({1, 0, 1, 65533}));
  CHECK(refused({1, 0, 1, UINT32_MAX}));
  CHECK(refused({1, 65529, 1, 500}));
  CHECK(refused({1, UINT32_MAX, 1, 500}));
  CHECK(refused({1, 0, UINT32_MAX, 500}));
  CHECK(refused({1, 0, 65536 / 8 + 1, 500}));
  // So long that a product in 32 bits would be 8.
  CHECK(refused({1, 0, (1u << 29) + 1, 500}));

  // Longer than what is served at once: a short count.
  for (uint32_t i = 0; i < 1100; i++) guest.put(uint64_t{8} * i, Iovec{i, 1});
  CHECK(guest.call("fd_write", {1, 0, 1100, 60000}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(60000), 1024u);
  CHECK_EQ(guest.instance.take_stdout().size(), 1024u);
  // Nothing in the part that is served: a count of 0 would never end.
  for (uint32_t i = 0; i < 1024; i++) guest.put(uint64_t{8} * i, Iovec{i, 0});
  CHECK(guest.call("fd_write", {1, 0, 1100, 60000}) == Errno::Inval);
  CHECK(guest.call("fd_write", {1, 0, 1024, 60000}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(60000), 0u);
}

// Sums beyond 32 bits, over a linear memory of full size that is never touched but in its first page.
void test_huge_buffers() {
  constexpr uint64_t size = uint64_t{1} << 32;
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    std::printf("SKIPPED: test_huge_buffers: no 4 GiB of address space\n");
    skipped++;
    return;
  }
  Config config = capturing(100);
  config.stderr_ = of_kind(Kind::None);
  Guest guest(std::move(config));
  guest.memory.attach(static_cast<uint8_t*>(base), size);
  for (uint32_t i = 0; i < 1024; i++) guest.put(uint64_t{8} * i, Iovec{1, UINT32_MAX});
  CHECK(guest.call("fd_write", {2, 0, 1024, UINT32_MAX - 3}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(UINT32_MAX - 3), 0x7ffff000u);
  CHECK_EQ(guest.instance.stderr_total(), 0x7ffff000u);
  CHECK(guest.call("fd_write", {1, 0, 1024, 9000}) == HostCallAction::OutputLimit);
  CHECK_EQ(guest.instance.take_stdout().size(), 100u);
  guest.put(0, Iovec{1, UINT32_MAX});
  CHECK(guest.call("fd_write", {2, 0, UINT32_MAX, 9000}) == Errno::Fault);
  CHECK(guest.call("fd_write", {2, 0, (uint64_t{1} << 29), 9000}) == Errno::Success);
  munmap(base, size);
}

// A second thread of the guest rewrites the list while it is read.
void test_changing_list() {
  Guest guest(capturing(64 << 20));
  guest.iovecs(0, {{100, 10}});
  std::atomic<bool> done = false;
  auto* length = reinterpret_cast<uint32_t*>(guest.memory.range_for_kernel(4, 4));
  std::thread hostile([&] {
    while (!done) {
      std::atomic_ref(*length).store(UINT32_MAX);
      std::atomic_ref(*length).store(10);
    }
  });
  int good = 0;
  for (int i = 0; i < 3000; i++) {
    Outcome outcome = guest.call("fd_write", {1, 0, 1, 500});
    bool served = outcome == Errno::Success && guest.get<uint32_t>(500) == 10;
    if (served || outcome == Errno::Fault) good++;
  }
  done = true;
  hostile.join();
  CHECK_EQ(good, 3000);
  CHECK_EQ(guest.instance.take_stdout().size() % 10, 0u);
}

void test_output_limit() {
  Guest guest(capturing(10));
  guest.put(100, std::string("0123456789ab"));
  CHECK(guest.write(1, 100, 6) == Errno::Success);
  CHECK(guest.write(2, 100, 4) == Errno::Success);
  CHECK(guest.write(2, 100, 0) == Errno::Success);
  CHECK(guest.write(2, 100, 1) == HostCallAction::OutputLimit);
  CHECK(string_of(guest.instance.take_stdout()) == "012345");
  CHECK(string_of(guest.instance.take_stderr()) == "0123");
  // Taking the bytes does not give the guest new room.
  CHECK(guest.write(1, 100, 1) == HostCallAction::OutputLimit);

  Guest over(capturing(10));
  over.put(100, std::string("0123456789ab"));
  over.iovecs(0, {{100, 8}, {100, 8}});
  CHECK(over.call("fd_write", {1, 0, 2, 16}) == HostCallAction::OutputLimit);
  CHECK(string_of(over.instance.take_stdout()) == "0123456701");
  Guest nothing(capturing(0));
  CHECK(nothing.write(1, 100, 1) == HostCallAction::OutputLimit);
}

void test_memory_streams() {
  Config config;
  config.stdin_ = of_bytes("first second");
  Guest guest(std::move(config));
  guest.iovecs(0, {{100, 6}, {65536, 0}, {102, 2}});
  CHECK(guest.call("fd_read", {0, 0, 3, 8 * 3}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(24), 8u);
  CHECK(guest.text(100, 6) == "fiset ");
  guest.iovecs(0, {{100, 6}, {UINT32_MAX, 1}});
  CHECK(guest.call("fd_read", {0, 0, 2, 24}) == Errno::Fault);
  CHECK(guest.read(100, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 4u);
  CHECK(guest.text(100, 4) == "cond");
  CHECK(guest.read(100, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 0u);
  // None: discarded, counted.
  CHECK(guest.write(1, 100, 1000) == Errno::Success);
  CHECK_EQ(guest.count(), 1000u);
  CHECK_EQ(guest.instance.stdout_total(), 1000u);
  CHECK_EQ(guest.instance.stderr_total(), 0u);
  CHECK(guest.instance.take_stdout().empty());
  Guest empty;
  CHECK(empty.read(100, 100) == Errno::Success);
  CHECK_EQ(empty.count(), 0u);
}

// ---- descriptors and their attributes

void test_descriptors() {
  Guest guest(capturing());
  CHECK(guest.write(0, 100, 1) == Errno::Notcapable);
  guest.iovecs(0, {{100, 1}});
  CHECK(guest.call("fd_read", {1, 0, 1, 8}) == Errno::Notcapable);
  CHECK(guest.call("fd_read", {2, 0, 1, 8}) == Errno::Notcapable);
  for (uint32_t fd : {3u, 0x80000000u, UINT32_MAX}) {
    CHECK(guest.write(fd, 100, 1) == Errno::Badf);
    CHECK(guest.call("fd_read", {fd, 0, 1, 8}) == Errno::Badf);
    CHECK(guest.call("fd_close", {fd}) == Errno::Badf);
    CHECK(guest.call("fd_tell", {fd, 0}) == Errno::Badf);
    CHECK(guest.seek(fd, 0, 0, 0) == Errno::Badf);
    CHECK(guest.call("fd_fdstat_get", {fd, 0}) == Errno::Badf);
    CHECK(guest.call("fd_fdstat_set_flags", {fd, 0}) == Errno::Badf);
    CHECK(guest.call("fd_filestat_get", {fd, 0}) == Errno::Badf);
  }
  for (uint32_t fd : {0u, 1u, 2u, 3u, 4u, UINT32_MAX}) {
    CHECK(guest.call("fd_prestat_get", {fd, 0}) == Errno::Badf);
    CHECK(guest.call("fd_prestat_dir_name", {fd, 0, 10}) == Errno::Badf);
  }
  for (const char* module : {kPreview1, kUnstable}) {
    guest.module = module;
    for (uint32_t whence : {0u, 1u, 2u}) CHECK(guest.seek(1, 0, whence, 0) == Errno::Spipe);
    for (uint32_t whence : {3u, 256u, UINT32_MAX}) CHECK(guest.seek(1, INT64_MIN, whence, 0) == Errno::Inval);
    CHECK(guest.call("fd_tell", {2, 0}) == Errno::Spipe);
  }
  CHECK(guest.call("fd_close", {1}) == Errno::Success);
  CHECK(guest.call("fd_close", {1}) == Errno::Badf);
  CHECK(guest.write(1, 100, 1) == Errno::Badf);
  CHECK(guest.call("fd_fdstat_get", {1, 0}) == Errno::Badf);
  CHECK(guest.write(2, 100, 1) == Errno::Success);
}

void test_close_leaves_the_host_descriptor() {
  Pipe pipe;
  Config config;
  config.stdout_ = of_fd(pipe.ends[1]);
  Guest guest(std::move(config));
  CHECK(guest.call("fd_close", {1}) == Errno::Success);
  CHECK(fcntl(pipe.ends[1], F_GETFD) >= 0);
}

void test_fdstat() {
  Guest guest;
  for (const char* module : {kPreview1, kUnstable}) {
    guest.module = module;
    for (uint32_t fd : {0u, 1u, 2u}) {
      guest.put(100, std::string(32, '\xff'));
      CHECK(guest.call("fd_fdstat_get", {fd, 100}) == Errno::Success);
      Fdstat stat = guest.get<Fdstat>(100);
      CHECK_EQ(stat.fs_filetype, 0);
      CHECK_EQ(stat.padding0 + stat.padding1, 0u);
      CHECK_EQ(stat.fs_flags, 0);
      CHECK_EQ(stat.fs_rights_base, uint64_t{1} << (fd == 0 ? 1 : 6) | 1 << 3 | 1 << 21 | 1 << 27);
      CHECK_EQ(stat.fs_rights_inheriting, 0u);
      CHECK_EQ(guest.get<uint8_t>(124), 0xff);
    }
  }
  CHECK(guest.call("fd_fdstat_get", {0, 65536 - 24}) == Errno::Success);
  CHECK(guest.call("fd_fdstat_get", {0, 65536 - 23}) == Errno::Fault);
  CHECK(guest.call("fd_fdstat_set_flags", {1, kFdflagAppend | kFdflagNonblock}) == Errno::Success);
  CHECK(guest.call("fd_fdstat_get", {1, 100}) == Errno::Success);
  CHECK_EQ(guest.get<Fdstat>(100).fs_flags, 5);
  CHECK(guest.call("fd_fdstat_set_flags", {1, kFdflagSync}) == Errno::Notsup);
  CHECK(guest.call("fd_fdstat_set_flags", {1, kFdflagDsync | kFdflagAppend}) == Errno::Notsup);
  CHECK(guest.call("fd_fdstat_set_flags", {1, 32}) == Errno::Inval);
  CHECK(guest.call("fd_fdstat_set_flags", {1, 0x10000}) == Errno::Inval);
  CHECK(guest.call("fd_fdstat_get", {1, 100}) == Errno::Success);
  CHECK_EQ(guest.get<Fdstat>(100).fs_flags, 5);
}

uint8_t type_of(int fd) {
  Config config;
  config.stdout_ = of_fd(fd);
  Guest guest(std::move(config));
  CHECK(guest.call("fd_fdstat_get", {1, 100}) == Errno::Success);
  CHECK(guest.call("fd_filestat_get", {1, 200}) == Errno::Success);
  CHECK_EQ(guest.get<Fdstat>(100).fs_filetype, guest.get<Filestat>(200).filetype);
  return guest.get<uint8_t>(100);
}

void test_filestat() {
  UniqueFd file(temporary_file("twelve bytes"));
  Config config;
  config.stdout_ = of_fd(file.get());
  Guest guest(std::move(config));
  struct stat status{};
  fstat(file.get(), &status);
  uint64_t mtim = static_cast<uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(status.st_mtim.tv_nsec);
  guest.put(100, std::string(64, '\xff'));
  CHECK(guest.call("fd_filestat_get", {1, 100}) == Errno::Success);
  CHECK_EQ(guest.get<uint8_t>(116), 4);
  CHECK_EQ(guest.get<uint64_t>(116), 4u);  // the padding too
  CHECK_EQ(guest.get<uint64_t>(124), 1u);
  CHECK_EQ(guest.get<uint64_t>(132), 12u);
  CHECK_EQ(guest.get<uint64_t>(148), mtim);
  // Neither the host's device nor its inode.
  CHECK_EQ(guest.get<uint64_t>(100), 0u);
  CHECK_EQ(guest.get<uint64_t>(108), 2u);
  guest.module = kUnstable;
  guest.put(100, std::string(64, '\xff'));
  CHECK(guest.call("fd_filestat_get", {1, 100}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(116), 4u);
  CHECK_EQ(guest.get<uint32_t>(120), 1u);
  CHECK_EQ(guest.get<uint64_t>(124), 12u);
  CHECK_EQ(guest.get<uint64_t>(140), mtim);
  CHECK_EQ(guest.get<uint8_t>(156), 0xff);
  CHECK(guest.call("fd_filestat_get", {1, 65536 - 56}) == Errno::Success);
  CHECK(guest.call("fd_filestat_get", {1, 65536 - 55}) == Errno::Fault);
  guest.module = kPreview1;
  CHECK(guest.call("fd_filestat_get", {1, 65536 - 64}) == Errno::Success);
  CHECK(guest.call("fd_filestat_get", {1, 65536 - 63}) == Errno::Fault);

  CHECK_EQ(type_of(file.get()), 4);
  Pipe pipe;
  CHECK_EQ(type_of(pipe.ends[1]), 0);
  UniqueFd null(open("/dev/null", O_RDWR));
  CHECK_EQ(type_of(null.get()), 0);
  int pair[2];
  for (auto [type, expected] : {std::pair{SOCK_STREAM, 6}, std::pair{SOCK_DGRAM, 5}}) {
    if (socketpair(AF_UNIX, type, 0, pair) < 0) std::abort();
    CHECK_EQ(type_of(pair[0]), expected);
    close(pair[0]);
    close(pair[1]);
  }
}

// ---- host descriptors

void test_pipe_output() {
  Pipe pipe;
  Config config;
  config.stdout_ = of_fd(pipe.ends[1]);
  Guest guest(std::move(config), 1 << 20);
  std::string sent(1'000'000, ' ');
  for (size_t i = 0; i < sent.size(); i++) sent[i] = static_cast<char>('a' + i * i % 23);
  guest.put(40'000, sent);
  // 1,000 buffers, all of them in one call, through a pipe of 64 KiB.
  for (uint32_t i = 0; i < 1000; i++) guest.put(uint64_t{8} * i, Iovec{40'000 + i * 1000, 1000});
  std::string got;
  std::thread reader([&] {
    char block[7000];
    while (got.size() < sent.size()) {
      ssize_t bytes = read(pipe.ends[0], block, sizeof block);
      if (bytes <= 0) break;
      got.append(block, static_cast<size_t>(bytes));
    }
  });
  CHECK(guest.call("fd_write", {1, 0, 1000, 20'000}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(20'000), 1'000'000u);
  reader.join();
  CHECK(got == sent);
  CHECK_EQ(guest.instance.stdout_total(), 1'000'000u);
  CHECK_EQ(fcntl(pipe.ends[1], F_GETFL) & O_NONBLOCK, 0);
}

void test_pipe_waits() {
  Pipe pipe;
  pipe.fill();
  Config config;
  config.stdout_ = of_fd(pipe.ends[1]);
  Guest guest(std::move(config));
  // Interrupted while it waits for room.
  int waits = 0;
  guest.waiter.hook = [&](int fd, short events, int64_t timeout) {
    CHECK(fd == pipe.ends[1] && events == POLLOUT && timeout == -1);
    waits++;
    return -1;
  };
  CHECK(guest.write(1, 100, 10) == HostCallAction::Interrupted);
  CHECK_EQ(waits, 1);
  guest.waiter.hook = nullptr;
  // A guest that asked not to wait does not.
  CHECK(guest.call("fd_fdstat_set_flags", {1, kFdflagNonblock}) == Errno::Success);
  CHECK(guest.write(1, 100, 10) == Errno::Again);
  CHECK_EQ(fcntl(pipe.ends[1], F_GETFL) & O_NONBLOCK, 0);
  char block[4096];
  CHECK_EQ(read(pipe.ends[0], block, sizeof block), 4096);
  CHECK(guest.write(1, 100, 10'000) == Errno::Success);
  CHECK_EQ(guest.count(), 4096u);
  CHECK_EQ(guest.waiter.waits, 1);
}

void test_pipe_input() {
  Pipe pipe;
  Config config;
  config.stdin_ = of_fd(pipe.ends[0]);
  Guest guest(std::move(config));
  pipe.say("abcdef");
  CHECK(guest.read(100, 4) == Errno::Success);
  CHECK_EQ(guest.count(), 4u);
  CHECK(guest.read(104, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 2u);
  CHECK(guest.text(100, 6) == "abcdef");
  // Nothing to read into: no wait.
  int before = guest.waiter.waits;
  CHECK(guest.read(100, 0) == Errno::Success);
  CHECK_EQ(guest.waiter.waits, before);
  CHECK(guest.call("fd_fdstat_set_flags", {0, kFdflagNonblock}) == Errno::Success);
  CHECK(guest.read(100, 4) == Errno::Again);
  CHECK(guest.call("fd_fdstat_set_flags", {0, 0}) == Errno::Success);
  guest.waiter.hook = [](int, short, int64_t) { return -1; };
  CHECK(guest.read(100, 4) == HostCallAction::Interrupted);
  guest.waiter.hook = nullptr;
  pipe.say("end");
  pipe.close_write();
  CHECK(guest.read(100, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 3u);
  CHECK(guest.read(100, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 0u);
  // Bad pointers take nothing out of the pipe.
  Pipe other;
  Config other_config;
  other_config.stdin_ = of_fd(other.ends[0]);
  Guest careful(std::move(other_config));
  other.say("kept");
  careful.iovecs(0, {{100, 4}, {65535, 2}});
  CHECK(careful.call("fd_read", {0, 0, 2, 50}) == Errno::Fault);
  CHECK(careful.call("fd_read", {0, 0, 1, 65533}) == Errno::Fault);
  CHECK(careful.read(100, 4) == Errno::Success);
  CHECK(careful.text(100, 4) == "kept");
}

// Somebody else takes what the wait promised. On a blocking pipe a plain read or write would now sleep where nothing ends it.
void test_stolen_readiness() {
  if (!kernel_has_nowait_pipes()) {
    std::printf("SKIPPED: test_stolen_readiness for pipes: this kernel has no RWF_NOWAIT for them\n");
    skipped++;
    return;
  }
  Pipe input, output;
  output.fill();
  Config config;
  config.stdin_ = of_fd(input.ends[0]);
  config.stdout_ = of_fd(output.ends[1]);
  Guest guest(std::move(config));
  int waits = 0;
  guest.waiter.hook = [&](int fd, short events, int64_t) -> int {
    if (++waits % 3 == 0) {
      char block[4096];
      if (fd == input.ends[0]) {
        input.say("late");
      } else if (read(output.ends[0], block, sizeof block) != sizeof block) {
        return -1;
      }
    }
    return waits > 20 ? -1 : events;
  };
  CHECK(guest.read(100, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 4u);
  CHECK_EQ(waits, 3);
  CHECK(guest.write(1, 100, 4) == Errno::Success);
  CHECK_EQ(guest.count(), 4u);
  CHECK_EQ(waits, 6);
}

// Signals that a write can raise. The test runs with their default: if one got through, there would be no more output.
void test_write_signals() {
  signal(SIGPIPE, SIG_DFL);
  signal(SIGXFSZ, SIG_DFL);
  {
    Pipe pipe;
    Config config;
    config.stdout_ = of_fd(pipe.ends[1]);
    Guest guest(std::move(config));
    pipe.close_read();
    guest.put(8, 77);
    CHECK(guest.write(1, 100, 10) == Errno::Pipe);
    CHECK_EQ(guest.count(), 77u);
    CHECK(!signal_pending(SIGPIPE));
    // One that was there before, blocked by the host, stays there.
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    raise(SIGPIPE);
    CHECK(guest.write(1, 100, 10) == Errno::Pipe);
    CHECK(signal_pending(SIGPIPE));
    timespec none{};
    CHECK_EQ(sigtimedwait(&set, nullptr, &none), SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  {
    // The reader leaves in the middle: first the count, then the error.
    Pipe pipe;
    Config config;
    config.stdout_ = of_fd(pipe.ends[1]);
    Guest guest(std::move(config), 1 << 20);
    guest.waiter.hook = [&, waits = 0](int, short, int64_t) mutable {
      if (++waits == 2) pipe.close_read();
      return POLLOUT;
    };
    CHECK(guest.write(1, 0, 1 << 20) == Errno::Success);
    CHECK_EQ(guest.count(), 65536u);
    CHECK(guest.write(1, 0, 1 << 20) == Errno::Pipe);
    CHECK(!signal_pending(SIGPIPE));
  }
  {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) std::abort();
    Config config;
    config.stdin_ = of_fd(pair[0]);
    config.stdout_ = of_fd(pair[0]);
    Guest guest(std::move(config));
    guest.put(100, std::string("ping"));
    CHECK(guest.write(1, 100, 4) == Errno::Success);
    char text[4];
    CHECK_EQ(read(pair[1], text, 4), 4);
    // A socket that only seems ready.
    guest.waiter.hook = [&, waits = 0](int, short events, int64_t) mutable -> int {
      if (++waits == 2 && send(pair[1], "pong", 4, 0) != 4) return -1;
      return events;
    };
    CHECK(guest.read(200, 100) == Errno::Success);
    CHECK(guest.text(200, 4) == "pong");
    close(pair[1]);
    CHECK(guest.write(1, 100, 4) == Errno::Pipe);
    CHECK(guest.read(200, 100) == Errno::Success);
    CHECK_EQ(guest.count(), 0u);
    close(pair[0]);
  }
  {
    UniqueFd file(temporary_file(""));
    Config config;
    config.stdout_ = of_fd(file.get());
    Guest guest(std::move(config));
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    rlimit small{1000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    Outcome first = guest.write(1, 0, 2000);
    uint32_t count = guest.count();
    Outcome second = guest.write(1, 0, 2000);
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK(first == Errno::Success);
    CHECK_EQ(count, 1000u);
    CHECK(second == Errno::Fbig);
    CHECK(!signal_pending(SIGXFSZ));
  }
}

void test_files() {
  UniqueFd input(temporary_file("some text"));
  UniqueFd output(temporary_file(""));
  Config config;
  config.stdin_ = of_fd(input.get());
  config.stdout_ = of_fd(output.get());
  Guest guest(std::move(config), 4 << 20);
  CHECK(guest.read(100, 4) == Errno::Success);
  CHECK(guest.read(104, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 5u);
  CHECK(guest.text(100, 9) == "some text");
  CHECK(guest.read(100, 4) == Errno::Success);
  CHECK_EQ(guest.count(), 0u);
  CHECK_EQ(guest.waiter.waits, 0);
  CHECK(guest.write(1, 0, 4 << 20) == Errno::Success);
  CHECK_EQ(guest.count(), 4u << 20);
  CHECK_EQ(lseek(output.get(), 0, SEEK_CUR), 4 << 20);
  // Between the pieces of a long write there is a look at whether to stop.
  guest.waiter.hook = [looks = 0](int, short, int64_t) mutable { return ++looks == 3 ? -1 : 0; };
  CHECK(guest.write(1, 0, 4 << 20) == HostCallAction::Interrupted);
  CHECK_EQ(lseek(output.get(), 0, SEEK_CUR), 6 << 20);

  using Case = std::tuple<const char*, int, Errno>;
  for (auto [path, mode, expected] : {Case{"/dev/full", O_WRONLY, Errno::Nospc}, Case{"/dev/null", O_WRONLY, Errno::Success},
                                      Case{"/dev/null", O_RDONLY, Errno::Badf}}) {
    UniqueFd device(open(path, mode));
    Config device_config;
    device_config.stdout_ = of_fd(device.get());
    Guest writer(std::move(device_config));
    CHECK(writer.write(1, 0, 10'000) == expected);
  }
  UniqueFd directory(open("/tmp", O_RDONLY | O_DIRECTORY));
  UniqueFd zero(open("/dev/zero", O_RDONLY));
  for (auto [fd, expected] : {std::pair{directory.get(), Errno::Isdir}, std::pair{zero.get(), Errno::Success}}) {
    Config reader_config;
    reader_config.stdin_ = of_fd(fd);
    Guest reader(std::move(reader_config));
    CHECK(reader.read(100, 5000) == expected);
  }
}

void test_terminal() {
  int master = -1, slave = -1;
  termios raw{};
  cfmakeraw(&raw);
  if (openpty(&master, &slave, nullptr, &raw, nullptr) < 0) {
    std::printf("SKIPPED: test_terminal: no pseudo-terminal (%s)\n", std::strerror(errno));
    skipped++;
    return;
  }
  int before = open_fds();
  {
    Config config;
    config.stdin_ = of_fd(slave);
    config.stdout_ = of_fd(slave);
    config.stderr_ = of_fd(master);
    Guest guest(std::move(config));
    CHECK(guest.call("fd_fdstat_get", {0, 100}) == Errno::Success);
    CHECK_EQ(guest.get<Fdstat>(100).fs_filetype, 2);
    CHECK(guest.write(1, 0, 5) == Errno::Success);
    char text[5];
    CHECK_EQ(read(master, text, 5), 5);
    CHECK_EQ(write(master, "line\n", 5), 5);
    CHECK(guest.read(100, 50) == Errno::Success);
    CHECK(guest.text(100, 5) == "line\n");
    // Only seems ready: neither direction blocks, and the host's description stays as it was.
    int looks = 0;
    guest.waiter.hook = [&](int, short events, int64_t) { return ++looks == 3 ? -1 : static_cast<int>(events); };
    CHECK(guest.read(100, 50) == HostCallAction::Interrupted);
    looks = -1000;
    guest.waiter.hook = [&](int, short events, int64_t) { return ++looks == 0 ? -1 : static_cast<int>(events); };
    CHECK(guest.write(1, 0, 65536) == HostCallAction::Interrupted);
    CHECK_EQ(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
    CHECK(guest.instance.stdout_total() > 5);
  }
  CHECK_EQ(open_fds(), before);
  close(master);
  close(slave);
}

// ---- poll_oneoff

constexpr uint32_t kIn = 1000, kOut = 5000, kEvents = 500;

class Poll {
 public:
  explicit Poll(Guest& to) : guest(&to), unstable(std::strcmp(to.module, kUnstable) == 0) {}
  Poll& clock(uint64_t userdata, uint32_t id, uint64_t timeout, uint16_t flags = 0) {
    uint64_t at = start(userdata, kEventtypeClock);
    if (unstable) {
      guest->put(at, uint64_t{0x1111'2222'3333'4444});
      at += 8;
    }
    SubscriptionClock clock{};
    clock.id = id;
    clock.timeout = timeout;
    clock.precision = UINT64_MAX;
    clock.flags = flags;
    guest->put(at, clock);
    return *this;
  }
  Poll& stream(uint64_t userdata, uint8_t type, uint32_t fd) {
    guest->put(start(userdata, type), fd);
    return *this;
  }
  Outcome run() { return guest->call("poll_oneoff", {kIn, kOut, count, kEvents}); }
  uint32_t events() { return guest->get<uint32_t>(kEvents); }
  Event event(uint32_t index = 0) { return guest->get<Event>(kOut + index * sizeof(Event)); }

  Guest* guest;
  bool unstable;
  uint32_t count = 0;

 private:
  uint64_t start(uint64_t userdata, uint8_t type) {
    uint64_t at = kIn + uint64_t{count++} * (unstable ? 56 : 48);
    guest->put(at, std::string(unstable ? 56 : 48, '\xee'));
    guest->put(at, userdata);
    guest->put(at + 8, type);
    return at + 16;
  }
};

bool is(const Event& event, uint64_t userdata, uint8_t type, Errno error = Errno::Success) {
  return event.userdata == userdata && event.type == type && event.error == static_cast<uint16_t>(error);
}

void test_poll_clocks() {
  Guest guest;
  for (const char* module : {kPreview1, kUnstable}) {
    guest.module = module;
    for (uint32_t id : {0u, 1u}) {
      guest.put(kOut, std::string(32, '\xff'));
      uint64_t start = time_of(guest, 1);
      Poll poll = Poll(guest).clock(7, id, 20'000'000);
      CHECK(poll.run() == Errno::Success);
      CHECK_EQ(poll.events(), 1u);
      CHECK(is(poll.event(), 7, kEventtypeClock));
      CHECK_EQ(poll.event().nbytes + poll.event().flags, 0u);
      uint64_t took = time_of(guest, 1) - start;
      CHECK(took >= 20'000'000 && took < 2'000'000'000);
      // At a time: one that will come, one that has passed.
      uint64_t now = time_of(guest, id);
      start = time_of(guest, 1);
      poll = Poll(guest).clock(8, id, now + 20'000'000, kSubclockflagAbstime);
      CHECK(poll.run() == Errno::Success);
      CHECK(time_of(guest, 1) - start >= 19'000'000);
      poll = Poll(guest).clock(1, id, UINT64_MAX).clock(9, id, 1, kSubclockflagAbstime).clock(2, id, 0);
      CHECK(poll.run() == Errno::Success);
      CHECK_EQ(poll.events(), 2u);
      CHECK(is(poll.event(0), 9, kEventtypeClock) && is(poll.event(1), 2, kEventtypeClock));
    }
    // The earliest of several; and no wait is longer than arithmetic bears.
    guest.waiter.hook = [](int fd, short, int64_t timeout) {
      CHECK(fd == -1 && timeout > 0 && timeout <= 3'600'000'000'000);
      return -1;
    };
    CHECK(Poll(guest).clock(1, 1, UINT64_MAX).clock(2, 1, UINT64_MAX, kSubclockflagAbstime).run() == HostCallAction::Interrupted);
    guest.waiter.hook = [](int, short, int64_t timeout) {
      CHECK(timeout > 0 && timeout <= 1'000'000'000);
      return -1;
    };
    CHECK(Poll(guest).clock(1, 0, UINT64_MAX, kSubclockflagAbstime).run() == HostCallAction::Interrupted);
    guest.waiter.hook = nullptr;
    // CPU time does not pass while waiting.
    for (uint32_t id : {2u, 3u}) {
      Poll poll = Poll(guest).clock(3, id, 1000);
      CHECK(poll.run() == Errno::Success);
      CHECK(is(poll.event(), 3, kEventtypeClock, Errno::Notsup));
    }
    CHECK(Poll(guest).clock(1, 4, 0).run() == Errno::Inval);
    CHECK(Poll(guest).clock(1, 0, 0, 2).run() == Errno::Inval);
    CHECK(Poll(guest).clock(1, 0, 0).stream(2, 3, 0).run() == Errno::Inval);
    CHECK(Poll(guest).run() == Errno::Inval);
  }
}

void test_poll_streams() {
  Config config = capturing();
  config.stdin_ = of_bytes("abc");
  Guest guest(std::move(config));
  Poll poll = Poll(guest).stream(1, 1, 0).stream(2, 2, 1).stream(3, 2, 2);
  poll.clock(4, 1, 1'000'000'000).stream(5, 1, 1).stream(6, 2, 3);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.events(), 5u);
  CHECK(is(poll.event(0), 1, 1));
  CHECK_EQ(poll.event(0).nbytes, 3u);
  CHECK_EQ(poll.event(0).flags, 0);
  CHECK(is(poll.event(1), 2, 2) && poll.event(1).nbytes > 0);
  CHECK(is(poll.event(2), 3, 2));
  CHECK(is(poll.event(3), 5, 1, Errno::Notcapable));
  CHECK(is(poll.event(4), 6, 2, Errno::Badf));
  CHECK(guest.read(100, 3) == Errno::Success);
  poll = Poll(guest).stream(1, 1, 0);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.event().nbytes, 0u);
  CHECK_EQ(poll.event().flags, kEventrwflagHangup);
  CHECK(guest.call("fd_close", {0}) == Errno::Success);
  CHECK(poll.run() == Errno::Success);
  CHECK(is(poll.event(), 1, 1, Errno::Badf));
  CHECK_EQ(guest.waiter.waits, 0);
  guest.module = kUnstable;
  poll = Poll(guest).clock(4, 1, 1'000'000'000).stream(9, 2, 2);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.events(), 1u);
  CHECK(is(poll.event(), 9, 2));
}

void test_poll_descriptors() {
  Pipe input, output, errors;
  output.fill();
  errors.fill();
  Config config;
  config.stdin_ = of_fd(input.ends[0]);
  config.stdout_ = of_fd(output.ends[1]);
  config.stderr_ = of_fd(errors.ends[1]);
  Guest guest(std::move(config));
  // Nothing is ready: the clock wins.
  Poll poll = Poll(guest).stream(1, 1, 0).clock(2, 1, 5'000'000);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.events(), 1u);
  CHECK(is(poll.event(), 2, 0));
  poll = Poll(guest).stream(1, 1, 0).stream(2, 2, 1).stream(3, 2, 2).stream(4, 1, 0).clock(5, 1, 5'000'000);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.events(), 1u);
  CHECK(is(poll.event(), 5, 0));
  int before = open_fds();
  guest.waiter.hook = [](int fd, short events, int64_t timeout) {
    CHECK(fd >= 0 && events == POLLIN && timeout == -1);
    return -1;
  };
  CHECK(Poll(guest).stream(2, 2, 1).stream(3, 2, 2).run() == HostCallAction::Interrupted);
  CHECK_EQ(open_fds(), before);
  guest.waiter.hook = nullptr;
  // Something comes while it waits for one, and for several.
  for (bool several : {false, true}) {
    std::thread writer([&] {
      usleep(20'000);
      input.say("hello");
    });
    poll = Poll(guest);
    if (several) poll.stream(2, 2, 1).stream(3, 2, 2);
    poll.stream(1, 1, 0);
    CHECK(poll.run() == Errno::Success);
    CHECK_EQ(poll.events(), 1u);
    CHECK(is(poll.event(), 1, 1));
    CHECK_EQ(poll.event().nbytes, 5u);
    CHECK_EQ(poll.event().flags, 0);
    writer.join();
    CHECK(guest.read(100, 5) == Errno::Success);
  }
  char block[4096];
  CHECK_EQ(read(errors.ends[0], block, sizeof block), 4096);
  poll = Poll(guest).stream(1, 1, 0).stream(2, 2, 1).stream(3, 2, 2);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.events(), 1u);
  CHECK(is(poll.event(), 3, 2));
  input.close_write();
  output.close_read();
  poll = Poll(guest).stream(1, 1, 0).stream(2, 2, 1);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.events(), 2u);
  CHECK_EQ(poll.event(0).flags, kEventrwflagHangup);
  CHECK_EQ(poll.event(1).flags, kEventrwflagHangup);

  // One host descriptor behind two streams, and one that is not waited for.
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) std::abort();
  UniqueFd file(temporary_file("text"));
  Config shared;
  shared.stdin_ = of_fd(pair[0]);
  shared.stdout_ = of_fd(pair[0]);
  shared.stderr_ = of_fd(file.get());
  Guest both(std::move(shared));
  poll = Poll(both).stream(1, 1, 0).stream(2, 2, 1).stream(3, 2, 2);
  CHECK(poll.run() == Errno::Success);
  CHECK_EQ(poll.events(), 2u);
  CHECK(is(poll.event(0), 2, 2) && is(poll.event(1), 3, 2));
  close(pair[0]);
  close(pair[1]);
  // The host closed it: an error, not a wait.
  poll = Poll(both).stream(1, 1, 0);
  CHECK(poll.run() == Errno::Success);
  CHECK(is(poll.event(), 1, 1, Errno::Badf));
}

void test_poll_pointers() {
  Guest guest;
  Poll poll = Poll(guest).clock(1, 1, 0);
  auto with = [&](uint64_t in, uint64_t out, uint64_t count, uint64_t at) {
    return guest.call("poll_oneoff", {in, out, count, at});
  };
  CHECK(with(65536 - 47, kOut, 1, kEvents) == Errno::Fault);
  CHECK(with(kIn, 65536 - 31, 1, kEvents) == Errno::Fault);
  CHECK(with(kIn, 65536 - 32, 1, kEvents) == Errno::Success);
  CHECK(with(kIn, kOut, 1, 65533) == Errno::Fault);
  CHECK(with(kIn, kOut, UINT32_MAX, kEvents) == Errno::Fault);
  CHECK(with(kIn, kOut, 1u << 28, kEvents) == Errno::Fault);
  CHECK(with(UINT32_MAX, UINT32_MAX, 1, UINT32_MAX) == Errno::Fault);
  CHECK(with(0, 0, 1025, kEvents) == Errno::Inval);
  // Events over the subscriptions, all of which are read first.
  guest.waiter.hook = [](int, short, int64_t) { return -1; };
  for (uint64_t i = 0; i < 100; i++) poll.clock(i, 1, 0);
  CHECK(with(kIn, kIn, poll.count, kEvents) == Errno::Success);
  CHECK_EQ(poll.events(), poll.count);
  CHECK_EQ(guest.get<Event>(kIn + 100 * sizeof(Event)).userdata, 99u);
  Guest big({}, 1 << 17);
  Poll many(big);
  for (uint64_t i = 0; i < 1024; i++) many.clock(i, 1, 0);
  CHECK(big.call("poll_oneoff", {kIn, 60'000, 1024, kEvents}) == Errno::Success);
  CHECK_EQ(many.events(), 1024u);
}

// ---- everything at once

// A module without a memory.
void test_no_memory() {
  Guest guest(capturing());
  guest.memory.attach(nullptr, 0);
  CHECK(guest.call("fd_write", {1, 0, 1, 0}) == Errno::Fault);
  CHECK(guest.call("args_sizes_get", {0, 0}) == Errno::Fault);
  CHECK(guest.call("clock_time_get", {0, 0, 0}) == Errno::Fault);
  CHECK(guest.call("random_get", {0, 1}) == Errno::Fault);
  CHECK(guest.call("poll_oneoff", {0, 0, 1, 0}) == Errno::Fault);
  CHECK(guest.call("proc_exit", {3}) == HostCallAction::Exit);
}

}  // namespace

void run_stream_tests() {
  test_table();
  test_bound_functions_outlive_the_instance();
  test_close();
  test_configuration();
  test_strings();
  test_exit_and_yield();
  test_clocks();
  test_random();
  test_gather();
  test_hostile_lists();
  test_huge_buffers();
  test_changing_list();
  test_output_limit();
  test_memory_streams();
  test_descriptors();
  test_close_leaves_the_host_descriptor();
  test_fdstat();
  test_filestat();
  test_pipe_output();
  test_pipe_waits();
  test_pipe_input();
  test_stolen_readiness();
  test_write_signals();
  test_files();
  test_terminal();
  test_poll_clocks();
  test_poll_streams();
  test_poll_descriptors();
  test_poll_pointers();
  test_no_memory();
}

}  // namespace wasi_test

int main() {
  using namespace wasi_test;
  int before = open_fds();
  run_stream_tests();
  run_file_tests(Backing::Host);
  run_file_tests(Backing::HostByComponent);
  run_file_tests(Backing::Memory);
  run_attack_tests();
  run_memory_tests();
  run_limit_tests();
  run_socket_tests();
  run_guest_pipe_tests();
  run_hostile_tests();
  run_bundle_tests();
  run_kept_output_tests();
  run_read_ahead_tests();
  run_boot_helper_tests();
  CHECK_EQ(open_fds(), before);
  if (skipped > 0) std::printf("%d SKIPPED, see above\n", skipped);
  std::printf("%d passed, %d failed\n", passed.load(), failed.load());
  return failed > 0 ? 1 : 0;
}
