// Every function of the interface with nasty arguments, made from the table of signatures: an answer that the specification knows,
// and memory untouched where it is EFAULT.
#include <sys/socket.h>

#include <random>
#include <thread>

#include "wasi_files.h"

namespace wasi_test {
namespace {

constexpr uint32_t kMemory = 4096;
constexpr uint64_t kValues[] = {0,          1,       2,          3,          4,         5,        7,        24,         1024,
                                4072,       4092,    4095,       4096,       4097,      65536,    1u << 28, 0x7fffffff, 0x80000000,
                                UINT32_MAX, 1u << 30};
constexpr uint64_t kWide[] = {0, 1, 4096, UINT32_MAX, uint64_t{1} << 32, INT64_MAX, uint64_t{1} << 63, UINT64_MAX, kAllRights};

// A program that has one of everything: streams, a directory and a file of either kind, a listening socket and a connection.
struct Everything {
  Everything() : guest(config(), kMemory) {
    listen(listener.get(), 5);
    guest.waiter.hook = [](int, short, int64_t timeout) { return timeout == 0 ? 0 : -1; };
  }
  Config config() {
    folder.write("file", "text");
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) std::abort();
    listener = UniqueFd(socket(AF_INET, SOCK_STREAM, 0));
    listen(listener.get(), 5);
    Config config;
    config.args = {"program"};
    config.env = {"A=b"};
    config.stdin_ = of_bytes("input");
    config.stdout_ = of_kind(Kind::Capture);
    config.max_output_bytes = 1 << 20;
    config.preopens.push_back({"/host", folder.path, false, 0});
    config.preopens.push_back({"/memory", "", false, 1 << 16});
    config.preopens.push_back({"/read-only", folder.path, true, 0});
    config.sockets = {listener.get(), pair[0]};
    config.limits.max_write_bytes = 1 << 20;
    config.limits.max_open_files = 24;
    return config;
  }
  ~Everything() {
    close(pair[0]);
    close(pair[1]);
  }
  Folder folder;
  UniqueFd listener;
  int pair[2] = {-1, -1};
  Guest guest;
};

// Some of memory looks like paths, lists of buffers and subscriptions, all of which lead somewhere.
void fill(Guest& guest, std::mt19937_64& random) {
  std::string content(kMemory, '\0');
  for (size_t i = 0; i + 4 <= content.size(); i += 4) {
    auto value = static_cast<uint32_t>(random() % 4 == 0 ? kValues[random() % std::size(kValues)] : random() % 64);
    std::memcpy(content.data() + i, &value, 4);
  }
  const char* paths[] = {"file", "../x", "new/a", "/", "."};
  for (size_t i = 0; i < std::size(paths); i++) std::memcpy(content.data() + 1024 + 16 * i, paths[i], std::strlen(paths[i]));
  guest.put(0, content);
}

void check_call(Everything& all, const Signature& signature, const char* module, const std::vector<uint64_t>& arguments) {
  Guest& guest = all.guest;
  std::string before = guest.text(0, kMemory);
  HostCall call{{}, guest.memory, guest.waiter};
  for (size_t i = 0; i < arguments.size(); i++) call.slots[i].u64 = arguments[i];
  HostCallAction action = guest.instance.bind(module, signature.name)(call);
  uint64_t error = call.slots[0].u64;
  if (action == HostCallAction::Interrupted || action == HostCallAction::OutputLimit || action == HostCallAction::Exit) return;
  bool known = action == HostCallAction::Continue && error <= 76;
  bool untouched = error != static_cast<uint64_t>(Errno::Fault) || guest.text(0, kMemory) == before;
  if (known && untouched) return;
  std::string text(signature.name);
  for (uint64_t argument : arguments) text += " " + std::to_string(argument);
  check(false, __FILE__, __LINE__, text + " gives " + std::to_string(error));
}

// Random choices of the values above, the same in every run.
void test_arguments() {
  std::mt19937_64 random(1);
  int calls = 0;
  Everything all;
  for (const char* module : {kPreview1, kUnstable}) {
    for (const Signature& signature : signatures()) {
      // They end what the others need; they are tried at the end.
      if (signature.name == "fd_close" || signature.name == "fd_renumber" || signature.name == "fd_fdstat_set_rights") continue;
      for (int i = 0; i < 1500; i++) {
        if (i % 16 == 0) fill(all.guest, random);
        std::vector<uint64_t> arguments;
        for (char type : signature.params) {
          arguments.push_back(type == 'i' ? kValues[random() % std::size(kValues)] : kWide[random() % std::size(kWide)]);
        }
        // Mostly a descriptor that is there.
        if (!arguments.empty() && random() % 4 != 0) arguments[0] = random() % 10;
        check_call(all, signature, module, arguments);
        calls++;
      }
      for (uint32_t fd = 8; fd < 30; fd++) all.guest.call("fd_close", {fd});
    }
  }
  for (uint64_t a : kValues) {
    for (uint64_t b : kValues) all.guest.call("fd_renumber", {a, b});
  }
  for (uint64_t a : kValues) all.guest.call("fd_close", {a});
  CHECK(calls > 100'000);
}

// One pointer of each function at a time is bad, and all else is good: the answer is EFAULT, and nothing has happened.
struct GoodCall {
  const char* name;
  std::vector<uint64_t> arguments;
  std::vector<size_t> pointers;  // with how much they need
  std::vector<uint64_t> bytes;
};

void test_each_pointer() {
  const std::vector<GoodCall> calls = {
      {"args_get", {100, 200}, {0, 1}, {4, 8}},
      {"args_sizes_get", {100, 200}, {0, 1}, {4, 4}},
      {"environ_get", {100, 200}, {0, 1}, {4, 4}},
      {"environ_sizes_get", {100, 200}, {0, 1}, {4, 4}},
      {"clock_res_get", {0, 100}, {1}, {8}},
      {"clock_time_get", {0, 0, 100}, {2}, {8}},
      {"random_get", {100, 10}, {0}, {10}},
      {"fd_fdstat_get", {3, 100}, {1}, {24}},
      {"fd_filestat_get", {3, 100}, {1}, {64}},
      {"fd_prestat_get", {3, 100}, {1}, {8}},
      {"fd_prestat_dir_name", {3, 100, 5}, {1}, {5}},
      {"fd_read", {8, 0, 1, 100}, {1, 3}, {8, 4}},
      {"fd_write", {8, 0, 1, 100}, {1, 3}, {8, 4}},
      {"fd_pread", {8, 0, 1, 0, 100}, {1, 4}, {8, 4}},
      {"fd_pwrite", {8, 0, 1, 0, 100}, {1, 4}, {8, 4}},
      {"fd_readdir", {3, 100, 50, 0, 200}, {1, 4}, {50, 4}},
      {"fd_seek", {8, 0, 0, 100}, {3}, {8}},
      {"fd_tell", {8, 100}, {1}, {8}},
      {"path_create_directory", {3, 1000, 3}, {1}, {3}},
      {"path_filestat_get", {3, 0, 1010, 4, 100}, {2, 4}, {4, 64}},
      {"path_filestat_set_times", {3, 0, 1010, 4, 0, 0, 1}, {2}, {4}},
      {"path_link", {3, 0, 1010, 4, 3, 1000, 3}, {2, 5}, {4, 3}},
      {"path_open", {3, 0, 1000, 3, kOflagCreat, kAllRights, 0, 0, 100}, {2, 8}, {3, 4}},
      {"path_readlink", {3, 1020, 4, 100, 10, 200}, {1, 3, 5}, {4, 10, 4}},
      {"path_remove_directory", {3, 1000, 3}, {1}, {3}},
      {"path_rename", {3, 1010, 4, 3, 1000, 3}, {1, 4}, {4, 3}},
      {"path_symlink", {1010, 4, 3, 1000, 3}, {0, 3}, {4, 3}},
      {"path_unlink_file", {3, 1010, 4}, {1}, {4}},
      {"poll_oneoff", {2000, 100, 1, 200}, {0, 1, 3}, {48, 32, 4}},
      {"sock_accept", {6, 0, 100}, {2}, {4}},
      {"sock_recv", {7, 0, 1, 0, 100, 200}, {1, 4, 5}, {8, 4, 2}},
      {"sock_send", {7, 0, 1, 0, 100}, {1, 4}, {8, 4}},
  };
  for (const GoodCall& good : calls) {
    Everything all;
    Guest& guest = all.guest;
    if (::symlink("file", (all.folder / "link").c_str()) != 0) std::abort();
    guest.put(1000, std::string("new"));
    guest.put(1010, std::string("file"));
    guest.put(1020, std::string("link"));
    auto call = [&](const std::vector<uint64_t>& arguments) {
      HostCall host{{}, guest.memory, guest.waiter};
      for (size_t i = 0; i < arguments.size(); i++) host.slots[i].u64 = arguments[i];
      HostCallAction action = guest.instance.bind(kPreview1, good.name)(host);
      return Outcome{action, host.slots[0].u32, 0};
    };
    // Descriptor 8 is the file.
    guest.iovecs(0, {{300, 4}});
    HostCall host{{}, guest.memory, guest.waiter};
    uint64_t open[] = {3, 0, 1010, 4, 0, kAllRights, 0, 0, 100};
    for (size_t i = 0; i < 9; i++) host.slots[i].u64 = open[i];
    CHECK(guest.instance.bind(kPreview1, "path_open")(host) == HostCallAction::Continue);
    CHECK_EQ(guest.get<uint32_t>(100), 8u);
    for (size_t i = 0; i < good.pointers.size(); i++) {
      for (uint64_t bad : {uint64_t{kMemory}, kMemory - good.bytes[i] + 1, uint64_t{kMemory} + 1, uint64_t{0x80000000}, uint64_t{UINT32_MAX}}) {
        std::vector<uint64_t> arguments = good.arguments;
        arguments[good.pointers[i]] = bad;
        std::string before = guest.text(0, kMemory);
        Outcome outcome = call(arguments);
        bool ok = outcome == Errno::Fault && guest.text(0, kMemory) == before;
        check(ok, __FILE__, __LINE__, std::string(good.name) + " argument " + std::to_string(good.pointers[i]) + " = " + std::to_string(bad) +
                                          " gives " + std::to_string(outcome.error));
      }
    }
    CHECK(!all.folder.has("new") && all.folder.has("file") && all.folder.read("file") == "text");
    CHECK_EQ(guest.instance.stdout_total(), 0u);
  }
}

// A second thread of the guest changes paths and lists while they are read.
void test_changing_memory() {
  Folder outer;
  if (::mkdir((outer / "in").c_str(), 0755) != 0) std::abort();
  outer.write("x", "secret");
  outer.write("in/aa", "mine");
  Files files(with_directory(outer / "in"));
  std::atomic<bool> done = false;
  files.guest.put(1000, std::string("./aa"));
  auto* path = reinterpret_cast<uint32_t*>(files.guest.memory.range_for_kernel(1000, 4));
  std::thread hostile([&] {
    uint32_t good, bad;
    std::memcpy(&good, "./aa", 4);
    std::memcpy(&bad, "../x", 4);
    while (!done) {
      std::atomic_ref(*path).store(good);
      std::atomic_ref(*path).store(bad);
    }
  });
  int good = 0;
  for (int i = 0; i < 5000; i++) {
    Outcome outcome = files.raw("path_open", {kDir, 0, 1000, 4, 0, kReadRights, 0, 0, 0});
    if (outcome == Errno::Success) {
      uint32_t fd = files.opened();
      good += files.pread(fd, 20, 0) == Errno::Success && files.got() == "mine";
      files.close(fd);
    } else {
      good += outcome == Errno::Notcapable || outcome == Errno::Noent;
    }
  }
  done = true;
  hostile.join();
  CHECK_EQ(good, 5000);
}

}  // namespace

void run_hostile_tests() {
  test_arguments();
  test_each_pointer();
  test_changing_memory();
}

}  // namespace wasi_test
