// Which output a guest may keep for a while, and taking it; see ../guest_output.h.
#include <algorithm>
#include <new>

#include "context.h"
#include "instance.h"

namespace barecell::wasi {
namespace {

constexpr uint32_t kStdout = 1;
constexpr uint32_t kStderr = 2;

class KeptOutput final : public OutputTaker {
 public:
  explicit KeptOutput(std::shared_ptr<Context> context) noexcept : context_(std::move(context)) {}

  // Asked anew each time, so that nobody who changes a descriptor, its rights or its flags has to think of this.
  OutputGrant grant() const noexcept override {
    OutputGrant grant;
    for (uint32_t fd : {kStdout, kStderr}) {
      uint32_t bit = 1u << fd;
      switch (keep_of(fd)) {
        case Keep::Nothing:
          break;
        case Keep::Discard:
          grant.dropped |= bit;
          break;
        case Keep::Lines:
          grant.lines |= bit;
          [[fallthrough]];
        case Keep::Bursts:
          grant.kept |= bit;
          grant.bursts |= bit;
          break;
        case Keep::Everything:
          grant.kept |= bit;
          // Never more than the limit of captured output allows: the write that goes over it is the host's to judge.
          grant.room = std::min(grant.room, context_->output.left());
      }
    }
    return grant;
  }

  HostCallAction take(uint32_t fd, LinearMemory& bytes, uint32_t offset, uint32_t count, Waiter& waiter) override {
    bool is_output = fd == kStdout || fd == kStderr;
    Keep keep = is_output ? keep_of(fd) : Keep::Nothing;
    if (keep == Keep::Nothing || keep == Keep::Discard) return HostCallAction::Continue;
    HostCall call{{}, bytes, waiter};
    GuestBuffers buffers;
    buffers.use({offset, count});
    return context_->descriptors.find(fd)->object->write_kept(buffers, call);
  }

 private:
  Keep keep_of(uint32_t fd) const noexcept {
    const Entry* entry = context_->descriptors.find(fd);
    return entry != nullptr && entry->has(kRightFdWrite) ? entry->object->keep() : Keep::Nothing;
  }

  std::shared_ptr<Context> context_;
};

}  // namespace

std::shared_ptr<OutputTaker> Instance::output_taker() const { return std::make_shared<KeptOutput>(context_); }

}  // namespace barecell::wasi
