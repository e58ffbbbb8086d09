#include "bundle_directory.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "host_io.h"
#include "rights.h"

namespace barecell::wasi {
namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<int64_t>::max();
// No device of the host, and no file system in memory, has this number.
constexpr uint64_t kDevice = uint64_t{3} << 62;
constexpr Rights kWriteRights = kRightFdWrite | kRightFdAllocate | kRightFdFilestatSetSize;

Filestat stat_of(const Bundle& bundle, const Bundle::Node& node) noexcept {
  Filestat result{};
  result.dev = kDevice;
  result.ino = uint64_t{bundle.index_of(node)} + 1;
  result.filetype = static_cast<uint8_t>(node.type);
  result.nlink = 1;
  result.size = node.size;
  result.atim = result.mtim = result.ctim = Bundle::kTimeNs;
  return result;
}

}  // namespace

// Writing does not apply to it. path_open says EROFS to whoever asks for it.
Rights BundleFile::base_rights() const noexcept { return kFileRights & ~kWriteRights; }

Errno BundleFile::stat(Filestat* to) noexcept {
  *to = stat_of(*bundle_, node_);
  return Errno::Success;
}

Transfer BundleFile::read(GuestBuffers& buffers, HostCall& call) {
  Transfer result = read_at(buffers, position_, call);
  if (result.error == Errno::Success) position_ += result.bytes;
  return result;
}

Peeked BundleFile::peek(std::span<uint8_t> to) noexcept {
  uint64_t left = readable_bytes();
  auto bytes = static_cast<uint32_t>(std::min<uint64_t>(left, to.size()));
  if (bytes > 0) std::memcpy(to.data(), node_.contents.data() + position_, bytes);
  return {bytes, bytes == left};
}

Transfer BundleFile::read_at(GuestBuffers& buffers, uint64_t offset, HostCall& call) {
  if (offset > kMaxOffset) return failed_with(Errno::Inval);
  Transfer result;
  while (buffers.left() > 0 && offset < node_.contents.size()) {
    if (result.bytes > 0 && wait_ready(call, -1, 0, false) == Gate::Stop) return {HostCallAction::Interrupted};
    // One piece between two looks at whether to stop, in however many buffers it lies.
    for (uint64_t piece = std::min({kPieceBytes, buffers.left(), node_.contents.size() - offset}); piece > 0;) {
      Iovec to = buffers.front();
      uint64_t count = std::min<uint64_t>(to.buf_len, piece);
      if (!call.memory.write(to.buf, node_.contents.data() + offset, count)) return failed_with(Errno::Fault);
      buffers.advance(count);
      offset += count;
      piece -= count;
      result.bytes += count;
    }
  }
  return result;
}

Errno BundleFile::seek(int64_t offset, Whence whence, uint64_t* result) noexcept {
  uint64_t base = whence == Whence::Set ? 0 : whence == Whence::Current ? position_ : node_.size;
  // Both are below 2^63, so neither sum can wrap.
  int64_t from = static_cast<int64_t>(base);
  if (offset < 0 ? from + offset < 0 : static_cast<uint64_t>(offset) > kMaxOffset - base) {
    return offset < 0 ? Errno::Inval : Errno::Overflow;
  }
  position_ = static_cast<uint64_t>(from + offset);
  *result = position_;
  return Errno::Success;
}

uint64_t BundleFile::readable_bytes() noexcept { return position_ < node_.size ? node_.size - position_ : 0; }

std::shared_ptr<BundleDirectory> BundleDirectory::make(std::shared_ptr<const Bundle> bundle, uint32_t root) {
  const Bundle::Node& node = bundle->node(root);
  return std::make_shared<BundleDirectory>(std::move(bundle), node);
}

Rights BundleDirectory::base_rights() const noexcept { return kDirectoryRights; }
Rights BundleDirectory::inheriting_rights() const noexcept { return kInheritedRights; }

Errno BundleDirectory::stat(Filestat* to) noexcept {
  *to = stat_of(*bundle_, node_);
  return Errno::Success;
}

// A descriptor is a wall: `..` does not lead above the directory that it stands for.
Errno BundleDirectory::resolve(std::string_view path, const Bundle::Node** to) const noexcept {
  if (path.starts_with('/')) return Errno::Notcapable;
  const Bundle::Node* at = &node_;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    std::string_view name = path.substr(0, end);
    path.remove_prefix(end);
    // What a slash follows, at the end too, is a directory.
    bool must_be_directory = !path.empty();
    path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
    if (name == "..") {
      if (at == &node_) return Errno::Notcapable;
      at = &bundle_->node(at->parent);
    } else if (name != ".") {
      if (name.size() > Bundle::kMaxNameBytes) return Errno::Nametoolong;
      at = bundle_->find(*at, name);
      if (at == nullptr) return Errno::Noent;
      if (must_be_directory && at->type != Filetype::Directory) return Errno::Notdir;
    }
  }
  *to = at;
  return Errno::Success;
}

Errno BundleDirectory::open(const std::string& path, const OpenRequest& request, std::shared_ptr<Descriptor>* to) {
  const Bundle::Node* node = nullptr;
  Errno error = resolve(path, &node);
  if (error == Errno::Noent && request.create) return Errno::Rofs;
  if (error != Errno::Success) return error;
  if (request.create && request.exclusive) return Errno::Exist;
  if (node->type == Filetype::Directory) {
    if (request.create || request.truncate || request.write) return Errno::Isdir;
    *to = std::make_shared<BundleDirectory>(bundle_, *node);
    return Errno::Success;
  }
  if (request.directory) return Errno::Notdir;
  if (request.write || request.truncate) return Errno::Rofs;
  auto file = std::make_shared<BundleFile>(bundle_, *node);
  file->set_flags(request.flags);
  *to = std::move(file);
  return Errno::Success;
}

Errno BundleDirectory::stat_path(const std::string& path, bool, Filestat* to) {
  const Bundle::Node* node = nullptr;
  Errno error = resolve(path, &node);
  if (error == Errno::Success) *to = stat_of(*bundle_, *node);
  return error;
}

Errno BundleDirectory::read_link(const std::string& path, std::string*) {
  const Bundle::Node* node = nullptr;
  Errno error = resolve(path, &node);
  return error == Errno::Success ? Errno::Inval : error;
}

// A cookie is the place of the entry, and the bundle never changes.
Transfer BundleDirectory::list(uint64_t cookie, EntrySink& sink, HostCall& call) {
  if (cookie == 0 && !sink.take(1, uint64_t{bundle_->index_of(node_)} + 1, Filetype::Directory, ".")) return {};
  if (cookie <= 1 && !sink.take(2, 0, Filetype::Directory, "..")) return {};
  unsigned count = 0;
  for (uint64_t place = std::max<uint64_t>(cookie, 2) - 2; place < node_.size; place++) {
    if (++count % 1024 == 0 && wait_ready(call, -1, 0, false) == Gate::Stop) return {HostCallAction::Interrupted};
    uint32_t index = node_.first + static_cast<uint32_t>(place);
    const Bundle::Node& node = bundle_->node(index);
    if (!sink.take(place + 3, uint64_t{index} + 1, node.type, node.name)) break;
  }
  return {};
}

}  // namespace barecell::wasi
