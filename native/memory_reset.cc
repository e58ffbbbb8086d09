// Bringing a VM's memory back to what it was when the guest was ready.
//
// Which pages? KVM's dirty log knows every page that the guest could have written, whatever it did: it is what live migration rests on. It is read, but
// never cleared (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), so it holds all pages that any run wrote, and no page is ever write-protected again: a fault of the
// next run costs 20 times what copying a page does that it may not have touched. What the host writes for the guest, KVM does not see: see HostWrites.
//
// Bulk memory (guest_memory.cc) has no log, and no contents to go back to but zeros. The process's own page tables say where it has pages; where it has none,
// nobody has written.
// ARCHITECTURE.md has the figures of this and of the other ways.
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "guest_memory.h"

namespace barecell {
namespace {

// How many pages, 16 MiB, a VM may hold and copy at each reset. Where more have been written, large slots are given back to the kernel: not to save
// time, for a page's next first touch costs a hundred times its copy, but so that an idle VM does not hold what a single call once needed.
constexpr uint64_t kMaxKeptPages = 4096;
constexpr uint64_t kSmallSlotPages = 256;

// Bulk memory is used sparsely where at most one page in so many was written. To look for them takes 60 us in a large page, as long as copying that many; and with
// the log, each page that is written again costs a fault, once.
constexpr uint64_t kSparseShare = 8;

uint64_t pages_of(uint64_t size_bytes) { return size_bytes / BC_PAGE_SIZE; }

uint64_t count_bits(const std::vector<uint64_t>& words) {
  uint64_t count = 0;
  for (uint64_t word : words) count += static_cast<uint64_t>(std::popcount(word));
  return count;
}

template <typename Visit>
void for_each_bit(const std::vector<uint64_t>& words, Visit visit) {
  for (size_t i = 0; i < words.size(); i++) {
    for (uint64_t word = words[i]; word != 0; word &= word - 1) visit(i * 64 + static_cast<uint64_t>(std::countr_zero(word)));
  }
}

bool is_zero_page(const uint8_t* page) {
  static constexpr uint8_t zeros[BC_PAGE_SIZE] = {};
  return std::memcmp(page, zeros, BC_PAGE_SIZE) == 0;
}

}  // namespace

void GuestMemory::read_log(Slot& slot) {
  slot.log.resize((pages_of(slot.size_bytes) + 63) / 64);
  kvm_dirty_log log{};
  log.slot = slot.id;
  log.dirty_bitmap = slot.log.data();
  if (ioctl(vm_fd_, KVM_GET_DIRTY_LOG, &log) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot ask which pages the guest wrote (KVM_GET_DIRTY_LOG)");
}

// Only after the slot's pages are gone: KVM protects those that are left against writing, and notes them anew.
void GuestMemory::clear_log(Slot& slot) {
  kvm_clear_dirty_log log{};
  log.slot = slot.id;
  log.num_pages = static_cast<uint32_t>(pages_of(slot.size_bytes));
  log.dirty_bitmap = slot.log.data();
  if (ioctl(vm_fd_, KVM_CLEAR_DIRTY_LOG, &log) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot clear the log of written pages (KVM_CLEAR_DIRTY_LOG)");
}

// The segment that holds the root.
bool GuestMemory::is_page_table(uint64_t gpa) const noexcept {
  const ImageLayout& layout = image_->layout();
  auto after = std::ranges::upper_bound(layout.segments, layout.run_pml4_gpa, {}, &ImageSegment::gpa);
  if (after == layout.segments.begin()) return false;
  const ImageSegment& tables = *std::prev(after);
  return gpa >= tables.gpa && gpa - tables.gpa < tables.memory_bytes;
}

// Means nothing between two calls: every entry starts with an empty stack, and the mailbox is the host's to fill.
bool GuestMemory::is_scratch(uint64_t gpa) const noexcept {
  const ImageLayout& layout = image_->layout();
  auto within = [gpa](uint64_t from, uint64_t size) { return gpa >= from && gpa < from + size; };
  return within(layout.stack_gpa, layout.stack_bytes) || within(layout.mailbox_gpa, layout.mailbox_bytes) ||
         within(layout.exception_stacks_gpa, BC_IST_COUNT * BC_IST_BYTES);
}

std::shared_ptr<const PristinePages> GuestMemory::capture() {
  if (!logs_) return nullptr;
  std::vector<PageView> pages;
  auto add = [&](const Slot& slot, uint64_t index) {
    uint64_t gpa = slot.gpa + index * BC_PAGE_SIZE;
    if (!is_scratch(gpa)) pages.push_back({gpa, slot.host + index * BC_PAGE_SIZE});
  };
  for (Slot& slot : slots_) {
    find_written(slot);
    for_each_bit(slot.log, [&](uint64_t index) { add(slot, index); });
    // Of a large page the guest may have written one byte, and the rest is what it would be anyway.
    for (const PageRange& range : slot.populated) {
      for (uint8_t* at = range.begin; at < range.end; at += BC_PAGE_SIZE) {
        if (!is_zero_page(at)) add(slot, static_cast<uint64_t>(at - slot.host) / BC_PAGE_SIZE);
      }
    }
    host_writes_.for_each([&](const HostWrites::Range& range) {
      for (uint8_t* at = std::max(range.begin, slot.host); at < std::min(range.end, slot.host + slot.size_bytes); at += BC_PAGE_SIZE) {
        add(slot, static_cast<uint64_t>(at - slot.host) / BC_PAGE_SIZE);
      }
    });
  }
  if (host_writes_.lost_count()) return nullptr;
  std::ranges::sort(pages, {}, &PageView::gpa);
  auto same = std::ranges::unique(pages, {}, &PageView::gpa);
  pages.erase(same.begin(), same.end());
  host_writes_.clear();
  return image_->share(pages);
}

// How many pages of a slot may hold something else than when the guest was ready. Leaves them in slot.log, or of bulk memory in slot.populated.
uint64_t GuestMemory::find_written(Slot& slot) {
  if (!slot.is_bulk) {
    read_log(slot);
    return count_bits(slot.log);
  }
  slot.populated.clear();
  uint64_t bytes = 0;
  page_scan_->for_each_populated(slot.host, slot.size_bytes, [&](PageRange range) {
    slot.populated.push_back(range);
    bytes += static_cast<uint64_t>(range.end - range.begin);
  });
  return pages_of(bytes);
}

GuestMemory::Restored GuestMemory::restore(const PristinePages& pristine, uint64_t max_pages) {
  const ImageLayout& layout = image_->layout();
  host_writes_.note(low_.base() + layout.mailbox_gpa, layout.mailbox_bytes);
  uint64_t written = 0;
  bool wrote_tables = false;
  for (Slot& slot : slots_) {
    if (slot.is_tables) continue;
    written += find_written(slot);
    for_each_bit(slot.log, [&](uint64_t index) { wrote_tables |= is_page_table(slot.gpa + index * BC_PAGE_SIZE); });
  }
  if (wrote_tables) return Restored::Impossible;
  if (max_pages != UINT64_MAX) {
    host_writes_.for_each([&](const HostWrites::Range& range) { written += pages_of(static_cast<uint64_t>(range.end - range.begin)); });
    bool has_grown = std::ranges::any_of(regions_, [](const Region& region) { return region.tables.is_prepared(); });
    if (written > max_pages || has_grown || host_writes_.lost_count()) return Restored::TooMuch;
  }
  for (Slot& slot : slots_) {
    if (slot.is_tables) continue;
    bool is_large = slot.is_bulk ? !slot.populated.empty() : count_bits(slot.log) > kSmallSlotPages;
    if (host_writes_.lost_count() || (written > kMaxKeptPages && is_large)) {
      drop_slot(slot, pristine);
    } else if (slot.is_bulk) {
      clear_bulk(slot, pristine);
    } else {
      restore_slot(slot, pristine);
    }
  }
  restore_host_writes(pristine);
  take_back_growth();
  return Restored::Done;
}

void GuestMemory::restore_slot(Slot& slot, const PristinePages& pristine) {
  for_each_bit(slot.log, [&](uint64_t index) {
    restore_page(slot.host + index * BC_PAGE_SIZE, slot.gpa + index * BC_PAGE_SIZE, pristine);
  });
}

// Nobody runs or writes, so what PageScan did not find has no page, and a page that is made now or later is made of zeros. What it found stays, and would be
// looked through at each reset from now on; where the guest wrote little of it, KVM's log is the better way for the calls to come.
void GuestMemory::clear_bulk(Slot& slot, const PristinePages& pristine) {
  uint64_t pages = 0, written = 0;
  for (const PageRange& range : slot.populated) {
    for (uint8_t* at = range.begin; at < range.end; at += BC_PAGE_SIZE) {
      pages++;
      if (is_zero_page(at)) continue;
      written++;
      std::memset(at, 0, BC_PAGE_SIZE);
    }
  }
  copy_pristine(slot, pristine);
  if (pages == 0 || written > pages / kSparseShare) return;
  slot.populated.clear();
  slot.is_bulk = false;
  set_slot(slot, slot.size_bytes);
}

// Private pages go, and the file's or zeros are there again. KVM is told by the kernel (MMU notifier) and drops its mappings of them.
void GuestMemory::drop_slot(Slot& slot, const PristinePages& pristine) {
  if (madvise(slot.host, slot.size_bytes, MADV_DONTNEED) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot give the guest's memory back");
  if (!slot.is_bulk) clear_log(slot);
  copy_pristine(slot, pristine);
}

void GuestMemory::copy_pristine(const Slot& slot, const PristinePages& pristine) {
  for (size_t i = 0; i < pristine.count(); i++) {
    PageView page = pristine.at(i);
    if (page.gpa < slot.gpa || page.gpa - slot.gpa >= slot.size_bytes) continue;
    std::memcpy(slot.host + (page.gpa - slot.gpa), page.bytes, BC_PAGE_SIZE);
  }
}

void GuestMemory::restore_host_writes(const PristinePages& pristine) {
  host_writes_.for_each([&](const HostWrites::Range& range) {
    for (const Slot& slot : slots_) {
      if (slot.is_tables) continue;
      for (uint8_t* at = std::max(range.begin, slot.host); at < std::min(range.end, slot.host + slot.size_bytes); at += BC_PAGE_SIZE) {
        restore_page(at, slot.gpa + static_cast<uint64_t>(at - slot.host), pristine);
      }
    }
  });
  host_writes_.clear();
}

void GuestMemory::restore_page(uint8_t* at, uint64_t gpa, const PristinePages& pristine) {
  const uint8_t* bytes = pristine.find(gpa);
  if (bytes == nullptr) bytes = image_->page(gpa);
  if (bytes != nullptr) {
    std::memcpy(at, bytes, BC_PAGE_SIZE);
  } else {
    std::memset(at, 0, BC_PAGE_SIZE);
  }
}

// By now the image's tables lead nowhere any more that was grown; but KVM with shadow paging has not seen that, and would still let the guest through.
// Taking a slot away makes it drop all it knows of the guest's tables: the slot of the tables for growth, which are of no use any more. The grown
// memory itself, zeros again, keeps its slots for the next growth: no table entry leads there.
void GuestMemory::take_back_growth() {
  for (Region& region : regions_) {
    if (!region.tables.is_prepared()) continue;
    auto place = std::ranges::find_if(slots_, [&](const Slot& slot) { return slot.is_tables && slot.gpa == region.tables.gpa(); });
    if (place != slots_.end()) {
      set_slot(*place, 0);
      free_slot_ids_.push_back(place->id);
      slots_.erase(place);
    }
    region.tables.reset();
  }
  for (size_t i = 0; i < regions_.size(); i++) regions_[i].linear.set_size(image_->layout().memories[i].initial_bytes);
}

void GuestMemory::forget() {
  for (const Slot& slot : slots_) {
    if (madvise(slot.host, slot.size_bytes, MADV_DONTNEED) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot give the guest's memory back");
  }
  // What the host wrote before the VM had slots lies in the same mappings.
  slots_.clear();
  free_slot_ids_.clear();
  next_slot_ = 0;
  vm_fd_ = -1;
  host_writes_.clear();
  for (size_t i = 0; i < regions_.size(); i++) {
    Region& region = regions_[i];
    region.tables.reset();
    region.backed_bytes = image_->layout().memories[i].initial_bytes;
    region.linear.set_size(region.backed_bytes);
  }
}

}  // namespace barecell
