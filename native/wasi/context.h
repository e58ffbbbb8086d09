// What the functions of one program share, and the functions themselves. Internal to this directory.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../host_call.h"
#include "descriptor_table.h"
#include "limits.h"
#include "streams.h"
#include "types.h"

namespace barecell::wasi {

// Strings as args_get and environ_get hand them over.
struct StringList {
  explicit StringList(std::vector<std::string> strings, const char* what);

  std::vector<std::string> strings;
  uint32_t total_bytes = 0;  // with the NUL that ends each
};

uint64_t host_clock_ns(int clock) noexcept;

class Clocks {
 public:
  // `fixed`: a clock of the program's own, the same in every run, which moves by what it does and not by what the host does.
  // `fixed_start_ns` is its real time at the start. `elapsed_ns`: what its monotonic clock begins with.
  Clocks(bool fixed, uint64_t fixed_start_ns, uint64_t elapsed_ns) noexcept;

  // Errno::Inval for a clock that there is not.
  Errno now(uint32_t id, uint64_t* nanoseconds) noexcept;
  bool is_fixed() const noexcept { return fixed_; }
  uint64_t resolution(ClockId id) const noexcept;

  // For waits and timestamps. `monotonic` counts from where monotonic_start() says.
  uint64_t realtime() const noexcept;
  uint64_t monotonic() const noexcept;
  // What monotonic() was when the program's own monotonic clock was zero.
  uint64_t monotonic_start() const noexcept { return monotonic_start_; }
  // Instead of waiting, of a fixed clock.
  void skip(uint64_t nanoseconds) noexcept;

  // The program is initialised; and, later, is back to there: its monotonic clock goes on from where it was then, because the program may remember that.
  void mark_ready() noexcept { ready_ns_ = monotonic() - monotonic_start_; }
  void restart() noexcept;

 private:
  uint64_t cpu_time() noexcept;

  bool fixed_;
  uint64_t fixed_start_ns_;
  uint64_t elapsed_ns_;
  uint64_t fixed_ns_ = 0;
  uint64_t monotonic_start_ = 0;
  uint64_t ready_ns_ = 0;
  pid_t cpu_thread_ = 0;
  uint64_t cpu_offset_ = 0;
  uint64_t cpu_last_ = 0;
};

// Random bytes that are the same in every run (SplitMix64). Nothing that is to be secret may come from them.
class FixedRandom {
 public:
  explicit FixedRandom(uint64_t seed) noexcept : state_(seed) {}
  uint64_t next() noexcept;

