#include "pristine.h"

#include <algorithm>
#include <cstring>

namespace barecell {

PristinePages::PristinePages(const std::vector<PageView>& pages) {
  gpas_.reserve(pages.size());
  bytes_.reserve(pages.size() * BC_PAGE_SIZE);
  for (const PageView& page : pages) {
    gpas_.push_back(page.gpa);
    bytes_.insert(bytes_.end(), page.bytes, page.bytes + BC_PAGE_SIZE);
  }
}

const uint8_t* PristinePages::find(uint64_t gpa) const noexcept {
  auto place = std::ranges::lower_bound(gpas_, gpa);
  if (place == gpas_.end() || *place != gpa) return nullptr;
  return bytes_.data() + static_cast<size_t>(place - gpas_.begin()) * BC_PAGE_SIZE;
}

bool PristinePages::equals(const std::vector<PageView>& pages) const noexcept {
  if (pages.size() != gpas_.size()) return false;
  for (size_t i = 0; i < pages.size(); i++) {
    if (pages[i].gpa != gpas_[i] || std::memcmp(pages[i].bytes, bytes_.data() + i * BC_PAGE_SIZE, BC_PAGE_SIZE) != 0) return false;
  }
  return true;
}

}  // namespace barecell
