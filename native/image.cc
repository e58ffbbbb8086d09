#include "image.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>

#include "abi.h"

namespace barecell {
namespace {

uint64_t round_up(uint64_t bytes) { return (bytes + BC_PAGE_SIZE - 1) / BC_PAGE_SIZE * BC_PAGE_SIZE; }

}  // namespace

Image::Image(ImageLayout layout, const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle)
    : layout_(std::move(layout)), file_(memfd_create("barecell-image", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  if (!file_) fail_errno("BARECELL_KVM_FAILED", "cannot create a memory file for the image (memfd_create)");
  place_segments();
  uint64_t end = 0;
  for (size_t i = 0; i < layout_.segments.size(); i++) {
    const ImageSegment& segment = layout_.segments[i];
    end = std::max(end, round_up(segment.file_offset + segment.file_bytes));
    write(contents[i], segment.file_offset);
  }
  bundle_offset_ = end;
  bundle_bytes_ = bundle.size();
  write(bundle, bundle_offset_);
  end = round_up(end + bundle_bytes_);
  if (ftruncate(fd(), static_cast<off_t>(end)) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot size the image's memory file");
  file_bytes_ = end;
  // A private mapping of a file that shrinks raises SIGBUS in the host; sealed, it cannot.
  if (fcntl(fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
    fail_errno("BARECELL_KVM_FAILED", "cannot seal the image's memory file");
  }
}

void Image::write(std::span<const uint8_t> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t written = pwrite(fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_errno("BARECELL_KVM_FAILED", "cannot hold the image in memory");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
}

const uint8_t* Image::page(uint64_t gpa) const {
  auto after = std::ranges::upper_bound(layout_.segments, gpa, {}, &ImageSegment::gpa);
  if (after == layout_.segments.begin()) return nullptr;
  const ImageSegment& segment = *std::prev(after);
  if (gpa - segment.gpa >= segment.file_bytes) return nullptr;
  std::lock_guard lock(mutex_);
  if (view_.base() == nullptr) view_ = Mapping::read_only(fd(), 0, file_bytes_, "the image");
  return view_.base() + segment.file_offset + (gpa - segment.gpa);
}

std::shared_ptr<const PristinePages> Image::share(const std::vector<PageView>& pages) const {
  std::lock_guard lock(mutex_);
  std::erase_if(shared_, [](const std::weak_ptr<const PristinePages>& known) { return known.expired(); });
  for (const std::weak_ptr<const PristinePages>& known : shared_) {
    std::shared_ptr<const PristinePages> live = known.lock();
    if (live && live->equals(pages)) return live;
  }
  auto made = std::make_shared<const PristinePages>(pages);
  // VMs that are all different (each with other grants) need not be compared with all the others.
  if (shared_.size() < kMaxShared) shared_.push_back(made);
  return made;
}

// Linear memories lie at 4 GiB and above, or have holes before them; in the file they follow each other, so that its size stays reasonable.
void Image::place_segments() {
  std::vector<uint64_t> starts;
  uint64_t next = layout_.image_end_gpa;
  for (const LinearLayout& memory : layout_.memories) {
    starts.push_back(next);
    next += memory.initial_bytes;
  }
  for (ImageSegment& segment : layout_.segments) {
    bool is_image = segment.memory == ImageSegment::kOfImage;
    segment.file_offset = is_image ? segment.gpa : starts[segment.memory] + (segment.gpa - layout_.memories[segment.memory].gpa);
  }
}

}  // namespace barecell
