// Which pages of a range of this process have memory behind them, or a place in swap: PAGEMAP_SCAN, Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "owners.h"

namespace barecell {

// Host addresses of whole pages.
struct PageRange {
  uint8_t* begin = nullptr;
  uint8_t* end = nullptr;
};

class PageScan {
 public:
  // The one that all VMs of the process share, which is open as long as one of them holds it. Null where the kernel cannot say.
  static std::shared_ptr<const PageScan> of_this_process() noexcept;

  // Visits all ranges of pages that somebody may have written, ascending. Only of private memory without a file, page-aligned. What is not visited is
  // zeros. Throws Failure.
  template <typename Visit>
  void for_each_populated(uint8_t* base, uint64_t size_bytes, Visit visit) const {
    std::array<PageRange, 32> found;
    for (uint8_t *at = base, *end = base + size_bytes; at < end;) {
      size_t count = scan(&at, end, &found);
      for (size_t i = 0; i < count; i++) visit(found[i]);
    }
  }

 private:
  explicit PageScan(UniqueFd pagemap) : pagemap_(std::move(pagemap)) {}
  // Moves `from` to where it came to. Returns how many ranges it found.
  size_t scan(uint8_t** from, uint8_t* end, std::array<PageRange, 32>* found) const;

  UniqueFd pagemap_;
};

}  // namespace barecell
