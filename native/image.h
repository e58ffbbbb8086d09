// An image as the addon holds it: sealed bytes and the addresses that the loader in TypeScript has checked.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "owners.h"

namespace barecell {

// A run of guest-physical memory. What lies beyond file_bytes starts as zeros.
struct ImageSegment {
  uint64_t gpa = 0;
  uint64_t file_bytes = 0;
  uint64_t memory_bytes = 0;
};

struct ImageLayout {
  std::vector<ImageSegment> segments;  // ascending by gpa, page-aligned
  uint64_t boot_entry = 0;
  uint64_t call_entry = 0;
  uint64_t syscall_entry = 0;
  uint64_t mailbox_gpa = 0;
  uint64_t mailbox_bytes = 0;
  uint64_t exception_stacks_gpa = 0;
  uint64_t boot_pml4_gpa = 0;
  uint64_t run_pml4_gpa = 0;
  uint64_t idt = 0;
  uint64_t tss_limit = 0;
  uint64_t stack_bytes = 0;
  uint64_t stack_gpa = 0;
  uint64_t linear_gpa = 0;
  uint64_t linear_bytes = 0;
  uint64_t image_end_gpa = 0;  // end of all but linear memory
  uint32_t import_count = 0;
  bool needs_avx = false;
};

// The segments' bytes in a sealed memory file, at offsets equal to their guest-physical addresses (linear memory moved down behind the
// image), so that all VMs of the image map the same clean pages and nobody can change or truncate them under a running VM.
class Image {
 public:
  // `contents` holds, for each segment, its file_bytes.
  Image(ImageLayout layout, const std::vector<std::span<const uint8_t>>& contents);
  const ImageLayout& layout() const noexcept { return layout_; }
  int fd() const noexcept { return file_.get(); }
  uint64_t file_offset(const ImageSegment& segment) const noexcept;

 private:
  ImageLayout layout_;
  UniqueFd file_;
};

}  // namespace barecell
