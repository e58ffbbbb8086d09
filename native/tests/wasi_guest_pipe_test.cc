// Standard streams over pipes of the guest's own: who is woken, what is waited for, what the ends mean.
#include <sys/ioctl.h>

#include <csignal>
#include <thread>

#include "wasi_support.h"

namespace wasi_test {
namespace {

constexpr size_t kPipeBytes = 64 << 10;

struct HostSide {
  explicit HostSide(PipeDirection direction) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) std::abort();
    bool input = direction == PipeDirection::Input;
    host = UniqueFd(ends[input ? 1 : 0]);
    guest = std::make_shared<GuestPipe>(UniqueFd(ends[input ? 0 : 1]), direction, [this] { wakes++; });
  }
  StreamConfig config() const { return {Kind::Pipe, -1, {}, guest}; }
  size_t say(size_t bytes) {
    std::vector<uint8_t> block(bytes, 'x');
    ssize_t count = ::write(host.get(), block.data(), bytes);
    return count < 0 ? 0 : static_cast<size_t>(count);
  }
  size_t hear(size_t bytes) {
    std::vector<uint8_t> block(bytes);
    ssize_t count = ::read(host.get(), block.data(), bytes);
    return count < 0 ? 0 : static_cast<size_t>(count);
  }

  UniqueFd host;
  std::shared_ptr<GuestPipe> guest;
  std::atomic<int> wakes = 0;
};

Config with_stdin(const HostSide& side) {
  Config config;
  config.stdin_ = side.config();
  return config;
}

Config with_stdout(const HostSide& side) {
  Config config;
  config.stdout_ = side.config();
  return config;
}

void test_output() {
  HostSide side(PipeDirection::Output);
  Guest guest(with_stdout(side), 1 << 20);
  CHECK(guest.write(1, 100, 10) == Errno::Success);
  // Nobody wanted to hear of it.
  CHECK_EQ(side.wakes.load(), 0);
  side.guest->want_wake();
  CHECK(guest.write(1, 100, 10) == Errno::Success);
  CHECK(guest.write(1, 100, 10) == Errno::Success);
  CHECK_EQ(side.wakes.load(), 1);
  CHECK_EQ(side.hear(100), 30u);

  // More than the pipe holds: the host is woken before the guest waits, and the guest goes on when it is heard.
  side.guest->want_wake();
  guest.waiter.hook = [&](int fd, short events, int64_t) {
    CHECK(fd == side.guest->fd() && events == POLLOUT);
    pollfd entry{fd, events, 0};
    if (poll(&entry, 1, 0) == 0) {
      CHECK_EQ(side.wakes.load(), 2);
      CHECK_EQ(side.hear(kPipeBytes), kPipeBytes);
    }
    return int{POLLOUT};
  };
  CHECK(guest.write(1, 1000, 3 * kPipeBytes) == Errno::Success);
  CHECK_EQ(guest.count(), 3 * kPipeBytes);
  CHECK_EQ(side.hear(kPipeBytes), kPipeBytes);

  // A wait that is stopped says so; a guest that does not want to wait gets EAGAIN.
  guest.waiter.hook = [](int, short, int64_t) { return -1; };
  CHECK(guest.write(1, 1000, 10) == HostCallAction::Interrupted);
  guest.waiter.hook = nullptr;
  CHECK_EQ(side.say(1), 0u);
  guest.waiter.hook = [&](int fd, short events, int64_t) {
    pollfd entry{fd, events, 0};
    return poll(&entry, 1, 0) > 0 ? entry.revents : 0;
  };
  CHECK(guest.call("fd_fdstat_set_flags", {1, kFdflagNonblock}) == Errno::Success);
  CHECK(guest.write(1, 1000, 2 * kPipeBytes) == Errno::Success);
  CHECK_EQ(guest.count(), kPipeBytes);
  CHECK(guest.write(1, 1000, 1) == Errno::Again);
}

void test_output_without_a_reader() {
  HostSide side(PipeDirection::Output);
  Guest guest(with_stdout(side));
  side.host.reset();
  auto before = signal(SIGPIPE, SIG_DFL);
  CHECK(guest.write(1, 100, 10) == Errno::Pipe);
  CHECK(guest.write(1, 100, 10) == Errno::Pipe);
  signal(SIGPIPE, before);
}

