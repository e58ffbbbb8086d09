// Tests of output that a guest keeps (guest_output.h): what it may keep when, and that a forged log does no harm.
#include <fcntl.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../guest_output.h"
#include "wasi_support.h"

namespace wasi_test {
namespace {

constexpr uint32_t kOut = 1u << 1;
constexpr uint32_t kErr = 1u << 2;

// The part of the guest: its log, and what it says of it. The log is a heap block, so that the sanitizer sees any step outside.
struct Log {
  explicit Log(Instance& instance) : output(instance.output_taker()), bytes(BC_OUTPUT_LOG_BYTES) { output.refresh(box); }

  void add(uint32_t fd, const std::string& text) { add(fd, text, static_cast<uint32_t>(text.size())); }
  void add(uint32_t fd, const std::string& text, uint32_t said) {
    bc_output_record record{fd, said};
    std::memcpy(bytes.data() + box.used, &record, sizeof record);
    std::memcpy(bytes.data() + box.used + sizeof record, text.data(), text.size());
    box.used += static_cast<uint32_t>(sizeof record + text.size());
  }
  HostCallAction take(Waiter& waiter) {
    HostCallAction action = output.take(box, bytes.data(), waiter);
    CHECK_EQ(box.used, 0u);
    CHECK(!output.has_some(box));
    output.refresh(box);
    return action;
  }

  GuestOutput output;
  bc_output box{};
  std::vector<uint8_t> bytes;
};

// What a guest may keep on descriptor 1 that is `fd` on the host.
bc_output granted(int fd) {
  Config config;
  config.stdout_ = of_fd(fd);
  Instance instance(std::move(config));
  return Log(instance).box;
}

void test_grants() {
  Config config = capturing();
  config.stderr_ = of_kind(Kind::None);
  Guest guest(std::move(config));
  Log log(guest.instance);
  auto now = [&] {
    log.output.refresh(log.box);
    return log.box;
  };
  CHECK_EQ(now().kept, kOut);
  CHECK_EQ(now().lines, 0u);
  CHECK_EQ(now().dropped, kErr);
  CHECK_EQ(now().room, static_cast<uint32_t>(BC_OUTPUT_LOG_BYTES));
  // Flags: only those that change nothing here.
  CHECK(guest.call("fd_fdstat_set_flags", {1, kFdflagAppend}) == Errno::Success);
  CHECK_EQ(now().kept, kOut);
  CHECK(guest.call("fd_fdstat_set_flags", {1, kFdflagNonblock}) == Errno::Success);
  CHECK_EQ(now().kept, 0u);
  CHECK(guest.call("fd_fdstat_set_flags", {1, 0}) == Errno::Success);
  CHECK_EQ(now().kept, kOut);
  // The numbers swap what they stand for.
  CHECK(guest.call("fd_renumber", {1, 2}) == Errno::Success);
  CHECK_EQ(now().kept, kErr);
  CHECK_EQ(now().dropped, 0u);
  // 64-bit arguments, as they are.
  HostCall rights{{}, guest.memory, guest.waiter};
  rights.slots[0].u64 = 2;
  rights.slots[1].u64 = kRightPollFdReadwrite;
  CHECK(guest.instance.bind(kPreview1, "fd_fdstat_set_rights")(rights) == HostCallAction::Continue);
  CHECK_EQ(rights.slots[0].u32, 0u);
  CHECK_EQ(now().kept, 0u);
  // Standard input has no right to be written, whatever its number.
  CHECK(guest.call("fd_renumber", {0, 2}) == Errno::Success);
  CHECK_EQ(now().kept | now().dropped, 0u);
  CHECK(guest.call("fd_close", {2}) == Errno::Success);
  CHECK_EQ(now().kept | now().dropped, 0u);
}

void test_what_somebody_may_be_watching() {
  Pipe pipe;
  CHECK_EQ(granted(pipe.ends[1]).kept, kOut);
  CHECK_EQ(granted(pipe.ends[1]).lines, kOut);
  CHECK_EQ(granted(pipe.ends[1]).bursts, kOut);
  // A file is read later, or now and then.
  UniqueFd file(temporary_file(""));
  CHECK_EQ(granted(file.get()).kept, kOut);
  CHECK_EQ(granted(file.get()).lines, 0u);
  CHECK_EQ(granted(file.get()).bursts, kOut);
  // Nowhere, and a device that is not that.
  UniqueFd null(open("/dev/null", O_WRONLY | O_CLOEXEC));
  CHECK_EQ(granted(null.get()).dropped & kOut, kOut);
  CHECK_EQ(granted(null.get()).kept, 0u);
  UniqueFd zero(open("/dev/zero", O_WRONLY | O_CLOEXEC));
  CHECK_EQ((granted(zero.get()).kept | granted(zero.get()).dropped) & kOut, 0u);
  // The host has to say that it cannot be written.
  UniqueFd read_only(open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK_EQ((granted(read_only.get()).kept | granted(read_only.get()).dropped) & kOut, 0u);
  int terminal[2];
  if (openpty(&terminal[0], &terminal[1], nullptr, nullptr, nullptr) == 0) {
    CHECK_EQ(granted(terminal[1]).lines, kOut);
    close(terminal[0]);
    close(terminal[1]);
  }
  int sockets[2];
  CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  CHECK_EQ(granted(sockets[1]).lines, kOut);
  close(sockets[0]);
  close(sockets[1]);
  // Two writes into one are another message.
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    CHECK_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sockets), 0);
    CHECK_EQ(granted(sockets[1]).kept, 0u);
    close(sockets[0]);
    close(sockets[1]);
  }
  int packets[2];
  CHECK_EQ(pipe2(packets, O_DIRECT | O_CLOEXEC), 0);
  CHECK_EQ(granted(packets[1]).kept, 0u);
  close(packets[0]);
  close(packets[1]);
  UniqueFd counter(eventfd(0, EFD_CLOEXEC));
  CHECK_EQ(granted(counter.get()).kept, 0u);
}

