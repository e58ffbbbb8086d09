// Tests of input that a guest is given ahead (guest_input.h): what it is given when, where files are afterwards, and that a forged count does no harm.
#include <cstring>
#include <string>
#include <vector>

#include "../guest_input.h"
#include "../wasi/rights.h"
#include "wasi_support.h"

namespace wasi_test {
namespace {

// The part of the guest: what it was given, and how much of it it takes. The bytes are a heap block, so that the sanitizer sees any step outside.
struct Ahead {
  explicit Ahead(Instance& instance) : input(instance.input_source()), bytes(BC_INPUT_BYTES, '?') {}

  // As the run loop does before an entry. What is given, as text.
  std::string give() {
    box = {};
    if (input.is_due()) {
      uint32_t written = input.give(box, bytes.data());
      CHECK_EQ(written, box.bytes);
    }
    CHECK_EQ(input.has_given(), box.bytes > 0 || box.at_end != 0);
    return {bytes.begin(), bytes.begin() + box.bytes};
  }
  void take(uint32_t taken) {
    uint32_t given = box.bytes;
    box.taken = taken;
    input.take_back(box, bytes.data());
    CHECK(!input.has_given());
    CHECK_EQ(box.bytes + box.at_end + box.taken, 0u);
    for (uint32_t i = 0; i < given; i++) CHECK_EQ(bytes[i], 0);
  }

