#include "image.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "abi.h"

namespace barecell {

Image::Image(ImageLayout layout, const std::vector<std::span<const uint8_t>>& contents)
    : layout_(std::move(layout)), file_(memfd_create("barecell-image", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  if (!file_) fail_errno("BARECELL_KVM_FAILED", "cannot create a memory file for the image (memfd_create)");
  uint64_t end = 0;
  for (size_t i = 0; i < layout_.segments.size(); i++) {
    const ImageSegment& segment = layout_.segments[i];
    std::span<const uint8_t> bytes = contents[i];
    uint64_t offset = file_offset(segment);
    end = std::max(end, (offset + segment.file_bytes + BC_PAGE_SIZE - 1) / BC_PAGE_SIZE * BC_PAGE_SIZE);
    while (!bytes.empty()) {
      ssize_t written = pwrite(fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail_errno("BARECELL_KVM_FAILED", "cannot hold the image in memory");
      bytes = bytes.subspan(static_cast<size_t>(written));
      offset += static_cast<uint64_t>(written);
    }
  }
  if (ftruncate(fd(), static_cast<off_t>(end)) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot size the image's memory file");
  // A private mapping of a file that shrinks raises SIGBUS in the host; sealed, it cannot.
  if (fcntl(fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
    fail_errno("BARECELL_KVM_FAILED", "cannot seal the image's memory file");
  }
}

uint64_t Image::file_offset(const ImageSegment& segment) const noexcept {
  // Linear memory may lie at 4 GiB; its pages follow the image's own in the file, so that the file's size stays reasonable.
  if (layout_.linear_bytes > 0 && segment.gpa >= layout_.linear_gpa) return layout_.image_end_gpa + (segment.gpa - layout_.linear_gpa);
  return segment.gpa;
}

}  // namespace barecell
