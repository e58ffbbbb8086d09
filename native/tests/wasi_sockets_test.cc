// sock_* over a listening socket and connections from it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

#include "wasi_files.h"

namespace wasi_test {
namespace {

struct Server {
  Server() {
    listener = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener.get(), 10) != 0 ||
        getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::abort();
    }
  }
  UniqueFd connect() const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) std::abort();
    return fd;
  }
  Config config() const {
    Config config = with_directory("");
    config.sockets = {listener.get()};
    return config;
  }
  UniqueFd listener;
  sockaddr_in address{};
};

constexpr uint32_t kListener = 4;

void test_accept() {
  Server server;
  Files files(server.config());
  Guest& guest = files.guest;
  CHECK(guest.call("fd_prestat_get", {kListener, 0}) == Errno::Badf);
  CHECK(guest.call("fd_fdstat_get", {kListener, 100}) == Errno::Success);
  CHECK_EQ(guest.get<uint8_t>(100), 6);
  CHECK(guest.call("fd_filestat_get", {kListener, 100}) == Errno::Success);
  CHECK_EQ(guest.get<Filestat>(100).ino, 0u);
  CHECK(guest.call("sock_accept", {kListener, 32, 0}) == Errno::Inval);
  CHECK(guest.call("sock_accept", {kListener, kFdflagSync, 0}) == Errno::Notsup);
  CHECK(guest.call("sock_accept", {kListener, 0, 1 << 20}) == Errno::Fault);
  CHECK(guest.call("sock_accept", {kDir, 0, 0}) == Errno::Notsock);
  CHECK(guest.call("sock_accept", {0, 0, 0}) == Errno::Notsock);
  CHECK(guest.call("sock_accept", {99, 0, 0}) == Errno::Badf);
  CHECK(files.read(kListener, 10) == Errno::Notconn);
  CHECK(files.seek(kListener, 0, 0) == Errno::Spipe);
  // Nobody is there: it can be ended, or does not wait.
  guest.waiter.hook = [](int, short, int64_t timeout) { return timeout == 0 ? 0 : -1; };
  CHECK(guest.call("sock_accept", {kListener, 0, 0}) == HostCallAction::Interrupted);
  // Readiness that somebody else used up.
  int looks = 0;
  guest.waiter.hook = [&](int, short events, int64_t) -> int { return ++looks == 3 ? -1 : events; };
  CHECK(guest.call("sock_accept", {kListener, 0, 0}) == HostCallAction::Interrupted);
  guest.waiter.hook = nullptr;
  CHECK(guest.call("fd_fdstat_set_flags", {kListener, kFdflagNonblock}) == Errno::Success);
  CHECK(guest.call("sock_accept", {kListener, 0, 0}) == Errno::Again);
  CHECK(guest.call("fd_fdstat_set_flags", {kListener, 0}) == Errno::Success);

  UniqueFd client = server.connect();
  CHECK(guest.call("sock_accept", {kListener, kFdflagNonblock, 0}) == Errno::Success);
  uint32_t fd = guest.get<uint32_t>(0);
  CHECK_EQ(fd, 5u);
  CHECK(guest.call("fd_fdstat_get", {fd, 100}) == Errno::Success);
  CHECK_EQ(guest.get<Fdstat>(100).fs_flags, kFdflagNonblock);
  CHECK((guest.get<Fdstat>(100).fs_rights_base & kRightSockAccept) == 0);
  CHECK(guest.call("sock_accept", {fd, 0, 0}) == Errno::Notcapable);
  CHECK(files.read(fd, 10) == Errno::Again);
  CHECK(files.write(fd, "hello") == Errno::Success);
  char text[10];
  CHECK_EQ(read(client.get(), text, sizeof text), 5);
  CHECK(guest.call("sock_shutdown", {kListener, 1}) == Errno::Notcapable);
  // A guest that may hold no more descriptors does not take the connection away.
  Config full = server.config();
  full.limits.max_open_files = 5;
  Files other(std::move(full));
  UniqueFd waiting = server.connect();
  CHECK(other.guest.call("sock_accept", {kListener, 0, 0}) == Errno::Mfile);
  CHECK(guest.call("sock_accept", {kListener, 0, 0}) == Errno::Success);
}

