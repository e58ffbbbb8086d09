#include "guest_pipe.h"

#include <sys/ioctl.h>

namespace barecell::wasi {
namespace {

// Input is asked for when this much or less is left, so that a guest that reads byte by byte does not wake the host for each. Half a pipe as Linux
// makes them. A pipe that is full with less in it (its pages are partly used, or it is a small one) is below this with the first byte read.
constexpr int kLowInputBytes = 32 << 10;

}  // namespace

void GuestPipe::moved() noexcept {
  if (!wanted_.load()) return;
  int left = 0;
  if (direction_ == PipeDirection::Input && ioctl(fd_.get(), FIONREAD, &left) == 0 && left > kLowInputBytes) return;
  if (wanted_.exchange(false)) wake_();
}

}  // namespace barecell::wasi
