// Files packed into an image: read and checked once for each image, then shared by all of its VMs, unchanged. The format is stated in
// src/image/bundle.ts, which writes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "types.h"

namespace barecell::wasi {

class Bundle {
 public:
  // What time files in an image are of: 2000-01-01T00:00:00Z, so that images of equal files are equal.
  static constexpr uint64_t kTimeNs = 946'684'800'000'000'000;
  static constexpr uint32_t kMaxNodes = 1 << 16;
  static constexpr uint32_t kMaxRoots = 64;
  static constexpr uint32_t kMaxDepth = 64;
  static constexpr size_t kMaxNameBytes = 255;

  // A file or a directory, by its place in a list in which the entries of a directory follow each other, in the order of their names'
  // bytes. The first `root_count` are the directories that the guest gets.
  struct Node {
    Filetype type;
    uint32_t parent;  // of a root: itself
    uint32_t first;   // of a directory's entries
    uint32_t depth;
    std::string_view name;              // of a root: its path in the guest
    uint64_t size;                      // entries, or bytes
    std::span<const uint8_t> contents;  // of a file
  };

  // `bytes` must not change, and stay as long as `keeper` does. Throws a Failure (BARECELL_IMAGE_INVALID) that says what is wrong: an
  // image may be hostile, and whatever is accepted here is used without another look.
  Bundle(std::span<const uint8_t> bytes, std::shared_ptr<const void> keeper);

  uint32_t root_count() const noexcept { return root_count_; }
  const Node& node(uint32_t index) const noexcept { return nodes_[index]; }
  // Null: there is none of that name.
  const Node* find(const Node& directory, std::string_view name) const noexcept;
  uint32_t index_of(const Node& node) const noexcept { return static_cast<uint32_t>(&node - nodes_.data()); }

 private:
  void read_nodes(std::span<const uint8_t> table, std::span<const uint8_t> names, std::span<const uint8_t> contents);
  void link_entries();
  void check_names() const;

  std::shared_ptr<const void> keeper_;
  std::vector<Node> nodes_;
  uint32_t root_count_ = 0;
};

}  // namespace barecell::wasi
