// What a guest may take of the host's storage.
#pragma once

#include <cstdint>

namespace barecell::wasi {

struct Limits {
  uint32_t max_open_files = 256;
  uint64_t max_write_bytes = uint64_t{1} << 30;
  uint32_t max_directory_depth = 128;
};

// Bytes that a program makes the host store, in its whole life: what is written, what files grow by without being written, and a
// fixed price for each new name, which takes an inode or room in a directory. Nothing is given back when files shrink or go.
class WriteBudget {
 public:
  static constexpr uint64_t kNameBytes = 4096;

  explicit WriteBudget(uint64_t limit) noexcept : left_(limit) {}
  uint64_t left() const noexcept { return left_; }
  // False, and nothing taken, if there is not so much.
  bool take(uint64_t bytes) noexcept {
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }
  void give_back(uint64_t bytes) noexcept { left_ += bytes; }

 private:
  uint64_t left_;
};

}  // namespace barecell::wasi
