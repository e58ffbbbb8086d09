// Paths as guests name them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../host_call.h"
#include "types.h"

namespace barecell::wasi {

// With the NUL that ends it on the host (PATH_MAX).
constexpr uint32_t kMaxPathBytes = 4096;

bool is_utf8(std::string_view text) noexcept;

// A checked copy: not empty (ENOENT, as POSIX has it), shorter than kMaxPathBytes, UTF-8 (EILSEQ), no NUL (EINVAL).
Errno read_path(LinearMemory& memory, uint32_t at, uint32_t bytes, std::string* to);

// Takes the last component off. What removes, makes or moves an entry works on it in its parent, where the host's calls do not
// follow symbolic links; slashes at the end stay with it, as the host has rules for those.
struct SplitPath {
  std::string parent;  // "." if there is only one component
  std::string last;    // with at most one slash at its end
  // "." and "..", which name no entry
  bool is_dot = false;
  bool is_dot_dot = false;
};
SplitPath split_path(const std::string& path);

}  // namespace barecell::wasi
