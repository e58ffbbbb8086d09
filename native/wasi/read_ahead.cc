// What a program gets ahead of what it reads; see ../guest_input.h.
#include <algorithm>
#include <optional>
#include <utility>

#include "context.h"
#include "instance.h"

namespace barecell::wasi {
namespace {

// So many times as much after most of it was read; and for at least so many reads such as the last one.
constexpr uint32_t kGrowth = 4;
constexpr uint32_t kReads = 4;
// So many reads get nothing ahead after one for which it was in vain.
constexpr uint32_t kPause = 8;

class ReadAhead final : public InputSource {
 public:
  explicit ReadAhead(std::shared_ptr<Context> context) noexcept : context_(std::move(context)) {}

  bool is_due() const noexcept override { return context_->reads.last.has_value(); }

  // Asked anew each time, so that nobody who changes a descriptor, its rights or its flags has to think of this.
  InputAhead ahead(std::span<uint8_t> to) noexcept override {
    auto [fd, wanted_bytes] = *std::exchange(context_->reads.last, std::nullopt);
    if (context_->reads.pause > 0) {
      context_->reads.pause--;
      return {};
    }
    const Entry* entry = context_->descriptors.find(fd);
    if (entry == nullptr || !entry->has(kRightFdRead)) return {};
    // A whole number of reads: one that finds a part of what it wants costs an exit too.
    size_t bytes = std::min<size_t>(to.size(), std::max(context_->reads.ahead_bytes, kReads * wanted_bytes));
    Peeked next = entry->object->peek(to.first(bytes - bytes % wanted_bytes));
    return {fd, next.bytes, next.at_end};
  }

  void took(const InputAhead& given, uint32_t bytes) noexcept override {
    const Entry* entry = context_->descriptors.find(given.fd);
    if (bytes > 0 && entry != nullptr) {
      context_->used = true;
      entry->object->skip(bytes);
    }
    if (given.bytes == 0) return;
    ReadHabit& reads = context_->reads;
    if (bytes > given.bytes / 2) {
      reads.ahead_bytes = std::min<uint32_t>(BC_INPUT_BYTES, reads.ahead_bytes * kGrowth);
    } else if (bytes == 0) {
      reads = {};
      reads.pause = kPause;
    }
  }

 private:
  std::shared_ptr<Context> context_;
};

}  // namespace

std::shared_ptr<InputSource> Instance::input_source() const { return std::make_shared<ReadAhead>(context_); }

}  // namespace barecell::wasi
