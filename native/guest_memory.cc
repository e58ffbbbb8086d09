#include "guest_memory.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>

#include "abi.h"

namespace barecell {
namespace {

// Growth is backed ahead of need, because a slot costs 20 us and setting table entries next to nothing.
constexpr uint64_t kMaxAheadBytes = 16u << 20;

// What is below in a linear memory has small pages: most guests are never larger, and to touch a byte of a large page is to clear 2 MiB, which takes as
// long as touching 40 small ones.
constexpr uint64_t kSmallBytes = BC_LARGE_PAGE_SIZE;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

void allow_access(uint8_t* base, uint64_t size_bytes) {
  if (size_bytes > 0 && mprotect(base, size_bytes, PROT_READ | PROT_WRITE) < 0) {
    fail_errno("BARECELL_KVM_FAILED", "cannot get memory for the guest");
  }
}

}  // namespace

GuestMemory::GuestMemory(std::shared_ptr<const Image> image, uint64_t max_linear_bytes)
    : image_(std::move(image)), max_linear_bytes_(max_linear_bytes) {
  uint64_t initial_bytes = 0;
  for (const LinearLayout& memory : image_->layout().memories) initial_bytes += memory.initial_bytes;
  max_linear_bytes_ = std::max(max_linear_bytes_, initial_bytes);
}

void GuestMemory::map() {
  if (low_.base() != nullptr) return;
  regions_.clear();
  reserve();
  map_segments();
  for (size_t i = 0; i < regions_.size(); i++) regions_[i].linear.attach(regions_[i].base, regions_[i].backed_bytes, &host_writes_);
}

// Linear memory 0 lies behind the image in guest-physical space, if both fit below 3 GiB: then one mapping and one slot serve for both.
bool GuestMemory::follows_image() const noexcept {
  const std::vector<LinearLayout>& memories = image_->layout().memories;
  return !memories.empty() && memories[0].initial_bytes > 0 && memories[0].gpa < BC_HIGH_GPA_BASE;
}

// Address space for the image, and for each linear memory as far as it can ever reach.
void GuestMemory::reserve() {
  const ImageLayout& layout = image_->layout();
  for (uint32_t i = 0; i < layout.memories.size(); i++) {
    const LinearLayout& memory = layout.memories[i];
    Region& region = regions_.emplace_back();
    region.reserved_bytes = std::max(memory.initial_bytes, std::min(memory.max_bytes, max_linear_bytes_));
    region.backed_bytes = memory.initial_bytes;
    region.guest_base = i == 0 ? BC_LINEAR_BASE : BC_MEMORY_BASE + (i - 1) * uint64_t{BC_MEMORY_STRIDE};
    region.growth_gpa = i == 0 ? BC_GROWTH_GPA_BASE : BC_MEMORY_GPA_BASE + (i - 1) * uint64_t{BC_MEMORY_GPA_STRIDE};
  }
  bool follows = follows_image();
  // Aligned so that host and guest addresses agree modulo 2 MiB: then the kernel can use large pages on both sides. Where there is no whole large page,
  // alignment would only cost two more system calls.
  auto alignment = [](uint64_t bytes) { return bytes >= BC_LARGE_PAGE_SIZE ? BC_LARGE_PAGE_SIZE : BC_PAGE_SIZE; };
  uint64_t followed = follows ? regions_[0].reserved_bytes : 0;
  low_ = Mapping::reserve(follows ? layout.memories[0].gpa + followed : layout.image_end_gpa, alignment(followed));
  for (size_t i = 0; i < regions_.size(); i++) {
    Region& region = regions_[i];
    if (i == 0 && follows) {
      region.base = low_.base() + layout.memories[0].gpa;
    } else if (region.reserved_bytes > 0) {
      region.own = Mapping::reserve(region.reserved_bytes, alignment(region.reserved_bytes));
      region.base = region.own.base();
    }
  }
}

// Zeros first, for everything; then the parts that come from the file on top, neighbours in one mapping.
void GuestMemory::map_segments() {
  const ImageLayout& layout = image_->layout();
  // In one call where linear memory begins where the image ends.
  bool is_one = follows_image() && layout.memories[0].gpa == layout.image_end_gpa;
  allow_access(low_.base() + BC_PAGE_SIZE, layout.image_end_gpa - BC_PAGE_SIZE + (is_one ? regions_[0].backed_bytes : 0));
  for (size_t i = is_one ? 1 : 0; i < regions_.size(); i++) allow_access(regions_[i].base, regions_[i].backed_bytes);
  for (size_t i = 0; i < layout.segments.size();) {
    const ImageSegment& first = layout.segments[i++];
    if (first.file_bytes == 0) continue;
    uint64_t size = round_up(first.file_bytes, BC_PAGE_SIZE);
    while (i < layout.segments.size()) {
      const ImageSegment& next = layout.segments[i];
      if (next.memory != first.memory || next.gpa != first.gpa + size || next.file_bytes == 0) break;
      size += round_up(next.file_bytes, BC_PAGE_SIZE);
      i++;
    }
    bool is_image = first.memory == ImageSegment::kOfImage;
    uint8_t* at = is_image ? low_.base() + first.gpa : regions_[first.memory].base + (first.gpa - layout.memories[first.memory].gpa);
    void* mapped = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image_->fd(),
                        static_cast<off_t>(first.file_offset));
    if (mapped == MAP_FAILED) fail_errno("BARECELL_KVM_FAILED", "cannot map the image");
  }
}

