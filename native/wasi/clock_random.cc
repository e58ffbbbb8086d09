// clock_* and random_get.
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "context.h"

namespace barecell::wasi {
namespace {

// So much is made between two looks at whether to stop: well below a millisecond of work.
constexpr size_t kRandomChunk = 64 << 10;

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

// Counted from the program's start, because the time since the host's boot is nothing that a tenant was granted.
Clocks::Clocks() noexcept : monotonic_start_(host_clock_ns(CLOCK_MONOTONIC)) {}

Errno Clocks::now(uint32_t id, uint64_t* nanoseconds) noexcept {
  if (id >= kClockIds) return Errno::Inval;
  switch (static_cast<ClockId>(id)) {
    case ClockId::Realtime:
      *nanoseconds = host_clock_ns(CLOCK_REALTIME);
      break;
    case ClockId::Monotonic:
      *nanoseconds = host_clock_ns(CLOCK_MONOTONIC) - monotonic_start_;
      break;
    case ClockId::ProcessCputime:
    case ClockId::ThreadCputime:
      *nanoseconds = cpu_time();
      break;
  }
  return Errno::Success;
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
HostCallAction clock_res_get(Context&, HostCall& call, Dialect) {
  uint32_t id = call.u32(0), result_at = call.u32(1);
  if (id >= kClockIds) return answer(call, Errno::Inval);
  timespec resolution{};
  clock_getres(host_clock(static_cast<ClockId>(id)), &resolution);
  return answer_written(call, call.memory.write_value(result_at, std::max<uint64_t>(1, nanoseconds_of(resolution))));
}

// The argument between is the lag that the guest tolerates: there is none.
HostCallAction clock_time_get(Context& context, HostCall& call, Dialect) {
  uint32_t id = call.u32(0), result_at = call.u32(2);
  uint64_t now = 0;
  if (Errno error = context.clocks.now(id, &now); error != Errno::Success) return answer(call, error);
  return answer_written(call, call.memory.write_value(result_at, now));
}

HostCallAction random_get(Context&, HostCall& call, Dialect) {
  uint64_t at = call.u32(0), left = call.u32(1);
  if (!in_bounds(call.memory, at, left)) return answer(call, Errno::Fault);
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
