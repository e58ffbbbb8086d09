// What memory a VM goes back to at a reset: the image's own pages, but for those that its instantiation wrote.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "abi.h"

namespace barecell {

// A page as it was when the guest was ready.
struct PageView {
  uint64_t gpa = 0;
  const uint8_t* bytes = nullptr;
};

// Immutable, and shared by all VMs of an image whose instantiation wrote the same, which is the rule.
class PristinePages {
 public:
  // `pages` ascending by gpa; copied.
  explicit PristinePages(const std::vector<PageView>& pages);

  // Null: the image's own page.
  const uint8_t* find(uint64_t gpa) const noexcept;
  bool equals(const std::vector<PageView>& pages) const noexcept;
  size_t count() const noexcept { return gpas_.size(); }
  PageView at(size_t index) const noexcept { return {gpas_[index], bytes_.data() + index * BC_PAGE_SIZE}; }

 private:
  std::vector<uint64_t> gpas_;
  std::vector<uint8_t> bytes_;
};

}  // namespace barecell