void GuestMemory::populate() noexcept {
  std::shared_ptr<const PristinePages> written = image_->written_by_boot();
  if (written == nullptr) return;
  const ImageLayout& layout = image_->layout();
  // Every boot writes these, which are no part of what is gone back to (is_scratch()).
  populate_pages(layout.mailbox_gpa, BC_PAGE_SIZE);
  populate_pages(layout.stack_gpa + layout.stack_bytes - BC_PAGE_SIZE, BC_PAGE_SIZE);
  for (size_t i = 0; i < written->count();) {
    uint64_t begin = written->at(i).gpa;
    uint64_t end = begin;
    for (; i < written->count() && written->at(i).gpa == end; i++) end += BC_PAGE_SIZE;
    populate_pages(begin, end - begin);
  }
}

// Of linear memory only what has small pages in any case: a small page where a large one could be keeps that away.
void GuestMemory::populate_pages(uint64_t gpa, uint64_t size_bytes) noexcept {
  uint8_t* at = image_memory(gpa, size_bytes);
  for (size_t i = 0; at == nullptr && i < regions_.size(); i++) {
    uint64_t offset = gpa - image_->layout().memories[i].gpa;
    uint64_t end = std::min(regions_[i].backed_bytes, kSmallBytes);
    if (offset < end && size_bytes <= end - offset) at = regions_[i].base + offset;
  }
  if (at != nullptr) madvise(at, size_bytes, MADV_POPULATE_WRITE);
}

void GuestMemory::register_slots(int vm_fd, bool logs) {
  vm_fd_ = vm_fd;
  logs_ = logs;
  const ImageLayout& layout = image_->layout();
  bool follows = follows_image();
  // One slot for image and linear memory where they are neighbours: a slot costs 20 to 50 us.
  uint64_t end = follows ? layout.memories[0].gpa + bulk_start(0) : layout.image_end_gpa;
  add_slot(BC_PAGE_SIZE, low_.base() + BC_PAGE_SIZE, end - BC_PAGE_SIZE);
  for (uint32_t i = 0; i < regions_.size(); i++) {
    const Region& region = regions_[i];
    uint64_t gpa = layout.memories[i].gpa;
    uint64_t bulk = bulk_start(i);
    bool has_slot = i == 0 && follows;
    if (bulk > 0 && !has_slot) add_slot(gpa, region.base, bulk);
    if (bulk < region.backed_bytes) add_slot(gpa + bulk, region.base + bulk, region.backed_bytes - bulk, true);
  }
}

// Offset in an initial linear memory from which it is bulk memory; its size if it has none. In bulk memory the image has no contents, since what is to
// be there after a reset is zeros.
uint64_t GuestMemory::bulk_start(uint32_t index) noexcept {
  const LinearLayout& memory = image_->layout().memories[index];
  uint64_t start = kSmallBytes;
  for (const ImageSegment& segment : image_->layout().segments) {
    if (segment.memory == index && segment.file_bytes > 0) start = std::max(start, segment.gpa + segment.file_bytes - memory.gpa);
  }
  start = round_up(memory.gpa + start, BC_LARGE_PAGE_SIZE) - memory.gpa;
  return is_bulk_worthwhile(start, memory.initial_bytes) ? start : memory.initial_bytes;
}

// A guest that touches memory for the first time waits for the host: 5 us for each small page, of which clearing it is the least part, and some 200 us
// for a large one, which is 512 of them. KVM maps large pages only where it need not log what is written, and then a reset has to find out
// by other means what was (PageScan).
bool GuestMemory::is_bulk_worthwhile(uint64_t from, uint64_t end) noexcept {
  uint64_t first_whole = round_up(std::max(from, kSmallBytes), BC_LARGE_PAGE_SIZE);
  if (end < first_whole + BC_LARGE_PAGE_SIZE) return false;
  if (page_scan_ == nullptr) page_scan_ = PageScan::of_this_process();
  return page_scan_ != nullptr;
}

