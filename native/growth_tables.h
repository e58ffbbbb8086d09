// Page tables for what memory.grow adds to one linear memory.
#pragma once

#include <cstdint>
#include <functional>

#include "owners.h"

namespace barecell {

class GrowthTables {
 public:
  // Finds a page of tables by guest-physical address, the image's or that of any linear memory's growth (they share upper levels); null where there
  // is none.
  using TableLookup = std::function<uint8_t*(uint64_t gpa)>;

  // Address space for all tables that `reach_bytes` of growth can need, at `gpa` for the guest.
  void prepare(uint64_t gpa, uint64_t reach_bytes);
  // Gives the tables back. Their slot must be gone.
  void reset() noexcept {
    tables_.reset();
    gpa_ = used_ = 0;
  }
  bool is_prepared() const noexcept { return tables_.base() != nullptr; }
  uint64_t gpa() const noexcept { return gpa_; }
  uint8_t* base() const noexcept { return tables_.base(); }
  uint64_t size_bytes() const noexcept { return tables_.size_bytes(); }
  // The page at a guest-physical address, or null if it is not one of these.
  uint8_t* page(uint64_t gpa) const noexcept { return gpa >= gpa_ && gpa - gpa_ < size_bytes() ? base() + (gpa - gpa_) : nullptr; }

  // Sets entries, from not present to present, for [from, until) of guest-virtual space, whose guest-physical address is `from + gpa_offset`.
  void map(uint64_t root_gpa, const TableLookup& lookup, uint64_t from, uint64_t until, uint64_t gpa_offset);

 private:
  static uint64_t* table_at(const TableLookup& lookup, uint64_t gpa);
  uint64_t* child_table(const TableLookup& lookup, uint64_t* table, unsigned index);

  Mapping tables_;
  uint64_t gpa_ = 0;
  uint64_t used_ = 0;
};

}  // namespace barecell
