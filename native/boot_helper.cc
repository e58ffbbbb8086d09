#include "boot_helper.h"

#include <pthread.h>
#include <sched.h>

#include <csignal>
#include <utility>

namespace barecell {
namespace {

constexpr int kFirstProcessor = 0;

// What is left of the helper's part when the other one is done is some ten microseconds; to be woken takes longer.
constexpr auto kWatch = std::chrono::microseconds(60);
// Some boots of another thread's.
constexpr auto kAlone = std::chrono::milliseconds(10);
constexpr unsigned kMostInVain = 4;
constexpr unsigned kLeaveOut = 64;

}  // namespace

bool BootHelper::is_on_first_processor() noexcept { return sched_getcpu() == kFirstProcessor; }

BootHelper::~BootHelper() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

BootHelper::Part::Part(BootHelper& helper, std::function<void(bool is_beside)> work) : helper_(helper), work_(std::move(work)) { helper_.offer(this); }

BootHelper::Part::~Part() {
  if (!is_over_ && !helper_.withdraw(this)) helper_.wait_for(this);
}

void BootHelper::Part::finish() {
  if (helper_.withdraw(this)) {
    run(false);
  } else {
    helper_.wait_for(this);
  }
  is_over_ = true;
  if (error_) std::rethrow_exception(error_);
}

void BootHelper::Part::run(bool is_beside) noexcept {
  try {
    work_(is_beside);
  } catch (...) {
    error_ = std::current_exception();
  }
}

// With the lock held. On one processor there is nothing to be had.
bool BootHelper::start() noexcept {
  if (thread_.joinable()) return true;
  if (cannot_start_ || std::thread::hardware_concurrency() < 2) return false;
  // Signals of the process are for Node's threads. A thread inherits the mask.
  sigset_t all, mask;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &mask);
  try {
    thread_ = std::thread(&BootHelper::work, this);
  } catch (const std::exception&) {
    // No thread, or no memory for one: it costs time, nothing else.
    cannot_start_ = true;
  }
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  return thread_.joinable();
}

// With the lock held. It may run where the booting thread may; that is looked at when that has moved, not at each boot. False: there is no other processor.
bool BootHelper::keep_off(int processor) noexcept {
  if (processor == kept_off_) return true;
  cpu_set_t others;
  // Fails where there are more processors than a set can name: so many that it does not matter.
  if (processor < 0 || sched_getaffinity(0, sizeof others, &others) != 0) return true;
  CPU_CLR(static_cast<size_t>(processor), &others);
  if (CPU_COUNT(&others) == 0) return false;
  if (pthread_setaffinity_np(thread_.native_handle(), sizeof others, &others) == 0) kept_off_ = processor;
  return true;
}

// With the lock held.
bool BootHelper::is_worthwhile() noexcept {
  auto now = std::chrono::steady_clock::now();
  bool is_first = last_thread_ == std::thread::id();
  if (std::this_thread::get_id() != last_thread_) {
    if (!is_first) alone_since_ = now;
    last_thread_ = std::this_thread::get_id();
  }
  // A process that boots once is better off without: making the thread takes as long as it saves.
  if (is_first || !start() || now - alone_since_ < kAlone) return false;
  if (left_out_ > 0) {
    left_out_--;
    return false;
  }
  return keep_off(sched_getcpu());
}

void BootHelper::offer(Part* part) noexcept {
  {
    std::lock_guard lock(mutex_);
    if (!is_worthwhile() || offered_ != nullptr || running_.load(std::memory_order_relaxed) != nullptr) return;
    offered_ = part;
  }
  wake_.notify_one();
}

bool BootHelper::withdraw(Part* part) noexcept {
  std::lock_guard lock(mutex_);
  if (part->is_taken_) {
    in_vain_ = 0;
    return false;
  }
  // Not if the helper never got it.
  if (offered_ != part) return true;
  offered_ = nullptr;
  if (++in_vain_ == kMostInVain) {
    in_vain_ = 0;
    left_out_ = kLeaveOut;
  }
  return true;
}

void BootHelper::wait_for(Part* part) noexcept {
  const auto end = std::chrono::steady_clock::now() + kWatch;
  while (running_.load(std::memory_order_acquire) == part && std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 16 && running_.load(std::memory_order_acquire) == part; i++) __builtin_ia32_pause();
  }
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return running_.load(std::memory_order_relaxed) != part; });
}

void BootHelper::work() noexcept {
  pthread_setname_np(pthread_self(), "barecell-boot");
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return offered_ != nullptr || closing_; });
    if (offered_ == nullptr) return;
    Part* part = std::exchange(offered_, nullptr);
    part->is_taken_ = true;
    running_.store(part, std::memory_order_relaxed);
    lock.unlock();
    part->run(true);
    lock.lock();
    // From here on the part may be gone.
    running_.store(nullptr, std::memory_order_release);
    done_.notify_all();
  }
}

}  // namespace barecell