void test_order_and_limit() {
  Pipe pipe;
  Config both;
  both.stdout_ = of_fd(pipe.ends[1]);
  both.stderr_ = of_fd(pipe.ends[1]);
  Guest same(std::move(both));
  Log shared(same.instance);
  for (const char* text : {"a", "b", "c", "d"}) shared.add(text[0] % 2 == 0 ? 1 : 2, text);
  CHECK(shared.take(same.waiter) == HostCallAction::Continue);
  char read_back[8] = {};
  CHECK_EQ(read(pipe.ends[0], read_back, sizeof read_back), 4);
  CHECK_EQ(std::string(read_back), "abcd");

  Guest guest(capturing(10));
  Log log(guest.instance);
  CHECK_EQ(log.box.room, 10u);
  log.add(1, "abc");
  CHECK(log.take(guest.waiter) == HostCallAction::Continue);
  CHECK_EQ(log.box.room, 7u);
  // A guest that does not keep to its room meets the limit all the same.
  log.add(2, "defgh");
  log.add(1, "ijk");
  log.add(1, "lost");
  CHECK(log.take(guest.waiter) == HostCallAction::OutputLimit);
  CHECK_EQ(string_of(guest.instance.take_stdout()), "abcij");
  CHECK_EQ(string_of(guest.instance.take_stderr()), "defgh");
  CHECK_EQ(log.box.room, 0u);
}

void test_late_errors() {
  Pipe pipe;
  pipe.close_read();
  Config config = capturing();
  config.stdout_ = of_fd(pipe.ends[1]);
  Guest guest(std::move(config));
  Log log(guest.instance);
  log.add(1, "nobody reads this");
  log.add(2, "but this");
  log.add(1, "nor this");
  CHECK(log.take(guest.waiter) == HostCallAction::Continue);
  CHECK_EQ(string_of(guest.instance.take_stderr()), "but this");
  // Nothing more is kept until the error is told, and it is told once.
  CHECK_EQ(log.box.kept, kErr);
  guest.put(100, std::string("x"));
  CHECK(guest.call("fd_write", {1, 0, 0, 8}) == Errno::Success);
  CHECK(guest.write(1, 100, 1) == Errno::Pipe);
  log.output.refresh(log.box);
  CHECK_EQ(log.box.kept, kOut | kErr);

  // A disk that is full: what fits is written, and the error is not lost with the guest's next write, which would fit again.
  UniqueFd file(temporary_file(""));
  rlimit before{}, small{};
  getrlimit(RLIMIT_FSIZE, &before);
  small = before;
  small.rlim_cur = 5;
  setrlimit(RLIMIT_FSIZE, &small);
  Config limited;
  limited.stdout_ = of_fd(file.get());
  Guest writer(std::move(limited));
  Log full(writer.instance);
  full.add(1, "0123456789");
  CHECK(full.take(writer.waiter) == HostCallAction::Continue);
  setrlimit(RLIMIT_FSIZE, &before);
  CHECK_EQ(lseek(file.get(), 0, SEEK_END), 5);
  writer.put(100, std::string("x"));
  CHECK(writer.write(1, 100, 1) == Errno::Fbig);
  CHECK(writer.write(1, 100, 1) == Errno::Success);
  CHECK_EQ(lseek(file.get(), 0, SEEK_END), 6);
}