GuestMemory::Slot& GuestMemory::add_slot(uint64_t gpa, uint8_t* host, uint64_t size_bytes, bool is_bulk) {
  Slot slot;
  slot.is_bulk = is_bulk;
  // A wish: where the kernel has no large pages, or none left, small ones do.
  if (is_bulk) madvise(host, size_bytes, MADV_HUGEPAGE);
  slot.id = free_slot_ids_.empty() ? next_slot_ : free_slot_ids_.back();
  slot.gpa = gpa;
  slot.host = host;
  slot.size_bytes = size_bytes;
  slots_.push_back(std::move(slot));
  try {
    set_slot(slots_.back(), size_bytes);
  } catch (...) {
    slots_.pop_back();
    throw;
  }
  if (free_slot_ids_.empty()) {
    next_slot_++;
  } else {
    free_slot_ids_.pop_back();
  }
  return slots_.back();
}

// `size_bytes` 0 takes the slot away.
void GuestMemory::set_slot(const Slot& slot, uint64_t size_bytes) {
  kvm_userspace_memory_region region{};
  region.slot = slot.id;
  region.flags = logs_ && !slot.is_bulk && size_bytes > 0 ? KVM_MEM_LOG_DIRTY_PAGES : 0;
  region.guest_phys_addr = slot.gpa;
  region.memory_size = size_bytes;
  region.userspace_addr = reinterpret_cast<uintptr_t>(slot.host);
  if (ioctl(vm_fd_, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
    fail_errno("BARECELL_KVM_FAILED", "cannot give memory to the VM (KVM_SET_USER_MEMORY_REGION)");
  }
}

uint8_t* GuestMemory::image_memory(uint64_t gpa, uint64_t size_bytes) noexcept {
  uint64_t end = image_->layout().image_end_gpa;
  if (low_.base() == nullptr || gpa < BC_PAGE_SIZE || gpa > end || size_bytes > end - gpa) return nullptr;
  return low_.base() + gpa;
}

uint64_t GuestMemory::grow(uint32_t index, uint64_t pages) {
  if (index >= regions_.size()) return UINT64_MAX;
  Region& region = regions_[index];
  uint64_t before = region.linear.size_bytes();
  uint64_t total = 0;
  for (const Region& each : regions_) total += each.linear.size_bytes();
  uint64_t limit = std::max(total, std::min(max_linear_bytes_, limit_bytes_));
  uint64_t room = std::min(region.reserved_bytes - before, limit - total);
  if (pages > room / BC_WASM_PAGE_SIZE) {
    refusals_++;
    return UINT64_MAX;
  }
  uint64_t after = before + pages * BC_WASM_PAGE_SIZE;
  if (after > before) {
    back_growth(region, after);
    if (!region.tables.is_prepared()) {
      region.tables.prepare(BC_GROWTH_TABLES_GPA_BASE + index * uint64_t{BC_GROWTH_TABLES_GPA_STRIDE}, region.reserved_bytes - before);
      add_slot(region.tables.gpa(), region.tables.base(), region.tables.size_bytes()).is_tables = true;
    }
    auto table_page = [this](uint64_t gpa) -> uint8_t* {
      for (const Region& each : regions_) {
        if (uint8_t* page = each.tables.page(gpa)) return page;
      }
      uint8_t* page = image_memory(gpa, BC_PAGE_SIZE);
      if (page != nullptr) host_writes_.note(page, BC_PAGE_SIZE);
      return page;
    };
    region.tables.map(image_->layout().run_pml4_gpa, table_page, region.guest_base + before, region.guest_base + after,
                      region.growth_gpa - region.guest_base);
    region.linear.set_size(after);
  }
  return before / BC_WASM_PAGE_SIZE;
}

// Memory and a slot for grown memory up to `until`, before any table entry points there. The end of a slot is never the end of linear
// memory as the guest sees it: that is in the page tables, so that an access past it faults in the guest, precisely.
void GuestMemory::back_growth(Region& region, uint64_t until) {
  if (until <= region.backed_bytes) return;
  uint64_t ahead = std::min(region.backed_bytes, kMaxAheadBytes);
  uint64_t end = std::min(region.reserved_bytes, round_up(std::max(until, region.backed_bytes + ahead), BC_LARGE_PAGE_SIZE));
  allow_access(region.base + region.backed_bytes, end - region.backed_bytes);
  bool is_bulk = is_bulk_worthwhile(region.backed_bytes, end);
  add_slot(region.growth_gpa + region.backed_bytes, region.base + region.backed_bytes, end - region.backed_bytes, is_bulk);
  region.backed_bytes = end;
}

}  // namespace barecell
