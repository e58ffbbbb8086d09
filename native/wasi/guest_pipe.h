// The guest's end of a pipe whose other end the host moves bytes through, a bit at a time and when it likes. The pipe bounds what lies between the
// two; a guest that finds it full or empty waits for its descriptor as for any other.
#pragma once

#include <atomic>
#include <functional>
#include <utility>

#include "../owners.h"

namespace barecell::wasi {

// What the host asked for, and what the other end belongs to.
enum class PipeDirection { Input, Output };

class GuestPipe {
 public:
  // `fd` is non-blocking and this object's alone. `wake` is called on the thread that runs the vCPU, and must not fail.
  GuestPipe(UniqueFd fd, PipeDirection direction, std::function<void()> wake)
      : fd_(std::move(fd)), direction_(direction), wake_(std::move(wake)) {}

  int fd() const noexcept { return fd_.get(); }
  PipeDirection direction() const noexcept { return direction_; }

  // On the host's thread, when it found nothing to move: it wants to be woken. It has to look once more after this, for the guest may have moved bytes
  // just before; the pipe's own lock makes one of the two see the other.
  void want_wake() noexcept { wanted_.store(true); }

  // On the vCPU's thread, after bytes were moved.
  void moved() noexcept;

 private:
  UniqueFd fd_;
  PipeDirection direction_;
  std::function<void()> wake_;
  std::atomic<bool> wanted_ = false;
};

}  // namespace barecell::wasi
