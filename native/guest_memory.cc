#include "guest_memory.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>

#include "abi.h"

namespace barecell {
namespace {

// Guest-physical home of the page tables for grown memory, above all of it.
constexpr uint64_t kGrowthTablesGpa = BC_GROWTH_GPA_BASE + BC_LINEAR_REACH_END;
// Growth is backed ahead of need, because a slot costs 20 us and setting table entries next to nothing.
constexpr uint64_t kMaxAheadBytes = 16u << 20;

// Entry bits: Intel SDM vol. 3A, 4.5; accessed and dirty set beforehand, as in src/image/page-tables.ts.
constexpr uint64_t kTableEntry = 0x27;                           // present, writable, user, accessed
constexpr uint64_t kDataEntry = 0x67 | (uint64_t{1} << 63);      // and dirty, no-execute
constexpr uint64_t kLargeEntry = kDataEntry | 0x80;
constexpr uint64_t kAddressMask = 0x000ffffffffff000;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

void allow_access(uint8_t* base, uint64_t size_bytes) {
  if (size_bytes > 0 && mprotect(base, size_bytes, PROT_READ | PROT_WRITE) < 0) {
    fail_errno("BARECELL_KVM_FAILED", "cannot get memory for the guest");
  }
}

}  // namespace

GuestMemory::GuestMemory(std::shared_ptr<const Image> image, uint64_t max_linear_bytes)
    : image_(std::move(image)), max_linear_bytes_(std::max(max_linear_bytes, image_->layout().linear_bytes)) {
  const ImageLayout& layout = image_->layout();
  bool follows = layout.linear_gpa < BC_HIGH_GPA_BASE;
  // Aligned so that host and guest addresses agree modulo 2 MiB: then the kernel can use large pages on both sides. Where there is no whole large page,
  // alignment would only cost two more system calls.
  size_t alignment = max_linear_bytes_ >= BC_LARGE_PAGE_SIZE ? BC_LARGE_PAGE_SIZE : BC_PAGE_SIZE;
  low_ = Mapping::reserve(follows && layout.linear_gpa > 0 ? layout.linear_gpa + max_linear_bytes_ : layout.image_end_gpa, alignment);
  if (follows) {
    linear_base_ = low_.base() + layout.linear_gpa;
  } else {
    high_linear_ = Mapping::reserve(max_linear_bytes_, BC_LARGE_PAGE_SIZE);
    linear_base_ = high_linear_.base();
  }
  // A module that starts without memory may still grow one.
  if (layout.linear_gpa == 0 && max_linear_bytes_ > 0) {
    high_linear_ = Mapping::reserve(max_linear_bytes_, BC_LARGE_PAGE_SIZE);
    linear_base_ = high_linear_.base();
  }
  map_segments();
  linear_.attach(linear_base_, layout.linear_bytes);
  backed_bytes_ = layout.linear_bytes;
}

// Zeros first, for everything; then the parts that come from the file on top, neighbours in one mapping.
void GuestMemory::map_segments() {
  const ImageLayout& layout = image_->layout();
  allow_access(low_.base() + BC_PAGE_SIZE, layout.image_end_gpa - BC_PAGE_SIZE);
  allow_access(linear_base_, layout.linear_bytes);
  for (size_t i = 0; i < layout.segments.size();) {
    const ImageSegment& first = layout.segments[i++];
    if (first.file_bytes == 0) continue;
    uint64_t end = first.gpa + round_up(first.file_bytes, BC_PAGE_SIZE);
    while (i < layout.segments.size() && layout.segments[i].gpa == end && layout.segments[i].file_bytes > 0) {
      end += round_up(layout.segments[i++].file_bytes, BC_PAGE_SIZE);
    }
    bool is_linear = layout.linear_bytes > 0 && first.gpa >= layout.linear_gpa;
    uint8_t* at = is_linear ? linear_base_ + (first.gpa - layout.linear_gpa) : low_.base() + first.gpa;
    void* mapped = mmap(at, end - first.gpa, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image_->fd(),
                        static_cast<off_t>(image_->file_offset(first)));
    if (mapped == MAP_FAILED) fail_errno("BARECELL_KVM_FAILED", "cannot map the image");
  }
}

void GuestMemory::register_slots(int vm_fd) {
  vm_fd_ = vm_fd;
  const ImageLayout& layout = image_->layout();
  bool follows = layout.linear_bytes > 0 && layout.linear_gpa < BC_HIGH_GPA_BASE;
  // One slot for image and linear memory where they are neighbours: a slot costs 20 to 50 us.
  uint64_t end = follows ? layout.linear_gpa + layout.linear_bytes : layout.image_end_gpa;
  add_slot(BC_PAGE_SIZE, low_.base() + BC_PAGE_SIZE, end - BC_PAGE_SIZE);
  if (!follows && layout.linear_bytes > 0) add_slot(layout.linear_gpa, linear_base_, layout.linear_bytes);
}

void GuestMemory::add_slot(uint64_t gpa, uint8_t* host, uint64_t size_bytes) {
  kvm_userspace_memory_region region{};
  region.slot = next_slot_;
  region.guest_phys_addr = gpa;
  region.memory_size = size_bytes;
  region.userspace_addr = reinterpret_cast<uintptr_t>(host);
  if (ioctl(vm_fd_, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
    fail_errno("BARECELL_KVM_FAILED", "cannot give memory to the VM (KVM_SET_USER_MEMORY_REGION)");
  }
  next_slot_++;
}

uint8_t* GuestMemory::image_memory(uint64_t gpa, uint64_t size_bytes) noexcept {
  uint64_t end = image_->layout().image_end_gpa;
  if (gpa < BC_PAGE_SIZE || gpa > end || size_bytes > end - gpa) return nullptr;
  return low_.base() + gpa;
}

uint64_t GuestMemory::grow(uint64_t pages) {
  uint64_t before = linear_.size_bytes();
  if (pages > (max_linear_bytes_ - before) / BC_WASM_PAGE_SIZE) return UINT64_MAX;
  uint64_t after = before + pages * BC_WASM_PAGE_SIZE;
  if (after > before) {
    back_growth(after);
    map_grown(before, after);
    linear_.set_size(after);
  }
  return before / BC_WASM_PAGE_SIZE;
}

// Memory and a slot for grown memory up to `until`, before any table entry points there. The end of a slot is never the end of linear
// memory as the guest sees it: that is in the page tables, so that an access past it faults in the guest, precisely.
void GuestMemory::back_growth(uint64_t until) {
  if (until <= backed_bytes_) return;
  uint64_t ahead = std::min(backed_bytes_, kMaxAheadBytes);
  uint64_t end = std::min(max_linear_bytes_, round_up(std::max(until, backed_bytes_ + ahead), BC_LARGE_PAGE_SIZE));
  allow_access(linear_base_ + backed_bytes_, end - backed_bytes_);
  add_slot(BC_GROWTH_GPA_BASE + backed_bytes_, linear_base_ + backed_bytes_, end - backed_bytes_);
  backed_bytes_ = end;
}

void GuestMemory::map_grown(uint64_t from, uint64_t until) {
  if (growth_tables_.base() == nullptr) {
    // Enough for all growth there can be: a page for each 2 MiB and each 1 GiB, and one for each end.
    uint64_t reach = max_linear_bytes_ - from;
    uint64_t tables = reach / BC_LARGE_PAGE_SIZE + reach / (uint64_t{1} << 30) + 4;
    growth_tables_ = Mapping::reserve(tables * BC_PAGE_SIZE, BC_PAGE_SIZE);
    allow_access(growth_tables_.base(), growth_tables_.size_bytes());
    add_slot(kGrowthTablesGpa, growth_tables_.base(), growth_tables_.size_bytes());
  }
  uint64_t* root = table_at(image_->layout().run_pml4_gpa);
  uint64_t* pointers = child_table(root, 0);
  for (uint64_t at = from; at < until;) {
    uint64_t* directory = child_table(pointers, static_cast<unsigned>(at >> 30));
    unsigned index = static_cast<unsigned>(at >> 21) % 512;
    uint64_t gpa = BC_GROWTH_GPA_BASE + at;
    // Only entries that were not present are set: a host must never take a present one away (shadow paging would not see it).
    if (at % BC_LARGE_PAGE_SIZE == 0 && until - at >= BC_LARGE_PAGE_SIZE && directory[index] == 0) {
      directory[index] = gpa | kLargeEntry;
      at += BC_LARGE_PAGE_SIZE;
    } else {
      child_table(directory, index)[(at >> 12) % 512] = gpa | kDataEntry;
      at += BC_PAGE_SIZE;
    }
  }
}

// The tables are out of the tenant's reach, but an image is a file from somewhere, and its ring 0 code could have written here: an entry that
// leads outside the tables is refused.
uint64_t* GuestMemory::table_at(uint64_t gpa) {
  if (gpa % BC_PAGE_SIZE == 0) {
    if (gpa >= kGrowthTablesGpa && gpa < kGrowthTablesGpa + growth_tables_.size_bytes()) {
      return reinterpret_cast<uint64_t*>(growth_tables_.base() + (gpa - kGrowthTablesGpa));
    }
    if (uint8_t* table = image_memory(gpa, BC_PAGE_SIZE)) return reinterpret_cast<uint64_t*>(table);
  }
  throw Failure("BARECELL_IMAGE_INVALID", "the guest's page tables lead outside of the image");
}

uint64_t* GuestMemory::child_table(uint64_t* table, unsigned index) {
  uint64_t entry = table[index];
  if (entry != 0) return table_at(entry & kAddressMask);
  if (growth_tables_used_ + BC_PAGE_SIZE > growth_tables_.size_bytes()) {
    throw Failure("BARECELL_INTERNAL", "no page-table pages left for growth");
  }
  uint64_t gpa = kGrowthTablesGpa + growth_tables_used_;
  growth_tables_used_ += BC_PAGE_SIZE;
  table[index] = gpa | kTableEntry;
  return table_at(gpa);
}

}  // namespace barecell
