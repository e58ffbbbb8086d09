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

  // On the vCPU's thread. The guest is about to read, or to wait until it can: only now the host has to begin.
  void asked() noexcept {
    if (!asked_.exchange(true)) wake_();
  }
  // After bytes were moved.
  void moved() noexcept;
  // The guest was told that its input is at its end.
  void told_end() noexcept { end_told_.store(true); }
  bool end_told() const noexcept { return end_told_.load(); }

 private:
  UniqueFd fd_;
  PipeDirection direction_;
  std::function<void()> wake_;
  std::atomic<bool> wanted_ = false;
  std::atomic<bool> asked_ = false;
  std::atomic<bool> end_told_ = false;
};

}  // namespace barecell::wasi