void test_input() {
  HostSide side(PipeDirection::Input);
  Guest guest(with_stdin(side), 1 << 20);
  CHECK_EQ(side.wakes.load(), 0);
  // It is asked for once, before the guest waits.
  guest.waiter.hook = [&](int fd, short events, int64_t) {
    CHECK(fd == side.guest->fd() && events == POLLIN);
    CHECK_EQ(side.wakes.load(), 1);
    side.say(10);
    return int{POLLIN};
  };
  CHECK(guest.read(1000, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 10u);
  guest.waiter.hook = nullptr;

  // A full pipe: woken when half of it is read, once.
  CHECK_EQ(side.say(kPipeBytes), kPipeBytes);
  side.guest->want_wake();
  CHECK(guest.read(1000, kPipeBytes / 2 - 1) == Errno::Success);
  CHECK_EQ(side.wakes.load(), 1);
  CHECK(guest.read(1000, 1) == Errno::Success);
  CHECK_EQ(side.wakes.load(), 2);
  CHECK(guest.read(1000, 1) == Errno::Success);
  CHECK_EQ(side.wakes.load(), 2);

  // A pipe that is full with less, for its pages are small ones: with the first byte.
  HostSide small(PipeDirection::Input);
  if (fcntl(small.host.get(), F_SETPIPE_SZ, 4096) != 4096) std::abort();
  Guest reader(with_stdin(small), 1 << 20);
  CHECK_EQ(small.say(kPipeBytes), 4096u);
  small.guest->want_wake();
  CHECK(reader.read(1000, 1) == Errno::Success);
  CHECK_EQ(small.wakes.load(), 2);  // the first is the question

  CHECK(!side.guest->end_told());
  side.host.reset();
  while (guest.count() != 0) CHECK(guest.read(1000, kPipeBytes) == Errno::Success);
  CHECK(side.guest->end_told());
}

void test_polling_asks_too() {
  HostSide side(PipeDirection::Input);
  Guest guest(with_stdin(side));
  guest.put(1000, uint64_t{7});
  guest.put(1008, kEventtypeFdRead);
  guest.put(1016, uint32_t{0});
  guest.waiter.hook = [&](int fd, short, int64_t) {
    CHECK(fd == side.guest->fd());
    CHECK_EQ(side.wakes.load(), 1);
    side.say(3);
    return int{POLLIN};
  };
  CHECK(guest.call("poll_oneoff", {1000, 2000, 1, 500}) == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(500), 1u);
  CHECK_EQ(guest.get<Event>(2000).nbytes, 3u);
  // Reading of a stream that is output is an error, and asks nobody.
  HostSide output(PipeDirection::Output);
  Guest writer(with_stdout(output));
  writer.put(1008, kEventtypeFdRead);
  writer.put(1016, uint32_t{1});
  CHECK(writer.call("poll_oneoff", {1000, 2000, 1, 500}) == Errno::Success);
  CHECK_EQ(output.wakes.load(), 0);
}

void test_what_it_is() {
  HostSide input(PipeDirection::Input), output(PipeDirection::Output);
  Config config = with_stdin(input);
  config.stdout_ = config.stderr_ = output.config();
  Guest guest(std::move(config));
  for (uint32_t fd : {0u, 1u, 2u}) {
    CHECK(guest.call("fd_filestat_get", {fd, 1000}) == Errno::Success);
    CHECK_EQ(guest.get<Filestat>(1000).filetype, static_cast<uint8_t>(Filetype::Unknown));
  }
  // Both kinds of output, in their order.
  guest.put(100, std::string("ab"));
  CHECK(guest.write(2, 100, 1) == Errno::Success);
  CHECK(guest.write(1, 101, 1) == Errno::Success);
  char text[3] = {};
  CHECK_EQ(read(output.host.get(), text, 2), 2);
  CHECK_EQ(std::string(text), std::string("ab"));
  // A closed descriptor of the guest's is its own affair; the program's end closes the pipe.
  CHECK(guest.call("fd_close", {1}) == Errno::Success);
  input.guest.reset();
  output.guest.reset();
  CHECK_EQ(input.say(1), 1u);
  guest.instance.close();
  auto before = signal(SIGPIPE, SIG_IGN);
  CHECK_EQ(input.say(1), 0u);
  signal(SIGPIPE, before);
  CHECK_EQ(read(output.host.get(), text, 1), 0);
  // What it was is no longer used.
  CHECK(guest.read(1000, 1) == Errno::Badf);

  HostSide other(PipeDirection::Output);
  CHECK(refuses([&] { Instance instance(with_stdin(other)); }));
  Config none;
  none.stdout_ = of_kind(Kind::Pipe);
  CHECK(refuses([&] { Instance instance(std::move(none)); }));
}

// No wake is lost: a host that sleeps until it is woken hears all that a guest says, whatever the two do at once.
void test_wakes_are_not_lost() {
  HostSide side(PipeDirection::Output);
  Guest guest(with_stdout(side), 1 << 20);
  constexpr size_t kBytes = 2'000'000, kPiece = 997;
  std::thread writer([&] {
    for (size_t done = 0; done < kBytes; done += kPiece) {
      if (!(guest.write(1, 1000, kPiece) == Errno::Success)) return;
    }
  });
  size_t heard = 0;
  int seen = 0;
  bool in_time = true;
  while (heard < kBytes && in_time) {
    size_t count = side.hear(kPipeBytes);
    if (count == 0) {
      side.guest->want_wake();
      count = side.hear(kPipeBytes);
    }
    heard += count;
    for (int i = 0; count == 0 && side.wakes.load() == seen && in_time; i++) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      in_time = i < 250'000;
    }
    seen = side.wakes.load();
  }
  CHECK(in_time);
  if (!in_time) side.host.reset();
  writer.join();
}

}  // namespace

void run_guest_pipe_tests() {
  test_output();
  test_output_without_a_reader();
  test_input();
  test_polling_asks_too();
  test_what_it_is();
  test_wakes_are_not_lost();
}

}  // namespace wasi_test
