// clock_* and random_get.
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "context.h"
#include "host_io.h"

namespace barecell::wasi {
namespace {

// So much is made between two looks at whether to stop: well below a millisecond of work.
constexpr size_t kRandomChunk = 64 << 10;

// A fixed clock moves by this each time it is read.
constexpr uint64_t kFixedStep = 1000;

// The CPU-time clocks: wasmtime has none (EBADF), uvwasi gives those of the host process, the specification wants EINVAL where
// there is none. Older wasi-libc implements clock() by them, so programs of that time measure nothing without them. "The current
// process" is the guest, which is one thread, so both are the CPU time of the thread that runs its vCPU, time inside the VM
// included. Never the host process: that would show one tenant what others do.
int host_clock(ClockId id) {
  switch (id) {
    case ClockId::Realtime:
      return CLOCK_REALTIME;
    case ClockId::Monotonic:
      return CLOCK_MONOTONIC;
    case ClockId::ProcessCputime:
    case ClockId::ThreadCputime:
      break;
  }
  return CLOCK_THREAD_CPUTIME_ID;
}

uint64_t nanoseconds_of(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace

uint64_t host_clock_ns(int clock) noexcept {
  timespec time{};
  clock_gettime(clock, &time);
  return nanoseconds_of(time);
}

Clocks::Clocks(bool fixed, uint64_t fixed_start_ns, uint64_t elapsed_ns) noexcept
    : fixed_(fixed),
      fixed_start_ns_(fixed_start_ns),
      elapsed_ns_(elapsed_ns),
      fixed_ns_(elapsed_ns),
      monotonic_start_(fixed ? 0 : monotonic() - elapsed_ns) {}

uint64_t Clocks::realtime() const noexcept { return fixed_ ? fixed_start_ns_ + fixed_ns_ : host_clock_ns(CLOCK_REALTIME); }
uint64_t Clocks::monotonic() const noexcept { return fixed_ ? fixed_ns_ : host_clock_ns(CLOCK_MONOTONIC); }
void Clocks::skip(uint64_t nanoseconds) noexcept { fixed_ns_ += nanoseconds; }

void Clocks::restart() noexcept {
  fixed_ns_ = elapsed_ns_;
  monotonic_start_ = fixed_ ? 0 : monotonic() - ready_ns_;
  cpu_thread_ = 0;
  cpu_offset_ = cpu_last_ = 0;
}

// The monotonic clock is counted from the program's start, because the time since the host's boot is nothing that a tenant was
// granted.
Errno Clocks::now(uint32_t id, uint64_t* nanoseconds) noexcept {
  if (id >= kClockIds) return Errno::Inval;
  // A program that waits for time to pass by looking at the clock must come to its end.
  if (fixed_) fixed_ns_ += kFixedStep;
  switch (static_cast<ClockId>(id)) {
    case ClockId::Realtime:
      *nanoseconds = realtime();
      break;
    case ClockId::Monotonic:
      *nanoseconds = monotonic() - monotonic_start_;
      break;
    case ClockId::ProcessCputime:
    case ClockId::ThreadCputime:
      *nanoseconds = fixed_ ? fixed_ns_ : cpu_time();
      break;
  }
  return Errno::Success;
}

uint64_t Clocks::resolution(ClockId id) const noexcept {
  timespec resolution{};
  clock_getres(host_clock(id), &resolution);
  return fixed_ ? kFixedStep : std::max<uint64_t>(1, nanoseconds_of(resolution));
}

// A program may be called on one thread now and on another later. The clock goes on from where it was: it may miss time, but
// never jumps, neither back nor by what the new thread did before. The second condition is for a new thread with the number of an
// old one.
uint64_t Clocks::cpu_time() noexcept {
  uint64_t thread_time = host_clock_ns(CLOCK_THREAD_CPUTIME_ID);
  pid_t thread = static_cast<pid_t>(syscall(SYS_gettid));
  if (thread != cpu_thread_ || thread_time < cpu_last_ - cpu_offset_) {
    cpu_thread_ = thread;
    cpu_offset_ = cpu_last_ - thread_time;  // modulo 2^64, and so is the sum below
  }
  cpu_last_ = thread_time + cpu_offset_;
  return cpu_last_;
}

// "Implementations are required to provide a non-zero value for supported clocks. For unsupported clocks, return errno::inval."
HostCallAction clock_res_get(Context& context, HostCall& call, Dialect) {
  uint32_t id = call.u32(0), result_at = call.u32(1);
  if (id >= kClockIds) return answer(call, Errno::Inval);
  return answer_written(call, call.memory.write_value(result_at, context.clocks.resolution(static_cast<ClockId>(id))));
}

// The argument between is the lag that the guest tolerates: there is none.
HostCallAction clock_time_get(Context& context, HostCall& call, Dialect) {
  uint32_t id = call.u32(0), result_at = call.u32(2);
  uint64_t now = 0;
  if (Errno error = context.clocks.now(id, &now); error != Errno::Success) return answer(call, error);
  return answer_written(call, call.memory.write_value(result_at, now));
}

uint64_t FixedRandom::next() noexcept {
  uint64_t value = state_ += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

namespace {

HostCallAction fixed_random_get(FixedRandom& random, HostCall& call, uint64_t at, uint64_t left) {
  uint64_t block[512];
  while (left > 0) {
    size_t bytes = std::min<uint64_t>(left, sizeof block);
    for (size_t i = 0; i * sizeof block[0] < bytes; i++) block[i] = random.next();
    if (!call.memory.write(at, block, bytes)) return answer(call, Errno::Fault);
    at += bytes;
    left -= bytes;
    if (left > 0 && stop_requested(call)) return HostCallAction::Interrupted;
  }
  return answer(call, Errno::Success);
}

}  // namespace

HostCallAction random_get(Context& context, HostCall& call, Dialect) {
  uint64_t at = call.u32(0), left = call.u32(1);
  if (!in_bounds(call.memory, at, left)) return answer(call, Errno::Fault);
  if (context.random) return fixed_random_get(*context.random, call, at, left);
  while (left > 0) {
    // No flag would mean to sleep in the kernel until the generator is seeded, at the host's boot.
    ssize_t made = getrandom(call.memory.range_for_kernel(at, left), std::min<uint64_t>(left, kRandomChunk), GRND_NONBLOCK);
    if (made < 0 && errno != EINTR && errno != EAGAIN) return answer(call, errno_of_host(errno));
    if (made < 0 && errno == EAGAIN && call.waiter.wait(-1, 0, 1'000'000) < 0) return HostCallAction::Interrupted;
    if (made > 0) {
      at += static_cast<uint64_t>(made);
      left -= static_cast<uint64_t>(made);
    }
    if (left > 0 && stop_requested(call)) return HostCallAction::Interrupted;
  }
  return answer(call, Errno::Success);
}

}  // namespace barecell::wasi
