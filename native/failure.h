// How native code reports that something failed: a code of the error table in src/errors.ts and a message for people.
#pragma once

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include "host_limits.h"

namespace barecell {

// Thrown inside the addon only; the N-API layer turns it into a JavaScript error with the same code.
class Failure : public std::runtime_error {
 public:
  Failure(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const noexcept { return code_; }

 private:
  const char* code_;  // a literal
};

// For a failed system call: `what` says what was being done. Where a limit of the system's is behind it, the message names that, and a failure that
// would have no cause but "the kernel" gets the code for it.
[[noreturn]] inline void fail_errno(const char* code, const std::string& what, int error = errno) {
  std::string message = what + ": " + std::strerror(error);
  std::string limit = limit_behind(error);
  if (limit.empty()) throw Failure(code, message);
  throw Failure(std::string_view(code) == "BARECELL_KVM_FAILED" ? "BARECELL_HOST_LIMIT" : code, message + "; " + limit);
}

}  // namespace barecell
