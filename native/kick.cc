#include "kick.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <memory>

#include "failure.h"

namespace barecell {
namespace {

// The vCPU that this thread is running. Volatile: the handler reads it behind the compiler's back.
thread_local kvm_run* volatile current_run = nullptr;

void on_kick(int) {
  kvm_run* run = current_run;
  if (run != nullptr) run->immediate_exit = 1;
}

void install_handler() {
  struct sigaction action{};
  action.sa_handler = on_kick;
  sigemptyset(&action.sa_mask);
  // Other system calls of the thread (libuv's, when the main thread runs a VM) should not notice.
  action.sa_flags = SA_RESTART;
  if (sigaction(kick_signal(), &action, nullptr) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot install the handler of the kick signal");
}

// A timer that signals the thread that made it (timer_create(2), SIGEV_THREAD_ID). One per thread, made at its first run.
class ThreadTimer {
 public:
  ThreadTimer() {
    struct sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kick_signal();
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot create a timer for the deadline");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }
  ~ThreadTimer() { timer_delete(timer_); }
  ThreadTimer(const ThreadTimer&) = delete;
  ThreadTimer& operator=(const ThreadTimer&) = delete;

  void arm(int64_t deadline_ns) noexcept {
    itimerspec spec{};
    spec.it_value.tv_sec = deadline_ns / 1'000'000'000;
    spec.it_value.tv_nsec = deadline_ns % 1'000'000'000;
    // Repeats, so that even a signal lost to something unforeseen only costs a moment.
    spec.it_interval.tv_nsec = 2'000'000;
    timer_settime(timer_, TIMER_ABSTIME, &spec, nullptr);
  }
  void disarm() noexcept {
    itimerspec spec{};
    timer_settime(timer_, 0, &spec, nullptr);
  }

 private:
  timer_t timer_{};
};

ThreadTimer& thread_timer() {
  thread_local ThreadTimer timer;
  return timer;
}

}  // namespace

int64_t monotonic_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// Away from the first ones, which other libraries take by habit.
int kick_signal() noexcept { return SIGRTMIN + 11; }

void StopControl::begin(kvm_run* run, int64_t deadline_ns) {
  static std::once_flag once;
  std::call_once(once, install_handler);
  ThreadTimer& timer = thread_timer();
  deadline_ns_ = deadline_ns;
  {
    std::lock_guard lock(mutex_);
    running_ = true;
    runner_ = pthread_self();
    run_ = run;
  }
  current_run = run;
  if (deadline_ns != 0) timer.arm(deadline_ns);
}

void StopControl::end() noexcept {
  if (deadline_ns_ != 0) thread_timer().disarm();
  current_run = nullptr;
  std::lock_guard lock(mutex_);
  running_ = false;
  generation_.fetch_add(1, std::memory_order_acq_rel);
}

StopReason StopControl::before_entry() noexcept {
  // This order: a kick that comes after the flag is cleared sets it again, and one that came before has its reason visible to check().
  run_->immediate_exit = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return check();
}

StopReason StopControl::check() const noexcept {
  if (cancelled_forever_.load(std::memory_order_acquire) ||
      cancelled_generation_.load(std::memory_order_acquire) == generation_.load(std::memory_order_acquire)) {
    return StopReason::Cancelled;
  }
  if (deadline_ns_ != 0 && monotonic_ns() >= deadline_ns_) return StopReason::Deadline;
  return StopReason::None;
}

void StopControl::cancel(uint64_t generation) noexcept {
  std::lock_guard lock(mutex_);
  if (generation == 0) {
    cancelled_forever_.store(true, std::memory_order_release);
  } else {
    if (generation != generation_.load(std::memory_order_acquire)) return;
    cancelled_generation_.store(generation, std::memory_order_release);
  }
  if (running_) pthread_kill(runner_, kick_signal());
}

}  // namespace barecell
