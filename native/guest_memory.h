// The memory of one VM: host mappings, memory slots, growth of linear memory.
#pragma once

#include <cstdint>
#include <memory>

#include "image.h"
#include "linear_memory.h"
#include "owners.h"

namespace barecell {

class GuestMemory {
 public:
  // Maps the image, without a VM yet. `max_linear_bytes`: how far memory.grow may go.
  GuestMemory(std::shared_ptr<const Image> image, uint64_t max_linear_bytes);

  // Gives the mappings to a VM as memory slots.
  void register_slots(int vm_fd);

  LinearMemory& linear() noexcept { return linear_; }
  const LinearMemory& linear() const noexcept { return linear_; }

  // Host address of guest-physical memory of the image (not linear memory), or null if any byte lies outside.
  uint8_t* image_memory(uint64_t gpa, uint64_t size_bytes) noexcept;

  // memory.grow: more pages of 64 KiB. Returns the size before in pages, or UINT64_MAX where the limit refuses.
  uint64_t grow(uint64_t pages);

 private:
  void map_segments();
  void add_slot(uint64_t gpa, uint8_t* host, uint64_t size_bytes);
  void back_growth(uint64_t until);
  void map_grown(uint64_t from, uint64_t until);
  uint64_t* table_at(uint64_t gpa);
  uint64_t* child_table(uint64_t* table, unsigned index);

  std::shared_ptr<const Image> image_;
  uint64_t max_linear_bytes_;
  Mapping low_;         // guest-physical 0 up to the end of the image, and linear memory if it follows
  Mapping high_linear_; // linear memory that lies at 4 GiB
  Mapping growth_tables_;
  uint64_t growth_tables_used_ = 0;
  uint8_t* linear_base_ = nullptr;
  uint64_t backed_bytes_ = 0;  // of linear memory: has memory and a slot
  uint32_t next_slot_ = 0;
  int vm_fd_ = -1;
  LinearMemory linear_;
};

}  // namespace barecell
