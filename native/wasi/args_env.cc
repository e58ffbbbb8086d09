// args_*, environ_*, proc_* and sched_yield: what a program is given at its start, and its end.
#include <sched.h>

#include <csignal>
#include <iterator>
#include <limits>
#include <utility>

#include "../failure.h"
#include "context.h"

namespace barecell::wasi {

StringList::StringList(std::vector<std::string> list, const char* what) : strings(std::move(list)) {
  // The interface counts in u32 and ends strings with NUL. What does not fit is the caller's mistake, found before a VM is
  // started for it.
  uint64_t total = 0;
  for (const std::string& string : strings) {
    if (string.find('\0') != std::string::npos) {
      throw Failure("BARECELL_ARGUMENT_INVALID", std::string("an ") + what + " contains a NUL byte");
    }
    total += string.size() + 1;
  }
  constexpr uint64_t limit = std::numeric_limits<uint32_t>::max();
  if (total > limit || strings.size() > limit / sizeof(uint32_t)) {
    throw Failure("BARECELL_ARGUMENT_INVALID", std::string("the list of ") + what + "s is longer than 4 GiB");
  }
  total_bytes = static_cast<uint32_t>(total);
}

namespace {

HostCallAction sizes_get(const StringList& list, HostCall& call) {
  uint32_t count_at = call.u32(0), bytes_at = call.u32(1);
  LinearMemory& memory = call.memory;
  if (!in_bounds(memory, bytes_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  auto count = static_cast<uint32_t>(list.strings.size());
  return answer_written(call, memory.write_value(count_at, count) && memory.write_value(bytes_at, list.total_bytes));
}

HostCallAction strings_get(const StringList& list, HostCall& call) {
  uint64_t pointer_at = call.u32(0), bytes_at = call.u32(1);
  LinearMemory& memory = call.memory;
  if (!in_bounds(memory, pointer_at, list.strings.size() * sizeof(uint32_t)) || !in_bounds(memory, bytes_at, list.total_bytes)) {
    return answer(call, Errno::Fault);
  }
  for (const std::string& string : list.strings) {
    size_t bytes = string.size() + 1;
    if (!memory.write_value(pointer_at, static_cast<uint32_t>(bytes_at)) || !memory.write(bytes_at, string.c_str(), bytes)) {
      return answer(call, Errno::Fault);
    }
    pointer_at += sizeof(uint32_t);
    bytes_at += bytes;
  }
  return answer(call, Errno::Success);
}

}  // namespace

HostCallAction args_get(Context& context, HostCall& call, Dialect) { return strings_get(context.args, call); }
HostCallAction args_sizes_get(Context& context, HostCall& call, Dialect) { return sizes_get(context.args, call); }
HostCallAction environ_get(Context& context, HostCall& call, Dialect) { return strings_get(context.env, call); }
HostCallAction environ_sizes_get(Context& context, HostCall& call, Dialect) { return sizes_get(context.env, call); }

// $exitcode is a u32, all of it; what a process can tell its parent (8 bits) is not this layer's business.
HostCallAction proc_exit(Context&, HostCall& call, Dialect) {
  call.exit_code = call.u32(0);
  return HostCallAction::Exit;
}

// A guest has no handlers, so a signal does what it does by default: nothing, or it ends the program, with the status that shells
// have for that (128 and the host's number of the signal). There is nobody who could continue a program that was stopped.
HostCallAction proc_raise(Context&, HostCall& call, Dialect) {
  // In the order of the specification; 0 is for those that are ignored.
  static constexpr int kHostSignals[] = {
      0,       SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,  SIGFPE,    SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, 0 /* pipe */, SIGALRM, SIGTERM,
      0 /* chld */, 0 /* cont */, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, 0 /* urg */, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, 0 /* winch */, SIGPOLL, SIGPWR, SIGSYS,
  };
  static_assert(std::size(kHostSignals) == kSignalValues);
  uint32_t signal = call.u32(0);
  if (signal >= kSignalValues) return answer(call, Errno::Inval);
  int host = kHostSignals[signal];
  if (host == 0) return answer(call, Errno::Success);
  if (host == SIGSTOP || host == SIGTSTP || host == SIGTTIN || host == SIGTTOU) return answer(call, Errno::Notsup);
  call.exit_code = 128 + static_cast<uint32_t>(host);
  return HostCallAction::Exit;
}

HostCallAction sched_yield(Context&, HostCall& call, Dialect) {
  ::sched_yield();
  return answer(call, Errno::Success);
}

}  // namespace barecell::wasi
