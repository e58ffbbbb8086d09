// Resolution of a guest's paths on the host, which never leaves the directory that it starts from: not by `..`, not by an absolute
// path, not by a symbolic link, whoever made it and whenever.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <string>

#include "../owners.h"
#include "guest_path.h"
#include "types.h"

namespace barecell::wasi {

// openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS, or component by component where the kernel has none. O_CLOEXEC,
// O_NOCTTY and O_NONBLOCK are added, so that it neither waits (for the other end of a FIFO) nor takes a terminal. A path that
// leads outside is ENOTCAPABLE.
Errno open_beneath(int directory, const std::string& path, int flags, mode_t mode, UniqueFd* to);

// The directory that holds the last component of a path, and that component, for the host's calls that do not follow it.
struct Parent {
  UniqueFd own;
  int fd = -1;
  std::string name;
};
// `dot` and `dot_dot`: the errors for paths that end in those, which name no entry.
Errno open_parent(int directory, const std::string& path, Errno dot, Errno dot_dot, Parent* to);

// How many directories `directory` lies below `root`, at most `limit` + 1; that too if it does not lie below it (any more).
unsigned depth_below(int root, int directory, unsigned limit);

// For tests: walk component by component although there is an openat2.
void walk_by_component(bool always) noexcept;

}  // namespace barecell::wasi
