#include "growth_tables.h"

#include "abi.h"

namespace barecell {
namespace {

// Entry bits: Intel SDM vol. 3A, 4.5; accessed and dirty set beforehand, as in src/image/page-tables.ts.
constexpr uint64_t kTableEntry = 0x27;                       // present, writable, user, accessed
constexpr uint64_t kDataEntry = 0x67 | (uint64_t{1} << 63);  // and dirty, no-execute
constexpr uint64_t kLargeEntry = kDataEntry | 0x80;
constexpr uint64_t kAddressMask = 0x000ffffffffff000;

// Index of an address in the table of a level: 1 for page tables, 4 for the root (SDM vol. 3A, figure 4-8).
unsigned index_at(uint64_t address, unsigned level) { return static_cast<unsigned>(address >> (3 + 9 * level)) % 512; }

}  // namespace

void GrowthTables::prepare(uint64_t gpa, uint64_t reach_bytes) {
  // A page for each 2 MiB and each 1 GiB, and one for each end and each upper level.
  uint64_t pages = reach_bytes / BC_LARGE_PAGE_SIZE + reach_bytes / (uint64_t{1} << 30) + 5;
  tables_ = Mapping::reserve(pages * BC_PAGE_SIZE, BC_PAGE_SIZE);
  if (mprotect(tables_.base(), tables_.size_bytes(), PROT_READ | PROT_WRITE) < 0) {
    fail_errno("BARECELL_KVM_FAILED", "cannot get memory for the guest's page tables");
  }
  gpa_ = gpa;
}

void GrowthTables::map(uint64_t root_gpa, const TableLookup& lookup, uint64_t from, uint64_t until, uint64_t gpa_offset) {
  uint64_t* root = table_at(lookup, root_gpa);
  for (uint64_t at = from; at < until;) {
    uint64_t* pointers = child_table(lookup, root, index_at(at, 4));
    uint64_t* directory = child_table(lookup, pointers, index_at(at, 3));
    unsigned index = index_at(at, 2);
    uint64_t gpa = at + gpa_offset;
    // Only entries that were not present are set: a host must never take a present one away (shadow paging would not see it).
    if (at % BC_LARGE_PAGE_SIZE == 0 && until - at >= BC_LARGE_PAGE_SIZE && directory[index] == 0) {
      directory[index] = gpa | kLargeEntry;
      at += BC_LARGE_PAGE_SIZE;
    } else {
      child_table(lookup, directory, index)[index_at(at, 1)] = gpa | kDataEntry;
      at += BC_PAGE_SIZE;
    }
  }
}

// The tables are out of the tenant's reach, but an image is a file from somewhere, and its ring 0 code could have written here: an entry that
// leads outside the tables is refused.
uint64_t* GrowthTables::table_at(const TableLookup& lookup, uint64_t gpa) {
  uint8_t* table = gpa % BC_PAGE_SIZE == 0 ? lookup(gpa) : nullptr;
  if (table != nullptr) return reinterpret_cast<uint64_t*>(table);
  throw Failure("BARECELL_IMAGE_INVALID", "the guest's page tables lead outside of the image");
}

uint64_t* GrowthTables::child_table(const TableLookup& lookup, uint64_t* table, unsigned index) {
  uint64_t entry = table[index];
  if (entry != 0) return table_at(lookup, entry & kAddressMask);
  if (used_ + BC_PAGE_SIZE > tables_.size_bytes()) throw Failure("BARECELL_INTERNAL", "no page-table pages left for growth");
  uint64_t gpa = gpa_ + used_;
  used_ += BC_PAGE_SIZE;
  table[index] = gpa | kTableEntry;
  return table_at(lookup, gpa);
}

}  // namespace barecell
