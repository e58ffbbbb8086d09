// What a program asks for when it starts, all at once; see ../guest_start.h.
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "context.h"
#include "instance.h"

namespace barecell::wasi {
namespace {

static_assert(sizeof(Fdstat) == BC_FDSTAT_BYTES);

// Hands out the bytes of a bc_start, from the first to the last.
class StartBytes {
 public:
  explicit StartBytes(bc_start& start) noexcept : start_(start) {}

  size_t left() const noexcept { return BC_START_BYTES - used_; }
  size_t used() const noexcept { return used_; }
  // Only if left() is enough. Returns where they lie.
  uint32_t put(const void* from, size_t bytes) noexcept {
    if (bytes > 0) std::memcpy(start_.bytes + used_, from, bytes);
    used_ += bytes;
    return static_cast<uint32_t>(used_ - bytes);
  }

 private:
  bc_start& start_;
  size_t used_ = 0;
};

std::optional<uint32_t> put_strings(const StringList& list, StartBytes& bytes) noexcept {
  if (list.total_bytes > bytes.left()) return std::nullopt;
  auto at = static_cast<uint32_t>(bytes.used());
  for (const std::string& string : list.strings) bytes.put(string.c_str(), string.size() + 1);
  return at;
}

// False: they do not fit.
bool put_descriptors(const DescriptorTable& table, uint32_t answers, bc_start& start, StartBytes& bytes) noexcept {
  bool names = (answers & BC_ANSWER_PRESTAT_NAME) != 0;
  uint32_t count = table.end();
  size_t needed = count * sizeof(bc_descriptor);
  for (uint32_t fd = 0; fd < count; fd++) {
    const Entry* entry = table.find(fd);
    // There are no gaps at the start.
    if (entry == nullptr) return false;
    if (names && entry->preopen_name) needed += entry->preopen_name->size();
  }
  if (needed > bytes.left()) return false;
  bc_descriptor empty{};
  for (uint32_t fd = 0; fd < count; fd++) bytes.put(&empty, sizeof empty);
  for (uint32_t fd = 0; fd < count; fd++) {
    const Entry& entry = *table.find(fd);
    bc_descriptor descriptor{};
    if ((answers & BC_ANSWER_FDSTAT) != 0) {
      Fdstat fdstat = fdstat_of(entry);
      std::memcpy(descriptor.fdstat, &fdstat, sizeof fdstat);
    }
    descriptor.name_bytes = BC_NO_NAME;
    if (entry.preopen_name && (answers & (BC_ANSWER_PRESTAT | BC_ANSWER_PRESTAT_NAME)) != 0) {
      descriptor.name_bytes = static_cast<uint32_t>(entry.preopen_name->size());
      if (names) descriptor.name_at = bytes.put(entry.preopen_name->data(), entry.preopen_name->size());
    }
    std::memcpy(start.bytes + fd * sizeof descriptor, &descriptor, sizeof descriptor);
  }
  start.descriptor_count = count;
  return true;
}

class Start final : public StartTeller {
 public:
  explicit Start(std::shared_ptr<Context> context) noexcept : context_(std::move(context)) {}

  std::pair<uint32_t, size_t> tell(uint32_t answers, bc_start& start) override {
    StartBytes bytes(start);
    constexpr uint32_t kDescriptors = BC_ANSWER_PRESTAT | BC_ANSWER_PRESTAT_NAME | BC_ANSWER_FDSTAT;
    // First, because they are read as structures from the beginning on.
    bool fits = (answers & kDescriptors) != 0 && context_->descriptors.unchanged_below() == kAllUnchanged &&
                put_descriptors(context_->descriptors, answers, start, bytes);
    if (!fits) answers &= ~kDescriptors;
    tell_list(context_->args, BC_ANSWER_ARGS_SIZES, BC_ANSWER_ARGS, answers, {start.arg_count, start.arg_bytes, start.arg_at}, bytes);
    tell_list(context_->env, BC_ANSWER_ENVIRON_SIZES, BC_ANSWER_ENVIRON, answers, {start.env_count, start.env_bytes, start.env_at}, bytes);
    return {answers, offsetof(bc_start, bytes) + bytes.used()};
  }

  uint32_t unchanged_below() const noexcept override { return context_->descriptors.unchanged_below(); }

 private:
  struct Place {
    uint32_t& count;
    uint32_t& bytes;
    uint32_t& at;
  };

  static void tell_list(const StringList& list, uint32_t sizes, uint32_t strings, uint32_t& answers, Place place, StartBytes& bytes) noexcept {
    if ((answers & (sizes | strings)) == 0) return;
    place.count = static_cast<uint32_t>(list.strings.size());
    place.bytes = list.total_bytes;
    if ((answers & strings) == 0) return;
    if (std::optional<uint32_t> at = put_strings(list, bytes)) {
      place.at = *at;
    } else {
      answers &= ~strings;
    }
  }

  std::shared_ptr<Context> context_;
};

}  // namespace

std::shared_ptr<StartTeller> Instance::start_teller() const { return std::make_shared<Start>(context_); }

}  // namespace barecell::wasi
