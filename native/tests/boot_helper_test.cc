// Tests of the thread that does a part of each boot (boot_helper.h): each part is done once, whoever comes to it first.
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../boot_helper.h"
#include "wasi_support.h"

namespace wasi_test {
namespace {

using barecell::BootHelper;

void pause_us(unsigned us) {
  auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
  while (std::chrono::steady_clock::now() < end) __builtin_ia32_pause();
}

// This thread runs on one processor only, as long as this lives.
class On {
 public:
  explicit On(int processor) {
    sched_getaffinity(0, sizeof all_, &all_);
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(processor, &only);
    is_there_ = CPU_ISSET(processor, &all_) && sched_setaffinity(0, sizeof only, &only) == 0;
  }
  ~On() { anywhere(); }
  bool is_there() const noexcept { return is_there_; }
  // The calling thread.
  void anywhere() const noexcept { sched_setaffinity(0, sizeof all_, &all_); }

 private:
  cpu_set_t all_{};
  bool is_there_ = false;
};

// With all lengths of either side, so that the work is withdrawn, waited for and found done. Returns how often the helper did it.
int test_once(BootHelper& helper) {
  int by_helper = 0;
  for (int round = 0; round < 4000; round++) {
    std::atomic<int> runs{0};
    std::thread::id where;
    BootHelper::Part part(helper, [&](bool) {
      where = std::this_thread::get_id();
      pause_us(static_cast<unsigned>(round / 7 % 40));
      runs++;
    });
    pause_us(static_cast<unsigned>(round % 130));
    part.finish();
    CHECK_EQ(runs.load(), 1);
    by_helper += where != std::this_thread::get_id();
  }
  return by_helper;
}

void test_processors() {
  for (int processor : {0, 1}) {
    On only(processor);
    if (only.is_there()) CHECK_EQ(BootHelper::is_on_first_processor(), processor == 0);
  }
  BootHelper helper;
  { BootHelper::Part first_boot(helper, [](bool) {}); }
  if (std::thread::hardware_concurrency() < 2) return;
  CHECK(test_once(helper) > 0);
  for (int processor : {0, 1}) {
    // What may run on one processor only has no help from another, nor from the same one.
    On here(processor);
    if (!here.is_there()) continue;
    BootHelper none;
    CHECK_EQ(test_once(none), 0);
    // It is kept off where the boot was last, and goes where it may be again.
    here.anywhere();
    CHECK(test_once(none) > 0);
  }
}

// Who does it knows whose time it takes.
void test_beside() {
  BootHelper helper;
  for (int round = 0; round < 400; round++) {
    bool told = false;
    std::thread::id where;
    BootHelper::Part part(helper, [&](bool is_beside) {
      told = is_beside;
      where = std::this_thread::get_id();
    });
    pause_us(static_cast<unsigned>(round % 130));
    part.finish();
    CHECK_EQ(told, where != std::this_thread::get_id());
  }
}

void test_errors() {
  BootHelper helper;
  for (int round = 0; round < 400; round++) {
    BootHelper::Part part(helper, [](bool) { throw std::runtime_error("no slot"); });
    if (round % 2 == 0) pause_us(100);
    std::string found;
    try {
      part.finish();
    } catch (const std::runtime_error& error) {
      found = error.what();
    }
    CHECK_EQ(found, std::string("no slot"));
  }
}

// What it uses is gone right after it: the sanitizer sees who still touches it.
void test_given_up() {
  BootHelper helper;
  for (int round = 0; round < 2000; round++) {
    auto memory = std::make_unique<std::vector<int>>(100, round);
    int before = 0, after = 0;
    {
      BootHelper::Part part(helper, [&](bool) {
        before++;
        pause_us(20);
        for (int& value : *memory) value++;
        after++;
      });
      pause_us(static_cast<unsigned>(round % 60));
    }
    // Done as a whole, or not at all.
    CHECK_EQ(before, after);
    CHECK(after <= 1);
    CHECK_EQ((*memory)[99], round + after);
  }
}

void test_several_at_once() {
  BootHelper helper;
  std::atomic<int> runs{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 1000; round++) {
        BootHelper::Part part(helper, [&](bool) { runs++; });
        pause_us(static_cast<unsigned>((round + i) % 20));
        part.finish();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(runs.load(), 4000);
}

}  // namespace

void run_boot_helper_tests() {
  test_processors();
  test_beside();
  test_errors();
  test_given_up();
  test_several_at_once();
  BootHelper unused;
}

}  // namespace wasi_test
