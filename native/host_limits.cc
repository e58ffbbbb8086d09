#include "host_limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

namespace barecell {
namespace {

// A failed call for a mapping leaves a few unused, since the kernel may need several for one.
constexpr long kNearlyAll = 16;

std::string spelled(rlim_t value) { return value == RLIM_INFINITY ? "unlimited" : std::to_string(value); }

rlimit limit_of(__rlimit_resource resource) {
  rlimit limit{};
  getrlimit(resource, &limit);
  return limit;
}

long number_in(const char* path) {
  std::ifstream file(path);
  long value = -1;
  file >> value;
  return value;
}

long mappings() {
  std::ifstream file("/proc/self/maps");
  return std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n');
}

std::string of_descriptors() {
  rlimit limit = limit_of(RLIMIT_NOFILE);
  return "this process has as many files open as it may, " + spelled(limit.rlim_cur) + " (RLIMIT_NOFILE; hard limit " + spelled(limit.rlim_max) +
         "), and every VM takes two; raise it (ulimit -Hn, ulimit -n; LimitNOFILE= of a systemd unit), or spread the VMs over more processes (WorkerPool)";
}

std::string of_system_files() {
  return "the whole system has as many files open as it may, " + std::to_string(number_in("/proc/sys/fs/file-max")) +
         " (fs.file-max); raise it (sysctl -w fs.file-max=...)";
}

std::string of_memory() {
  long used = mappings(), most = number_in("/proc/sys/vm/max_map_count");
  if (most > 0 && used >= most - kNearlyAll) {
    return "this process has " + std::to_string(used) + " mappings, and may have " + std::to_string(most) +
           " (vm.max_map_count); every VM takes four or more; raise it (sysctl -w vm.max_map_count=...), or spread the VMs over more processes (WorkerPool)";
  }
  rlimit space = limit_of(RLIMIT_AS);
  std::string own = space.rlim_cur == RLIM_INFINITY
                        ? ""
                        : " This process may have " + spelled(space.rlim_cur) + " bytes of address space (RLIMIT_AS, ulimit -v), which guest memory reserves.";
  return "the machine, or the control group of this process (memory.max), has no memory left: every VM takes about half a MiB of the kernel's." + own;
}

std::string of_threads() {
  return "no more threads can be had: the user may have " + spelled(limit_of(RLIMIT_NPROC).rlim_cur) + " (RLIMIT_NPROC, ulimit -u), the system " +
         std::to_string(number_in("/proc/sys/kernel/threads-max")) + " (kernel.threads-max), and the control group may have a limit of its own (pids.max)";
}

}  // namespace

// Nothing here may throw or need a descriptor where those are what is missing: a stream that cannot be opened reads as nothing.
std::string limit_behind(int error) {
  switch (error) {
    case EMFILE:
      return of_descriptors();
    case ENFILE:
      return of_system_files();
    case ENOMEM:
      return of_memory();
    case EAGAIN:
      return of_threads();
    default:
      return "";
  }
}

}  // namespace barecell
