// What the tests of native/wasi share: a guest without a VM, over a block of ordinary memory.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../failure.h"
#include "../owners.h"
#include "../wasi/instance.h"
#include "../wasi/types.h"

namespace wasi_test {

using namespace barecell;
using namespace barecell::wasi;
using Kind = StreamConfig::Kind;

inline std::atomic<int> passed = 0;
inline std::atomic<int> failed = 0;
inline int skipped = 0;

inline void check(bool ok, const char* file, int line, const std::string& what) {
  (ok ? passed : failed)++;
  if (!ok) std::printf("%s:%d: failed: %s\n", file, line, what.c_str());
}
#define CHECK(condition) check((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(left, right) check_equal((left), (right), __FILE__, __LINE__, #left " == " #right)

template <typename Left, typename Right>
void check_equal(const Left& left, const Right& right, const char* file, int line, const char* what) {
  std::string text = what;
  if constexpr (std::is_convertible_v<Left, long long>) {
    text += " (" + std::to_string(static_cast<long long>(left)) + " and " + std::to_string(static_cast<long long>(right)) + ")";
  }
  check(left == right, file, line, text);
}

// Waits for real, but not for ever: a wait that takes seconds is a hang, and ends the call so that the test fails.
class TestWaiter final : public Waiter {
 public:
  int wait(int fd, short events, int64_t timeout_ns) noexcept override {
    if (timeout_ns != 0) waits++;
    if (hook) return hook(fd, events, timeout_ns);
    pollfd entry{fd, events, 0};
    int limit_ms = timeout_ns < 0 ? 5000 : static_cast<int>(std::min<int64_t>(5000, (timeout_ns + 999'999) / 1'000'000));
    int ready = poll(&entry, fd < 0 ? 0 : 1, limit_ms);
    if (ready > 0) return entry.revents;
    return timeout_ns < 0 ? -1 : 0;
  }

  int waits = 0;  // that could take time
  std::function<int(int, short, int64_t)> hook;
};

struct Outcome {
  HostCallAction action;
  uint32_t error;
  uint32_t exit_code;
};
inline bool operator==(const Outcome& outcome, Errno error) {
  return outcome.action == HostCallAction::Continue && outcome.error == static_cast<uint32_t>(error);
}
inline bool operator==(const Outcome& outcome, HostCallAction action) { return outcome.action == action; }

constexpr const char* kPreview1 = "wasi_snapshot_preview1";
constexpr const char* kUnstable = "wasi_unstable";

// A program with its memory. The memory is a heap block of exactly its size, so that the sanitizer sees any step outside.
class Guest {
 public:
  explicit Guest(Config config = {}, uint64_t bytes = 65536)
      : instance(std::move(config)), block_(new uint8_t[bytes]()), size(bytes) {
    memory.attach(block_.get(), bytes);
  }

  Outcome call(const char* name, std::initializer_list<uint64_t> arguments) {
    HostFunction function = instance.bind(module, name);
    if (!function) {
      check(false, __FILE__, __LINE__, std::string("no function ") + name);
      std::exit(1);
    }
    HostCall call{{}, memory, waiter};
    size_t i = 0;
    // What the upper half of an i32's slot holds must not matter.
    for (uint64_t argument : arguments) call.slots[i++].u64 = argument > UINT32_MAX ? argument : argument | 0xdead'0000'0000'0000;
    HostCallAction action = function(call);
    return {action, call.slots[0].u32, call.exit_code};
  }
  // For 64-bit arguments, as they are.
  Outcome seek(uint32_t fd, int64_t offset, uint32_t whence, uint32_t at) {
    HostCall call{{}, memory, waiter};
    call.slots[0].u64 = fd;
    call.slots[1].u64 = static_cast<uint64_t>(offset);
    call.slots[2].u64 = whence;
    call.slots[3].u64 = at;
    HostCallAction action = instance.bind(module, "fd_seek")(call);
    return {action, call.slots[0].u32, 0};
  }

  template <typename Value>
  void put(uint64_t at, Value value) {
    if (!memory.write_value(at, value)) std::abort();
  }
  void put(uint64_t at, const std::string& text) {
    if (!memory.write(at, text.data(), text.size())) std::abort();
  }
  template <typename Value>
  Value get(uint64_t at) {
    Value value{};
    if (!memory.read_value(at, &value)) std::abort();
    return value;
  }
  std::string text(uint64_t at, size_t bytes) {
    std::string value(bytes, '\0');
    if (!memory.read(at, value.data(), bytes)) std::abort();
    return value;
  }
  void iovecs(uint64_t at, std::initializer_list<Iovec> list) {
    for (const Iovec& iovec : list) {
      put(at, iovec);
      at += sizeof iovec;
    }
  }
  // Writes one buffer, with the list at 0 and the count at 8.
  Outcome write(uint32_t fd, uint32_t at, uint32_t bytes) {
    iovecs(0, {{at, bytes}});
    return call("fd_write", {fd, 0, 1, 8});
  }
  Outcome read(uint32_t at, uint32_t bytes) {
    iovecs(0, {{at, bytes}});
    return call("fd_read", {0, 0, 1, 8});
  }
  uint32_t count() { return get<uint32_t>(8); }

  Instance instance;
  LinearMemory memory;
  TestWaiter waiter;
  const char* module = kPreview1;

 private:
  std::unique_ptr<uint8_t[]> block_;

 public:
  uint64_t size;
};

inline StreamConfig of_kind(Kind kind) { return {kind, -1, {}}; }
inline StreamConfig of_fd(int fd) { return {Kind::Fd, fd, {}}; }
inline StreamConfig of_bytes(const std::string& text) { return {Kind::Bytes, -1, {text.begin(), text.end()}}; }
inline std::string string_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

inline Config capturing(uint64_t limit = 1 << 20) {
  Config config;
  config.stdout_ = of_kind(Kind::Capture);
  config.stderr_ = of_kind(Kind::Capture);
  config.max_output_bytes = limit;
  return config;
}

struct Pipe {
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) < 0) std::abort();
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close_read() {
    if (ends[0] >= 0) close(std::exchange(ends[0], -1));
  }
  void close_write() {
    if (ends[1] >= 0) close(std::exchange(ends[1], -1));
  }
  void say(const std::string& text) {
    if (write(ends[1], text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  }
  void fill() {
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    char block[4096] = {};
    while (write(ends[1], block, sizeof block) > 0) {
    }
    fcntl(ends[1], F_SETFL, 0);
  }
  int ends[2];
};

inline int open_fds() {
  int count = 0;
  for (int fd = 0; fd < 256; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

template <typename Build>
bool refuses(Build build) {
  try {
    build();
    return false;
  } catch (const Failure& failure) {
    return std::string(failure.code()) == "BARECELL_ARGUMENT_INVALID";
  }
}

inline int temporary_file(const std::string& text) {
  char name[] = "/tmp/wasi-test-XXXXXX";
  int fd = mkstemp(name);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  unlink(name);
  lseek(fd, 0, SEEK_SET);
  return fd;
}

// What the directory of a test is made of.
enum class Backing { Host, HostByComponent, Memory };

void run_file_tests(Backing backing);
void run_attack_tests();
void run_memory_tests();
void run_limit_tests();
void run_socket_tests();
void run_guest_pipe_tests();
void run_hostile_tests();
void run_bundle_tests();
void run_kept_output_tests();
void run_read_ahead_tests();
void run_boot_helper_tests();

}  // namespace wasi_test
