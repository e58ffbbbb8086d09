#include "kick.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "failure.h"

namespace barecell {
namespace {

int64_t clock_ns(clockid_t clock) noexcept {
  timespec now{};
  clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

int64_t thread_cpu_ns() noexcept { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

// A timer that signals the thread that made it (timer_create(2), SIGEV_THREAD_ID), again and again from its time on: so even a signal lost to something
// unforeseen only costs a moment.
class ThreadTimer {
 public:
  // `mark` comes with the signal.
  ThreadTimer(clockid_t clock, void* mark) {
    struct sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kick_signal();
    event.sigev_value.sival_ptr = mark;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    if (timer_create(clock, &event, &timer_) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot create a timer for the deadline");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }
  ~ThreadTimer() { timer_delete(timer_); }
  ThreadTimer(const ThreadTimer&) = delete;
  ThreadTimer& operator=(const ThreadTimer&) = delete;

  // 0 disarms. Safe in a signal handler.
  void set(int64_t deadline_ns) noexcept {
    itimerspec spec{};
    if (deadline_ns != 0) {
      spec.it_value.tv_sec = deadline_ns / 1'000'000'000;
      spec.it_value.tv_nsec = deadline_ns % 1'000'000'000;
      spec.it_interval.tv_nsec = 2'000'000;
    }
    timer_settime(timer_, TIMER_ABSTIME, &spec, nullptr);
  }

 private:
  timer_t timer_{};
};

// Processor time is limited in few runs, so each sets its timer and stops it.
ThreadTimer& cpu_timer() {
  thread_local ThreadTimer timer(CLOCK_THREAD_CPUTIME_ID, nullptr);
  return timer;
}

// Wall-clock time is limited in nearly every run, most runs are over in microseconds, and two system calls for each would be a tenth of a warm one. So the
// timer stays as it is set when a run ends, and when the next one's time comes later. A signal that comes too early finds what is wanted by then, and sets the
// timer to that: one signal in as long as a limit is. The thread may be JavaScript's own, which takes no notice (SA_RESTART, and libuv where that does not
// help).
class WallTimer {
 public:
  WallTimer() : timer_(CLOCK_MONOTONIC, this) { of_this_thread = this; }
  ~WallTimer() { of_this_thread = nullptr; }
  WallTimer(const WallTimer&) = delete;
  WallTimer& operator=(const WallTimer&) = delete;

  // 0: no signal is wanted. First what is wanted, then the timer: the handler may come between any two steps, and goes by the former.
  void want(int64_t deadline_ns) noexcept {
    wanted_ns_.store(deadline_ns, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    int64_t set_ns = set_ns_.load(std::memory_order_relaxed);
    if (deadline_ns == 0 || (set_ns != 0 && set_ns <= deadline_ns)) return;
    set(deadline_ns);
  }

  // In the signal handler. Whether its time has come; if it has not, the timer is set to what is wanted.
  bool is_due() noexcept {
    int64_t wanted_ns = wanted_ns_.load(std::memory_order_relaxed);
    if (wanted_ns != 0 && clock_ns(CLOCK_MONOTONIC) >= wanted_ns) return true;
    set(wanted_ns);
    return false;
  }

  // For the handler: a signal of a timer that is gone may still be on its way when its thread ends.
  static thread_local WallTimer* volatile of_this_thread;

 private:
  void set(int64_t deadline_ns) noexcept {
    timer_.set(deadline_ns);
    set_ns_.store(deadline_ns, std::memory_order_relaxed);
  }

  ThreadTimer timer_;
  std::atomic<int64_t> wanted_ns_{0};
  std::atomic<int64_t> set_ns_{0};
  static_assert(std::atomic<int64_t>::is_always_lock_free);
};

thread_local WallTimer* volatile WallTimer::of_this_thread = nullptr;

WallTimer& wall_timer() {
  thread_local WallTimer timer;
  return timer;
}

// The vCPU that this thread is running. Volatile: the handler reads it behind the compiler's back.
thread_local kvm_run* volatile current_run = nullptr;

void on_kick(int, siginfo_t* info, void*) {
  int error = errno;
  WallTimer* timer = WallTimer::of_this_thread;
  bool is_early = info->si_code == SI_TIMER && timer != nullptr && info->si_value.sival_ptr == timer && !timer->is_due();
  errno = error;
  kvm_run* run = current_run;
  if (!is_early && run != nullptr) run->immediate_exit = 1;
}

void install_handler() {
  struct sigaction action{};
  action.sa_sigaction = on_kick;
  sigemptyset(&action.sa_mask);
  // Other system calls of the thread (libuv's, when the main thread runs a VM) should not notice.
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  if (sigaction(kick_signal(), &action, nullptr) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot install the handler of the kick signal");
}

// The nearer of two points in time, 0 being never.
int64_t nearer(int64_t one, int64_t other) noexcept {
  if (one == 0) return other;
  return other == 0 ? one : std::min(one, other);
}

}  // namespace

int64_t monotonic_ns() noexcept { return clock_ns(CLOCK_MONOTONIC); }

// Away from the first ones, which other libraries take by habit.
int kick_signal() noexcept { return SIGRTMIN + 11; }

void StopControl::publish(kvm_run* run) {
  static std::once_flag once;
  std::call_once(once, install_handler);
  // Before anything is published: making a timer can fail.
  wall_timer();
  if (limits_.cpu_ns != 0) cpu_timer();
  std::lock_guard lock(mutex_);
  running_ = true;
  runner_ = pthread_self();
  run_ = run;
}

void StopControl::begin(kvm_run* run, const TimeLimits& limits) {
  limits_ = limits;
  inner_deadline_ns_ = 0;
  publish(run);
  resume();
}

void StopControl::end() noexcept {
  pause(false);
  wall_timer().want(0);
  current_run = nullptr;
  std::lock_guard lock(mutex_);
  running_ = false;
  generation_.fetch_add(1, std::memory_order_acq_rel);
}

StopControl::Outer StopControl::begin_inner(kvm_run* run, int64_t deadline_ns) {
  Outer outer{running_, runner_, current_run, inner_deadline_ns_};
  publish(run);
  inner_deadline_ns_ = nearer(inner_deadline_ns_, deadline_ns);
  resume();
  return outer;
}

void StopControl::end_inner(const Outer& outer) noexcept {
  // The outer run's thread is this one, in JavaScript, or another one, whose own timer wakes it.
  pause(false);
  wall_timer().want(0);
  current_run = outer.run_of_thread;
  inner_deadline_ns_ = outer.inner_deadline_ns;
  std::lock_guard lock(mutex_);
  running_ = outer.running;
  runner_ = outer.runner;
  // A cancel meanwhile has kicked this thread only (W7).
  if (running_ && is_cancelled() && pthread_equal(runner_, pthread_self()) == 0) pthread_kill(runner_, kick_signal());
}

void StopControl::pause(bool waits) noexcept {
  // What is left is never 0, which would be no limit.
  if (guest_deadline_ns_ != 0) limits_.guest_ns = std::max<int64_t>(1, guest_deadline_ns_ - monotonic_ns());
  if (cpu_deadline_ns_ != 0) limits_.cpu_ns = std::max<int64_t>(1, cpu_deadline_ns_ - thread_cpu_ns());
  const bool counts_guest_time = guest_deadline_ns_ != 0;
  guest_deadline_ns_ = cpu_deadline_ns_ = 0;
  // JavaScript on this thread is not stopped by signals, so one more does no harm.
  if (waits || counts_guest_time) wall_timer().want(waits ? deadline_ns() : 0);
  if (limits_.cpu_ns != 0) cpu_timer().set(0);
}

void StopControl::resume() noexcept {
  if (limits_.guest_ns != 0) guest_deadline_ns_ = monotonic_ns() + limits_.guest_ns;
  if (limits_.cpu_ns != 0) cpu_deadline_ns_ = thread_cpu_ns() + limits_.cpu_ns;
  // JavaScript may have run another VM on this thread meanwhile.
  current_run = run_;
  wall_timer().want(deadline_ns());
  if (limits_.cpu_ns != 0) cpu_timer().set(cpu_deadline_ns_);
}

int64_t StopControl::deadline_ns() const noexcept {
  return nearer(nearer(limits_.total_deadline_ns, inner_deadline_ns_), guest_deadline_ns_);
}

StopReason StopControl::before_entry() noexcept {
  // This order: a kick that comes after the flag is cleared sets it again, and one that came before has its reason visible to check().
  run_->immediate_exit = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return check();
}

bool StopControl::is_cancelled() const noexcept {
  return cancelled_forever_.load(std::memory_order_acquire) ||
         cancelled_generation_.load(std::memory_order_acquire) == generation_.load(std::memory_order_acquire);
}

StopReason StopControl::check() const noexcept {
  if (is_cancelled()) return StopReason::Cancelled;
  int64_t wall = deadline_ns();
  if (wall != 0 && monotonic_ns() >= wall) return wall == guest_deadline_ns_ ? StopReason::GuestTime : StopReason::TotalTime;
  if (cpu_deadline_ns_ != 0 && thread_cpu_ns() >= cpu_deadline_ns_) return StopReason::CpuTime;
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
