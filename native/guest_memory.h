// The memory of one VM: host mappings, memory slots, growth of linear memories.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "growth_tables.h"
#include "host_writes.h"
#include "image.h"
#include "linear_memory.h"
#include "owners.h"
#include "page_scan.h"

namespace barecell {

class GuestMemory {
 public:
  // `max_linear_bytes`: how far memory.grow may go, all linear memories together.
  GuestMemory(std::shared_ptr<const Image> image, uint64_t max_linear_bytes);

  // Maps the image, if that is not done yet. Before it there is no memory: whatever is asked for lies outside.
  void map();

  // Gives the pages that an earlier boot of the image wrote memory of their own, which the guest would wait for at its first touch of each. A wish: where
  // nothing is known, or the kernel is older than Linux 5.14, it is the guest that waits.
  void populate() noexcept;

  // Gives the mappings to a VM as memory slots. `logs`: whether KVM is to note what the guest writes (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 is on).
  void register_slots(int vm_fd, bool logs);

  // A linear memory by its index; one of no bytes if there is none of that index.
  LinearMemory& linear(uint32_t index) noexcept { return index < regions_.size() ? regions_[index].linear : no_memory_; }

  // Host address of guest-physical memory of the image (not linear memory), or null if any byte lies outside.
  uint8_t* image_memory(uint64_t gpa, uint64_t size_bytes) noexcept;

  // How far memory.grow may go from now on, all linear memories together; never further than what the constructor was told.
  void set_limit(uint64_t max_linear_bytes) noexcept { limit_bytes_ = max_linear_bytes; }
  // How often growth was refused.
  uint64_t refusals() const noexcept { return refusals_; }

  // memory.grow: more pages of 64 KiB. Returns the size before in pages, or UINT64_MAX where a limit refuses, or there is no such memory.
  uint64_t grow(uint32_t index, uint64_t pages);

  // The host is about to write to memory of the image by itself.
  void note_host_write(uint8_t* at, size_t count) noexcept { host_writes_.note(at, count); }

  // ---- Reset: memory_reset.cc. No vCPU may run, and nobody write.

  // What has been written so far, for restore(). Null if KVM keeps no log.
  std::shared_ptr<const PristinePages> capture();

  enum class Restored {
    Done,
    // More than `max_pages` to copy, or memory has grown: nothing was done.
    TooMuch,
    // Only a new VM will do: the guest's own page tables were written by the guest, which no image of ours does.
    Impossible,
  };
  // Every page that guest or host could have written since, and what has grown.
  Restored restore(const PristinePages& pristine, uint64_t max_pages = UINT64_MAX);

  // As if new, for another VM: the old one must be gone.
  void forget();

  // Guest-physical ranges with memory behind them. Between the image and linear memory 0, in one slot, there may be none.
  template <typename Visit>
  void for_each_range(Visit visit) const {
    uint64_t image_end = image_->layout().image_end_gpa;
    for (const Slot& slot : slots_) {
      uint64_t end = slot.gpa + slot.size_bytes;
      if (slot.gpa >= image_end || end <= image_end) {
        visit(slot.gpa, slot.host, slot.size_bytes);
        continue;
      }
      uint64_t linear = image_->layout().memories[0].gpa;
      visit(slot.gpa, slot.host, image_end - slot.gpa);
      visit(linear, slot.host + (linear - slot.gpa), end - linear);
    }
  }

 private:
  struct Slot {
    uint32_t id = 0;
    uint64_t gpa = 0;
    uint8_t* host = nullptr;
    uint64_t size_bytes = 0;
    bool is_tables = false;  // of growth
    // Large memory in which the image has nothing, and of which KVM keeps no log: the kernel may use large pages for it (see is_bulk_worthwhile()). A reset may
    // find that a log is the better way, and turn it on.
    bool is_bulk = false;
    // Of a reset: one bit for each page, as KVM writes it; or of bulk memory where there are pages.
    std::vector<uint64_t> log;
    std::vector<PageRange> populated;
  };
  struct Region {
    LinearMemory linear;
    // Address space of its own, unless it follows the image in low_.
    Mapping own;
    uint8_t* base = nullptr;
    uint64_t reserved_bytes = 0;
    uint64_t backed_bytes = 0;  // has memory and a slot
    // Guest-virtual address of its first byte, and guest-physical address that the first byte would have where it has grown.
    uint64_t guest_base = 0;
    uint64_t growth_gpa = 0;
    GrowthTables tables;
  };

  void reserve();
  void map_segments();
  void populate_pages(uint64_t gpa, uint64_t size_bytes) noexcept;
  Slot& add_slot(uint64_t gpa, uint8_t* host, uint64_t size_bytes, bool is_bulk = false);
  uint64_t bulk_start(uint32_t index) noexcept;
  bool is_bulk_worthwhile(uint64_t from, uint64_t end) noexcept;
  void set_slot(const Slot& slot, uint64_t size_bytes);
  void back_growth(Region& region, uint64_t until);
  bool follows_image() const noexcept;

  uint64_t find_written(Slot& slot);
  void read_log(Slot& slot);
  void clear_log(Slot& slot);
  bool is_page_table(uint64_t gpa) const noexcept;
  bool is_scratch(uint64_t gpa) const noexcept;
  void restore_slot(Slot& slot, const PristinePages& pristine);
  void clear_bulk(Slot& slot, const PristinePages& pristine);
  void drop_slot(Slot& slot, const PristinePages& pristine);
  void copy_pristine(const Slot& slot, const PristinePages& pristine);
  void restore_host_writes(const PristinePages& pristine);
  void restore_page(uint8_t* at, uint64_t gpa, const PristinePages& pristine);
  void take_back_growth();

  std::shared_ptr<const Image> image_;
  uint64_t max_linear_bytes_;
  uint64_t limit_bytes_ = UINT64_MAX;
  uint64_t refusals_ = 0;
  Mapping low_;  // guest-physical 0 up to the end of the image, and linear memory 0 if it follows
  std::deque<Region> regions_;
  LinearMemory no_memory_;
  HostWrites host_writes_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slot_ids_;
  uint32_t next_slot_ = 0;
  bool logs_ = false;
  std::shared_ptr<const PageScan> page_scan_;  // from when there is bulk memory
  int vm_fd_ = -1;
};

}  // namespace barecell
