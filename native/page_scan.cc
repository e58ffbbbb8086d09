#include "page_scan.h"

#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <mutex>

#include "abi.h"

namespace barecell {
namespace {

// From Linux's include/uapi/linux/fs.h, which headers before 6.7 do not have.
struct ScanRegion {
  __u64 start;
  __u64 end;
  __u64 categories;
};
struct ScanArgument {
  __u64 size;
  __u64 flags;
  __u64 start;
  __u64 end;
  __u64 walk_end;  // OUT
  __u64 vec;
  __u64 vec_len;
  __u64 max_pages;  // 0: no limit
  __u64 category_inverted;
  __u64 category_mask;
  __u64 category_anyof_mask;
  __u64 return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);
constexpr __u64 kPresent = 1 << 3;
constexpr __u64 kSwapped = 1 << 4;  // also what is being moved
constexpr __u64 kZeroPage = 1 << 5;  // the one that all share who only read

uint64_t address(const void* at) { return reinterpret_cast<uintptr_t>(at); }
uint8_t* pointer(uint64_t address) { return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(address)); }

}  // namespace

std::shared_ptr<const PageScan> PageScan::of_this_process() noexcept {
  static std::mutex mutex;
  static std::weak_ptr<const PageScan> shared;
  try {
    std::lock_guard lock(mutex);
    if (std::shared_ptr<const PageScan> live = shared.lock()) return live;
    UniqueFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    if (!pagemap) return nullptr;
    std::shared_ptr<const PageScan> made(new PageScan(std::move(pagemap)));
    // A look at one page tells whether this kernel knows the call.
    Mapping page = Mapping::reserve(BC_PAGE_SIZE, BC_PAGE_SIZE);
    made->for_each_populated(page.base(), BC_PAGE_SIZE, [](PageRange) {});
    shared = made;
    return made;
  } catch (...) {
    return nullptr;
  }
}

size_t PageScan::scan(uint8_t** from, uint8_t* end, std::array<PageRange, 32>* found) const {
  std::array<ScanRegion, 32> regions;
  ScanArgument argument{};
  argument.size = sizeof(argument);
  argument.start = address(*from);
  argument.end = address(end);
  argument.vec = address(regions.data());
  argument.vec_len = regions.size();
  argument.category_anyof_mask = kPresent | kSwapped;
  argument.category_mask = kZeroPage;
  argument.category_inverted = kZeroPage;
  argument.return_mask = kPresent | kSwapped;
  int count = ioctl(pagemap_.get(), kPagemapScan, &argument);
  if (count < 0 || argument.walk_end <= argument.start) fail_errno("BARECELL_KVM_FAILED", "cannot ask which pages the guest's memory has (PAGEMAP_SCAN)");
  for (size_t i = 0; i < static_cast<size_t>(count); i++) (*found)[i] = {pointer(regions[i].start), pointer(regions[i].end)};
  *from = pointer(argument.walk_end);
  return static_cast<size_t>(count);
}

}  // namespace barecell
