// What the functions of one program share, and the functions themselves. Internal to this directory.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "../host_call.h"
#include "streams.h"
#include "types.h"

namespace barecell::wasi {

// Strings as args_get and environ_get hand them over.
struct StringList {
  explicit StringList(std::vector<std::string> strings, const char* what);

  std::vector<std::string> strings;
  uint32_t total_bytes = 0;  // with the NUL that ends each
};

class Clocks {
 public:
  Clocks() noexcept;

  // Errno::Inval for a clock that there is not.
  Errno now(uint32_t id, uint64_t* nanoseconds) noexcept;
  // Of CLOCK_MONOTONIC when the program's own monotonic clock was zero.
  uint64_t monotonic_start() const noexcept { return monotonic_start_; }

 private:
  uint64_t cpu_time() noexcept;

  uint64_t monotonic_start_;
  pid_t cpu_thread_ = 0;
  uint64_t cpu_offset_ = 0;
  uint64_t cpu_last_ = 0;
};

uint64_t host_clock_ns(int clock) noexcept;

struct Context {
  StringList args;
  StringList env;
  Clocks clocks;
  OutputBudget budget;
  std::array<Stream, 3> streams;

  // Null: no such descriptor, or closed (EBADF).
  Stream* stream(uint32_t fd) noexcept { return fd < streams.size() && streams[fd].is_open() ? &streams[fd] : nullptr; }
};

using Handler = HostCallAction (*)(Context&, HostCall&, Dialect);

inline HostCallAction answer(HostCall& call, Errno error) noexcept { return call.result(static_cast<uint32_t>(error)); }

// For functions whose last act is to write their result.
inline HostCallAction answer_written(HostCall& call, bool written) noexcept {
  return answer(call, written ? Errno::Success : Errno::Fault);
}

// A bounds check without an access, to be made before anything happens that cannot be taken back. The rule for an empty range is
// that of memory.copy: it may lie at the end of memory, but not beyond.
inline bool in_bounds(LinearMemory& memory, uint64_t offset, uint64_t count) noexcept {
  return memory.range_for_kernel(offset, count) != nullptr;
}

// For work of a length that the guest chooses and that does not wait: whether the call must end.
inline bool stop_requested(HostCall& call) noexcept { return call.waiter.wait(-1, 0, 0) < 0; }

// args_env.cc
HostCallAction args_get(Context&, HostCall&, Dialect);
HostCallAction args_sizes_get(Context&, HostCall&, Dialect);
HostCallAction environ_get(Context&, HostCall&, Dialect);
HostCallAction environ_sizes_get(Context&, HostCall&, Dialect);
HostCallAction proc_exit(Context&, HostCall&, Dialect);
HostCallAction sched_yield(Context&, HostCall&, Dialect);
// clock_random.cc
HostCallAction clock_res_get(Context&, HostCall&, Dialect);
HostCallAction clock_time_get(Context&, HostCall&, Dialect);
HostCallAction random_get(Context&, HostCall&, Dialect);
// descriptors.cc
HostCallAction fd_close(Context&, HostCall&, Dialect);
HostCallAction fd_fdstat_get(Context&, HostCall&, Dialect);
HostCallAction fd_fdstat_set_flags(Context&, HostCall&, Dialect);
HostCallAction fd_filestat_get(Context&, HostCall&, Dialect);
HostCallAction fd_prestat_dir_name(Context&, HostCall&, Dialect);
HostCallAction fd_prestat_get(Context&, HostCall&, Dialect);
HostCallAction fd_read(Context&, HostCall&, Dialect);
HostCallAction fd_seek(Context&, HostCall&, Dialect);
HostCallAction fd_tell(Context&, HostCall&, Dialect);
HostCallAction fd_write(Context&, HostCall&, Dialect);
// poll.cc
HostCallAction poll_oneoff(Context&, HostCall&, Dialect);

}  // namespace barecell::wasi
