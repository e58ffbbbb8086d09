// How native code reports that something failed: a code of the error table in src/errors.ts and a message for people.
#pragma once

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace barecell {

// Thrown inside the addon only; the N-API layer turns it into a JavaScript error with the same code.
class Failure : public std::runtime_error {
 public:
  Failure(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const noexcept { return code_; }

 private:
  const char* code_;  // a literal
};

// For a failed system call: `what` says what was being done.
[[noreturn]] inline void fail_errno(const char* code, const std::string& what, int error = errno) {
  throw Failure(code, what + ": " + std::strerror(error));
}

}  // namespace barecell