// The deadline has passed, or the VM is being disposed: what needs no wait is delivered, and there is no wait.
void test_stop() {
  TestWaiter stopped;
  stopped.hook = [](int, short, int64_t) { return -1; };
  Pipe pipe;
  UniqueFd file(temporary_file(""));
  Config config;
  config.stdout_ = of_fd(pipe.ends[1]);
  config.stderr_ = of_fd(file.get());
  Guest guest(std::move(config));
  Log log(guest.instance);
  log.add(1, "to a pipe");
  log.add(2, "to a file");
  CHECK(log.take(stopped) == HostCallAction::Continue);
  char text[16] = {};
  CHECK_EQ(read(pipe.ends[0], text, sizeof text), 9);
  CHECK_EQ(lseek(file.get(), 0, SEEK_END), 9);
  pipe.fill();
  log.add(1, "no room");
  CHECK(log.take(stopped) == HostCallAction::Interrupted);
  // Without a stop it waits for room.
  log.add(1, "room later");
  guest.waiter.hook = [&](int fd, short events, int64_t) {
    CHECK_EQ(fd, pipe.ends[1]);
    CHECK_EQ(events, POLLOUT);
    std::vector<char> all(1 << 20);
    CHECK(read(pipe.ends[0], all.data(), all.size()) > 0);
    return POLLOUT;
  };
  CHECK(log.take(guest.waiter) == HostCallAction::Continue);
}

void test_forged_logs() {
  Guest guest(capturing(1 << 20));
  Log log(guest.instance);
  auto captured = [&] { return string_of(guest.instance.take_stdout()) + "|" + string_of(guest.instance.take_stderr()); };
  for (uint32_t used : {BC_OUTPUT_LOG_BYTES + 1u, 0x80000000u, 0xffffffffu}) {
    log.add(1, "abc");
    log.box.used = used;
    CHECK(log.take(guest.waiter) == HostCallAction::Continue);
    CHECK_EQ(captured(), "|");
  }
  // Records that reach past what is used, by a little and by all there is.
  for (uint32_t said : {4u, 0x7fffffffu, 0xffffffffu, 0xfffffff8u}) {
    log.add(2, "good");
    log.add(1, "abc", said);
    CHECK(log.take(guest.waiter) == HostCallAction::Continue);
    CHECK_EQ(captured(), "|good");
  }
  for (uint32_t used = 1; used < sizeof(bc_output_record); used++) {
    log.box.used = used;
    CHECK(log.take(guest.waiter) == HostCallAction::Continue);
  }
  // Other descriptors than the two, and such as may not be written now.
  for (uint32_t fd : {0u, 3u, 31u, 32u, 0x80000001u, 0xffffffffu}) log.add(fd, "abc");
  CHECK(log.take(guest.waiter) == HostCallAction::Continue);
  CHECK_EQ(captured(), "|");
  CHECK(guest.call("fd_close", {1}) == Errno::Success);
  log.add(1, "closed");
  log.add(2, "open");
  CHECK(log.take(guest.waiter) == HostCallAction::Continue);
  CHECK_EQ(captured(), "|open");
  // A full log of records without bytes, or with one each.
  for (const char* text : {"", "x"}) {
    while (log.box.used + sizeof(bc_output_record) + 1 <= BC_OUTPUT_LOG_BYTES) log.add(2, text);
    CHECK(log.take(guest.waiter) == HostCallAction::Continue);
  }
  CHECK_EQ(captured().size(), 1 + BC_OUTPUT_LOG_BYTES / (sizeof(bc_output_record) + 1));
  std::mt19937 random(1);
  for (int round = 0; round < 2000; round++) {
    for (uint8_t& byte : log.bytes) byte = static_cast<uint8_t>(random() % (round % 2 == 0 ? 4 : 256));
    log.box.used = random() % (BC_OUTPUT_LOG_BYTES + 100);
    HostCallAction action = log.take(guest.waiter);
    CHECK(action == HostCallAction::Continue || action == HostCallAction::OutputLimit);
  }
  CHECK(captured().size() <= (1 << 20));
}

}  // namespace

void run_kept_output_tests() {
  test_grants();
  test_what_somebody_may_be_watching();
  test_order_and_limit();
  test_late_errors();
  test_stop();
  test_forged_logs();
}

}  // namespace wasi_test