 private:
  uint64_t state_;
};

// How the program has read so far. It goes with a reset: how much the next program gets ahead must not tell how the last one read.
struct ReadHabit {
  struct SmallRead {
    uint32_t fd = 0;
    uint32_t wanted_bytes = 0;
  };
  // The last read, if what is behind may be given ahead.
  std::optional<SmallRead> last;
  // How much is given ahead.
  uint32_t ahead_bytes = 4096;
  // So many reads get nothing.
  uint32_t pause = 0;
};

struct Context {
  StringList args;
  StringList env;
  Clocks clocks;
  std::optional<FixedRandom> random;  // none: the host's
  OutputBudget output;
  WriteBudget storage;
  DescriptorTable descriptors;
  // Shared with the table, and kept when a guest closes them: the host asks for what was written.
  std::array<std::shared_ptr<Stream>, 3> streams;
  // What read_ahead.cc goes by.
  ReadHabit reads;
  // Whether a function has been called since the start, or the last reset.
  bool used = false;
};

// A read of at most so much may be one of many (read_ahead.cc); who reads more at once has few exits anyway.
constexpr uint64_t kSmallReadBytes = 32768;

using Handler = HostCallAction (*)(Context&, HostCall&, Dialect);

inline HostCallAction answer(HostCall& call, Errno error) noexcept { return call.result(static_cast<uint32_t>(error)); }

// For functions whose last act is to write their result.
inline HostCallAction answer_written(HostCall& call, bool written) noexcept {
  return answer(call, written ? Errno::Success : Errno::Fault);
}

// A bounds check without an access, to be made before anything happens that cannot be taken back. The rule for an empty range is
// that of memory.copy: it may lie at the end of memory, but not beyond.
inline bool in_bounds(LinearMemory& memory, uint64_t offset, uint64_t count) noexcept {
  return memory.contains(offset, count);
}

// For work of a length that the guest chooses and that does not wait: whether the call must end.
inline bool stop_requested(HostCall& call) noexcept { return call.waiter.wait(-1, 0, 0) < 0; }

// The entry of an open descriptor that has all of `rights`.
inline Errno find_entry(Context& context, uint32_t fd, Rights rights, const Entry** to) noexcept {
  *to = context.descriptors.find(fd);
  if (*to == nullptr) return Errno::Badf;
  // wasi-libc makes POSIX's EBADF of this one.
  return (*to)->has(rights) ? Errno::Success : Errno::Notcapable;
}

// The same of a directory. That it is none comes first: no right would help.
inline Errno find_directory(Context& context, uint32_t fd, Rights rights, const Entry** entry, Directory** to) noexcept {
  *entry = context.descriptors.find(fd);
  if (*entry == nullptr) return Errno::Badf;
  *to = (*entry)->object->as_directory();
  if (*to == nullptr) return Errno::Notdir;
  return (*entry)->has(rights) ? Errno::Success : Errno::Notcapable;
}

// attributes.cc, and what a program is told at its start
Fdstat fdstat_of(const Entry& entry) noexcept;

// args_env.cc
HostCallAction args_get(Context&, HostCall&, Dialect);
HostCallAction args_sizes_get(Context&, HostCall&, Dialect);
HostCallAction environ_get(Context&, HostCall&, Dialect);
HostCallAction environ_sizes_get(Context&, HostCall&, Dialect);
HostCallAction proc_exit(Context&, HostCall&, Dialect);
HostCallAction proc_raise(Context&, HostCall&, Dialect);
HostCallAction sched_yield(Context&, HostCall&, Dialect);
// clock_random.cc
HostCallAction clock_res_get(Context&, HostCall&, Dialect);
HostCallAction clock_time_get(Context&, HostCall&, Dialect);
HostCallAction random_get(Context&, HostCall&, Dialect);
// descriptors.cc
HostCallAction fd_close(Context&, HostCall&, Dialect);
HostCallAction fd_pread(Context&, HostCall&, Dialect);
HostCallAction fd_prestat_dir_name(Context&, HostCall&, Dialect);
HostCallAction fd_prestat_get(Context&, HostCall&, Dialect);
HostCallAction fd_pwrite(Context&, HostCall&, Dialect);
HostCallAction fd_read(Context&, HostCall&, Dialect);
HostCallAction fd_readdir(Context&, HostCall&, Dialect);
HostCallAction fd_renumber(Context&, HostCall&, Dialect);
HostCallAction fd_seek(Context&, HostCall&, Dialect);
HostCallAction fd_tell(Context&, HostCall&, Dialect);
HostCallAction fd_write(Context&, HostCall&, Dialect);
// attributes.cc
HostCallAction fd_advise(Context&, HostCall&, Dialect);
HostCallAction fd_allocate(Context&, HostCall&, Dialect);
HostCallAction fd_datasync(Context&, HostCall&, Dialect);
HostCallAction fd_fdstat_get(Context&, HostCall&, Dialect);
HostCallAction fd_fdstat_set_flags(Context&, HostCall&, Dialect);
HostCallAction fd_fdstat_set_rights(Context&, HostCall&, Dialect);
HostCallAction fd_filestat_get(Context&, HostCall&, Dialect);
HostCallAction fd_filestat_set_size(Context&, HostCall&, Dialect);
HostCallAction fd_filestat_set_times(Context&, HostCall&, Dialect);
HostCallAction fd_sync(Context&, HostCall&, Dialect);
HostCallAction path_filestat_get(Context&, HostCall&, Dialect);
HostCallAction path_filestat_set_times(Context&, HostCall&, Dialect);
// paths.cc
HostCallAction path_create_directory(Context&, HostCall&, Dialect);
HostCallAction path_link(Context&, HostCall&, Dialect);
HostCallAction path_open(Context&, HostCall&, Dialect);
HostCallAction path_readlink(Context&, HostCall&, Dialect);
HostCallAction path_remove_directory(Context&, HostCall&, Dialect);
HostCallAction path_rename(Context&, HostCall&, Dialect);
HostCallAction path_symlink(Context&, HostCall&, Dialect);
HostCallAction path_unlink_file(Context&, HostCall&, Dialect);
// poll.cc
HostCallAction poll_oneoff(Context&, HostCall&, Dialect);
// socket_calls.cc
HostCallAction sock_accept(Context&, HostCall&, Dialect);
HostCallAction sock_recv(Context&, HostCall&, Dialect);
HostCallAction sock_send(Context&, HostCall&, Dialect);
HostCallAction sock_shutdown(Context&, HostCall&, Dialect);

}  // namespace barecell::wasi