void test_transfer() {
  Server server;
  Files files(server.config());
  Guest& guest = files.guest;
  UniqueFd client = server.connect();
  CHECK(guest.call("sock_accept", {kListener, 0, 0}) == Errno::Success);
  uint32_t fd = guest.get<uint32_t>(0);
  auto recv = [&](uint32_t bytes, uint32_t flags) {
    guest.iovecs(16, {{20000, bytes}});
    return guest.call("sock_recv", {fd, 16, 1, flags, 8, 12});
  };
  CHECK_EQ(write(client.get(), "abcdef", 6), 6);
  CHECK(recv(3, kRiflagPeek) == Errno::Success);
  CHECK(files.got() == "abc");
  CHECK(recv(2, 0) == Errno::Success);
  CHECK(files.got() == "ab");
  CHECK(recv(100, 0) == Errno::Success);
  CHECK(files.got() == "cdef");
  CHECK(recv(1, 4) == Errno::Inval);
  CHECK(guest.call("sock_recv", {fd, 16, 1, 0, 1 << 20, 12}) == Errno::Fault);
  CHECK(guest.call("sock_recv", {fd, 16, 1, 0, 8, (1 << 20) - 1}) == Errno::Fault);
  CHECK(guest.call("sock_recv", {fd, 1 << 20, 1, 0, 8, 12}) == Errno::Fault);
  guest.waiter.hook = [](int, short, int64_t) { return -1; };
  CHECK(recv(1, 0) == HostCallAction::Interrupted);
  guest.waiter.hook = nullptr;
  std::thread slow([&] {
    for (int i = 0; i < 5; i++) {
      usleep(2000);
      if (write(client.get(), "xy", 2) != 2) std::abort();
    }
  });
  CHECK(recv(10, kRiflagWaitall) == Errno::Success);
  slow.join();
  CHECK(files.got() == "xyxyxyxyxy");
  // More than the socket's buffers hold.
  std::thread reader([&] {
    char block[10'000];
    size_t left = 900'000;
    while (left > 0) {
      ssize_t bytes = read(client.get(), block, sizeof block);
      if (bytes <= 0) std::abort();
      left -= static_cast<size_t>(bytes);
    }
  });
  guest.iovecs(16, {{0, 900'000}});
  CHECK(guest.call("sock_send", {fd, 16, 1, 0, 8}) == Errno::Success);
  CHECK_EQ(guest.count(), 900'000u);
  reader.join();
  guest.iovecs(16, {{0, 1}});
  CHECK(guest.call("sock_send", {fd, 16, 1, 1, 8}) == Errno::Inval);
  for (uint32_t how : {0u, 4u, UINT32_MAX}) CHECK(guest.call("sock_shutdown", {fd, how}) == Errno::Inval);
  CHECK(guest.call("sock_shutdown", {fd, kSdflagWr}) == Errno::Success);
  CHECK(guest.call("sock_send", {fd, 16, 1, 0, 8}) == Errno::Pipe);
  char end;
  CHECK_EQ(read(client.get(), &end, 1), 0);
  client.reset();
  CHECK(recv(10, kRiflagWaitall) == Errno::Success);
  CHECK_EQ(guest.count(), 0u);
  CHECK(guest.call("sock_send", {kDir, 16, 1, 0, 8}) == Errno::Notsock);
  CHECK(guest.call("sock_recv", {1, 16, 1, 0, 8, 12}) == Errno::Notsock);
  CHECK(guest.call("sock_shutdown", {77, 1}) == Errno::Badf);
}

void test_datagrams_and_polling() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0) std::abort();
  UniqueFd ours(pair[0]), theirs(pair[1]);
  Server server;
  Config config = server.config();
  config.sockets.push_back(theirs.get());
  Files files(std::move(config));
  Guest& guest = files.guest;
  theirs.reset();  // the guest has a descriptor of its own
  uint32_t fd = 5;
  CHECK_EQ(write(ours.get(), "datagram", 8), 8);
  guest.iovecs(16, {{20000, 4}});
  CHECK(guest.call("sock_recv", {fd, 16, 1, 0, 8, 12}) == Errno::Success);
  CHECK_EQ(guest.count(), 4u);
  CHECK_EQ(guest.get<uint16_t>(12), kRoflagDataTruncated);
  // Both wait; then there is a connection.
  auto poll = [&] {
    guest.put(1000, std::string(96, '\0'));
    for (uint32_t i = 0; i < 2; i++) {
      guest.put(1000 + 48 * i, uint64_t{i});
      guest.put(1008 + 48 * i, kEventtypeFdRead);
      guest.put(1016 + 48 * i, kListener + i);
    }
    return guest.call("poll_oneoff", {1000, 2000, 2, 0});
  };
  guest.waiter.hook = [](int, short, int64_t) { return -1; };
  CHECK(poll() == HostCallAction::Interrupted);
  guest.waiter.hook = nullptr;
  UniqueFd client = server.connect();
  CHECK(poll() == Errno::Success);
  CHECK_EQ(guest.get<uint32_t>(0), 1u);
  CHECK_EQ(guest.get<Event>(2000).userdata, 0u);
  Config bad = with_directory("");
  bad.sockets = {0x7fffffff};
  CHECK(refuses([&] { Instance instance(std::move(bad)); }));
}

}  // namespace

void run_socket_tests() {
  test_accept();
  test_transfer();
  test_datagrams_and_polling();
}

}  // namespace wasi_test