  GuestInput input;
  bc_input box{};
  std::vector<uint8_t> bytes;
};

// So many bytes, of which no two neighbours are the same, and none is zero.
std::string long_text(size_t bytes) {
  std::string text(bytes, ' ');
  for (size_t i = 0; i < bytes; i++) text[i] = static_cast<char>('a' + i % 26);
  return text;
}

Config with_stdin(const std::string& text) {
  Config config;
  config.stdin_ = of_bytes(text);
  return config;
}

void test_what_is_given() {
  std::string text = long_text(100'000);
  Guest guest(with_stdin(text));
  Ahead ahead(guest.instance);
  CHECK_EQ(ahead.give(), "");
  CHECK(guest.read(64, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 100u);
  // A whole number of reads such as the last.
  CHECK_EQ(ahead.give(), text.substr(100, 4000));
  CHECK_EQ(ahead.box.fd, 0u);
  CHECK_EQ(ahead.box.at_end, 0u);
  ahead.take(2500);
  // Once for each read; and that goes on where the guest is.
  CHECK_EQ(ahead.give(), "");
  CHECK(guest.read(64, 100) == Errno::Success);
  CHECK_EQ(guest.text(64, 100), text.substr(2600, 100));
  // More after most of it was read, up to all there is room for.
  CHECK_EQ(ahead.give(), text.substr(2700, 16'300));
  ahead.take(16'300);
  CHECK(guest.read(64, 100) == Errno::Success);
  CHECK_EQ(ahead.give(), text.substr(19'100, 65'500));
  // In vain: the next eight reads get nothing.
  ahead.take(0);
  for (int i = 0; i < 8; i++) {
    CHECK(guest.read(64, 100) == Errno::Success);
    CHECK_EQ(ahead.give(), "");
  }
  CHECK(guest.read(64, 100) == Errno::Success);
  CHECK_EQ(ahead.give(), text.substr(20'000, 4000));
  ahead.take(4000);
  // Enough for some reads also if they are large, but not if they are so large that it does not matter.
  CHECK(guest.read(64, 10'000) == Errno::Success);
  CHECK_EQ(ahead.give(), text.substr(34'000, 40'000));
  ahead.take(10'000);
  CHECK(guest.read(64, 32'769) == Errno::Success);
  CHECK_EQ(ahead.give(), "");
  // The end of what nobody else can add to is told.
  CHECK(guest.read(64, 32'000) == Errno::Success);
  CHECK_EQ(guest.count(), 100'000u - 44'000 - 32'769);
  CHECK_EQ(ahead.give(), "");
  CHECK_EQ(ahead.box.at_end, 1u);
  ahead.take(0);
  // And a read that finds nothing is none.
  CHECK(guest.read(64, 100) == Errno::Success);
  CHECK_EQ(guest.count(), 0u);
  CHECK_EQ(ahead.give(), "");
  CHECK(!ahead.input.has_given());
}

void test_who_is_given_nothing() {
  // A descriptor's place may be shared.
  UniqueFd file(temporary_file(long_text(5000)));
  Config config;
  config.stdin_ = of_fd(file.get());
  Guest shared(std::move(config));
  Ahead ahead(shared.instance);
  CHECK(shared.read(64, 100) == Errno::Success);
  CHECK_EQ(ahead.give(), "");
  CHECK(!ahead.input.has_given());

  // What has changed since the read.
  auto after = [](auto change) {
    Guest guest(with_stdin(long_text(5000)));
    Ahead input(guest.instance);
    CHECK(guest.read(64, 100) == Errno::Success);
    change(guest);
    return input.give();
  };
  CHECK_EQ(after([](Guest&) {}), long_text(5000).substr(100, 4000).c_str());
  CHECK_EQ(after([](Guest& guest) { CHECK(guest.call("fd_close", {0}) == Errno::Success); }), "");
  CHECK_EQ(after([](Guest& guest) { CHECK(guest.call("fd_renumber", {0, 2}) == Errno::Success); }), "");
  CHECK_EQ(after([](Guest& guest) { guest.instance.reset(); }), "");
  CHECK_EQ(after([](Guest& guest) { guest.instance.close(); }), "");
  CHECK_EQ(after([](Guest& guest) {
             HostCall rights{{}, guest.memory, guest.waiter};
             rights.slots[0].u64 = 0;
             rights.slots[1].u64 = kRightPollFdReadwrite;
             CHECK(guest.instance.bind(kPreview1, "fd_fdstat_set_rights")(rights) == HostCallAction::Continue);
             CHECK_EQ(rights.slots[0].u32, 0u);
           }),
           "");
  // A read that failed.
  Guest guest(with_stdin(long_text(5000)));
  Ahead input(guest.instance);
  CHECK(guest.read(65'500, 100) == Errno::Fault);
  CHECK_EQ(input.give(), "");
}

void test_forged_counts() {
  std::string text = long_text(300'000);
  for (uint32_t taken : {4001u, 65'536u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    Guest guest(with_stdin(text));
    Ahead ahead(guest.instance);
    CHECK(guest.read(64, 100) == Errno::Success);
    CHECK_EQ(ahead.give().size(), 4000u);
    ahead.take(taken);
    // No further than to the end of what was given.
    CHECK(guest.read(64, 100) == Errno::Success);
    CHECK_EQ(guest.text(64, 100), text.substr(4100, 100));
    // Nor at all, if nothing was.
    ahead.box.taken = taken;
    CHECK(!ahead.input.has_given() || ahead.box.bytes > 0);
  }
  // The guest's words about whose bytes they are, and how many, are not asked.
  Guest guest(with_stdin(text));
  Ahead ahead(guest.instance);
  CHECK(guest.read(64, 100) == Errno::Success);
  ahead.give();
  ahead.box.fd = 7;
  ahead.box.bytes = 0xffffffff;
  ahead.box.at_end = 0xffffffff;
  ahead.box.taken = 50;
  ahead.input.take_back(ahead.box, ahead.bytes.data());
  CHECK(guest.read(64, 100) == Errno::Success);
  CHECK_EQ(guest.text(64, 100), text.substr(150, 100));
  // After a reset, what was given before is not the new life's.
  ahead.give();
  ahead.input.forget();
  guest.instance.reset();
  CHECK(!ahead.input.has_given());
  CHECK(guest.read(64, 100) == Errno::Success);
  CHECK_EQ(guest.text(64, 100), text.substr(0, 100));
}

// How the last program read does not show in what the next one gets.
void test_reset() {
  std::string text = long_text(100'000);
  for (uint32_t taken : {0u, 4000u}) {
    Guest guest(with_stdin(text));
    Ahead ahead(guest.instance);
    CHECK(guest.read(64, 100) == Errno::Success);
    ahead.give();
    ahead.take(taken);
    guest.instance.reset();
    CHECK(guest.read(64, 100) == Errno::Success);
    CHECK_EQ(ahead.give(), text.substr(100, 4000));
  }
}

// That it was read counts as the program's having done something.
void test_use() {
  Guest guest(with_stdin(long_text(5000)));
  Ahead ahead(guest.instance);
  CHECK(guest.read(64, 100) == Errno::Success);
  ahead.give();
  guest.instance.reset();
  CHECK(!guest.instance.was_used());
  ahead.take(10);
  CHECK(guest.instance.was_used());
}

}  // namespace

void run_read_ahead_tests() {
  test_what_is_given();
  test_who_is_given_nothing();
  test_forged_counts();
  test_reset();
  test_use();
}

}  // namespace wasi_test
