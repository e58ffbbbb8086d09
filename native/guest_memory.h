// The memory of one VM: host mappings, memory slots, growth of linear memories.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "growth_tables.h"
#include "image.h"
#include "linear_memory.h"
#include "owners.h"

namespace barecell {

class GuestMemory {
 public:
  // Maps the image, without a VM yet. `max_linear_bytes`: how far memory.grow may go, all linear memories together.
  GuestMemory(std::shared_ptr<const Image> image, uint64_t max_linear_bytes);

  // Gives the mappings to a VM as memory slots.
  void register_slots(int vm_fd);

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

 private:
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
  void add_slot(uint64_t gpa, uint8_t* host, uint64_t size_bytes);
  void back_growth(Region& region, uint64_t until);
  bool follows_image() const noexcept;

  std::shared_ptr<const Image> image_;
  uint64_t max_linear_bytes_;
  uint64_t limit_bytes_ = UINT64_MAX;
  uint64_t refusals_ = 0;
  Mapping low_;  // guest-physical 0 up to the end of the image, and linear memory 0 if it follows
  std::deque<Region> regions_;
  LinearMemory no_memory_;
  uint32_t next_slot_ = 0;
  int vm_fd_ = -1;
};

}  // namespace barecell
