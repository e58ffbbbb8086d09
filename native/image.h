// An image as the addon holds it: sealed bytes and the addresses that the loader in TypeScript has checked.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "owners.h"
#include "pristine.h"

namespace barecell {

// A run of guest-physical memory. What lies beyond file_bytes starts as zeros.
struct ImageSegment {
  static constexpr uint32_t kOfImage = UINT32_MAX;
  uint64_t gpa = 0;
  uint64_t file_bytes = 0;
  uint64_t memory_bytes = 0;
  // The linear memory that it is a part of, or kOfImage.
  uint32_t memory = kOfImage;
  // In the image's memory file; set by Image.
  uint64_t file_offset = 0;
};

// A linear memory as the image has it. Its guest-virtual address follows from its index (guest-stubs/abi.h).
struct LinearLayout {
  uint64_t gpa = 0;  // of what it starts with; for memory 0, which may start empty, 0 then
  uint64_t initial_bytes = 0;
  uint64_t max_bytes = 0;  // that the module declares
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
  std::vector<LinearLayout> memories;
  uint64_t image_end_gpa = 0;  // end of all but linear memory
  // One for each import: the linear memory that its pointers point into, or kNoMemory.
  static constexpr uint32_t kNoMemory = UINT32_MAX;
  std::vector<uint32_t> import_memories;
  bool needs_avx = false;
};

// The segments' bytes in a sealed memory file, the image's own at offsets equal to their guest-physical addresses and the linear memories behind, then the bundle,
// so that all VMs of the image map the same clean pages and nobody can change or truncate them under a running VM.
class Image {
 public:
  // `contents` holds, for each segment, its file_bytes. `bundle` is no part of any VM's memory; empty: there is none.
  Image(ImageLayout layout, const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle);
  // The memory file that another process made of the same image, so that the VMs of both share its pages. It has to be sealed, and hold just these bytes.
  Image(ImageLayout layout, const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle, UniqueFd shared);
  const ImageLayout& layout() const noexcept { return layout_; }
  int fd() const noexcept { return file_.get(); }
  // Only if there is one. It stands until the image and all that was mapped of it are gone.
  Mapping map_bundle() const { return Mapping::read_only(fd(), bundle_offset_, bundle_bytes_, "the image's bundle of files"); }

  // What a page starts with; null: zeros. From any thread.
  const uint8_t* page(uint64_t gpa) const;

  // The pages that an instantiation wrote, as an object that VMs with the same ones share. From any thread.
  std::shared_ptr<const PristinePages> share(const std::vector<PageView>& pages) const;
  // Those of the first instantiation, from when that was; null if it wrote more than a few. From any thread.
  std::shared_ptr<const PristinePages> written_by_boot() const;

 private:
  static constexpr size_t kMaxShared = 8;
  // 256 KiB for an image of which no VM lives.
  static constexpr size_t kMaxKept = 64;

  void place_segments(const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle);
  void require_same(const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle);
  void write(std::span<const uint8_t> bytes, uint64_t offset);

  ImageLayout layout_;
  UniqueFd file_;
  uint64_t bundle_offset_ = 0;
  size_t bundle_bytes_ = 0;
  uint64_t file_bytes_ = 0;
  mutable std::mutex mutex_;
  mutable Mapping view_;  // made when a page is first asked for
  mutable std::vector<std::weak_ptr<const PristinePages>> shared_;
  mutable std::shared_ptr<const PristinePages> written_by_boot_;
};

}  // namespace barecell
