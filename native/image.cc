#include "image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include "abi.h"

namespace barecell {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

uint64_t round_up(uint64_t bytes) { return (bytes + BC_PAGE_SIZE - 1) / BC_PAGE_SIZE * BC_PAGE_SIZE; }

}  // namespace

Image::Image(ImageLayout layout, const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle)
    : layout_(std::move(layout)), file_(memfd_create("barecell-image", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  if (!file_) fail_errno("BARECELL_KVM_FAILED", "cannot create a memory file for the image (memfd_create)");
  place_segments(contents, bundle);
  for (size_t i = 0; i < layout_.segments.size(); i++) write(contents[i], layout_.segments[i].file_offset);
  write(bundle, bundle_offset_);
  if (ftruncate(fd(), static_cast<off_t>(file_bytes_)) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot size the image's memory file");
  // A private mapping of a file that shrinks raises SIGBUS in the host; sealed, it cannot.
  if (fcntl(fd(), F_ADD_SEALS, kSeals) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot seal the image's memory file");
}

Image::Image(ImageLayout layout, const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle, UniqueFd shared)
    : layout_(std::move(layout)), file_(std::move(shared)) {
  // It came through the start of this process, and is to go no further.
  if (fcntl(fd(), F_SETFD, FD_CLOEXEC) < 0) fail_errno("BARECELL_IMAGE_INVALID", "the image's memory file is not open");
  place_segments(contents, bundle);
  require_same(contents, bundle);
}

// Once it is sealed nobody can change it any more, so it is compared once.
void Image::require_same(const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle) {
  int seals = fcntl(fd(), F_GET_SEALS);
  struct stat status{};
  if (seals < 0 || (seals & kSeals) != kSeals || fstat(fd(), &status) < 0 || static_cast<uint64_t>(status.st_size) != file_bytes_) {
    throw Failure("BARECELL_IMAGE_INVALID", "the image's memory file is not sealed, or of another size than the image");
  }
  if (file_bytes_ == 0) return;
  view_ = Mapping::read_only(fd(), 0, file_bytes_, "the image");
  auto same = [&](std::span<const uint8_t> bytes, uint64_t offset) {
    const uint8_t* at = view_.base() + offset;
    // VMs map whole pages.
    return std::ranges::equal(bytes, std::span(at, bytes.size())) &&
           std::all_of(at + bytes.size(), at + round_up(bytes.size()), [](uint8_t byte) { return byte == 0; });
  };
  bool all_same = same(bundle, bundle_offset_);
  for (size_t i = 0; i < layout_.segments.size(); i++) all_same = all_same && same(contents[i], layout_.segments[i].file_offset);
  if (!all_same) throw Failure("BARECELL_IMAGE_INVALID", "the image's memory file holds something else than the image");
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
  if (written_by_boot_ == nullptr && made->count() <= kMaxKept) written_by_boot_ = made;
  return made;
}

std::shared_ptr<const PristinePages> Image::written_by_boot() const {
  std::lock_guard lock(mutex_);
  return written_by_boot_;
}

// Linear memories lie at 4 GiB and above, or have holes before them; in the file they follow each other, so that its size stays reasonable.
void Image::place_segments(const std::vector<std::span<const uint8_t>>& contents, std::span<const uint8_t> bundle) {
  std::vector<uint64_t> starts;
  uint64_t next = layout_.image_end_gpa;
  for (const LinearLayout& memory : layout_.memories) {
    starts.push_back(next);
    next += memory.initial_bytes;
  }
  uint64_t end = 0;
  for (size_t i = 0; i < layout_.segments.size(); i++) {
    ImageSegment& segment = layout_.segments[i];
    bool is_image = segment.memory == ImageSegment::kOfImage;
    segment.file_offset = is_image ? segment.gpa : starts[segment.memory] + (segment.gpa - layout_.memories[segment.memory].gpa);
    end = std::max(end, round_up(segment.file_offset + contents[i].size()));
  }
  bundle_offset_ = end;
  bundle_bytes_ = bundle.size();
  file_bytes_ = round_up(end + bundle_bytes_);
}

}  // namespace barecell
