#include "bundle.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "../failure.h"
#include "guest_path.h"

namespace barecell::wasi {
namespace {

// As they lie in the image; little-endian, as all that runs this is.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t roots;
  uint32_t nodes;
  uint32_t name_bytes;
  uint64_t content_bytes;
};
static_assert(sizeof(Header) == 32);

struct PackedNode {
  uint64_t size;
  uint32_t name_bytes;
  uint32_t kind;
};
static_assert(sizeof(PackedNode) == 16);

constexpr char kMagic[] = {'b', 'c', 'b', 'u', 'n', 'd', 'l', 'e'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kDirectory = 0, kFile = 1;

void require(bool condition, const char* what) {
  if (!condition) throw Failure("BARECELL_IMAGE_INVALID", std::string("the image's bundle of files is damaged: ") + what);
}

std::string_view as_text(std::span<const uint8_t> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// The next `bytes` of what is left.
std::span<const uint8_t> take(std::span<const uint8_t>& from, uint64_t bytes, const char* what) {
  require(bytes <= from.size(), what);
  std::span<const uint8_t> taken = from.first(static_cast<size_t>(bytes));
  from = from.subspan(static_cast<size_t>(bytes));
  return taken;
}

}  // namespace

Bundle::Bundle(std::span<const uint8_t> bytes, std::shared_ptr<const void> keeper) : keeper_(std::move(keeper)) {
  Header header;
  std::span<const uint8_t> rest = bytes;
  std::memcpy(&header, take(rest, sizeof header, "its header is cut off").data(), sizeof header);
  require(std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 && header.version == kVersion, "it has another format");
  require(header.nodes <= kMaxNodes && header.roots >= 1 && header.roots <= std::min(header.nodes, kMaxRoots), "it has too many files, or none");
  root_count_ = header.roots;
  std::span<const uint8_t> table = take(rest, uint64_t{header.nodes} * sizeof(PackedNode), "its table is cut off");
  std::span<const uint8_t> names = take(rest, header.name_bytes, "its names are cut off");
  std::span<const uint8_t> contents = take(rest, header.content_bytes, "its contents are cut off");
  require(rest.empty(), "something follows it");
  read_nodes(table, names, contents);
  link_entries();
  check_names();
}

// Names and contents stand in the order of the nodes, without anything between them: no two can overlap, and all of it is used.
void Bundle::read_nodes(std::span<const uint8_t> table, std::span<const uint8_t> names, std::span<const uint8_t> contents) {
  nodes_.reserve(table.size() / sizeof(PackedNode));
  while (!table.empty()) {
    PackedNode packed;
    std::memcpy(&packed, take(table, sizeof packed, "its table is cut off").data(), sizeof packed);
    require(packed.kind == kDirectory || packed.kind == kFile, "it holds what is neither a file nor a directory");
    Node node{};
    node.type = packed.kind == kFile ? Filetype::RegularFile : Filetype::Directory;
    node.size = packed.size;
    node.name = as_text(take(names, packed.name_bytes, "its names are cut off"));
    if (packed.kind == kFile) node.contents = take(contents, packed.size, "its contents are cut off");
    nodes_.push_back(node);
  }
  require(names.empty() && contents.empty(), "it has bytes that are of no file");
}

// The entries of the first directory follow the roots, then those of the second, and so on: each node but a root is an entry of exactly
// one directory, which comes before it, so there are no circles.
void Bundle::link_entries() {
  uint32_t next = root_count_;
  for (uint32_t i = 0; i < nodes_.size(); i++) {
    Node& node = nodes_[i];
    if (i < root_count_) {
      require(node.type == Filetype::Directory, "a root is no directory");
      node.parent = i;
    }
    require(i < next, "an entry is of no directory");
    if (node.type != Filetype::Directory) continue;
    require(node.size <= nodes_.size() - next, "a directory has more entries than there are");
    require(node.depth < kMaxDepth || node.size == 0, "its directories are too deep");
    node.first = next;
    next += static_cast<uint32_t>(node.size);
    for (uint32_t entry = node.first; entry < next; entry++) {
      nodes_[entry].parent = i;
      nodes_[entry].depth = node.depth + 1;
    }
  }
  require(next == nodes_.size(), "an entry is of no directory");
}

void Bundle::check_names() const {
  for (uint32_t i = 0; i < nodes_.size(); i++) {
    std::string_view name = nodes_[i].name;
    bool is_root = i < root_count_;
    require(!name.empty() && is_utf8(name) && name.find('\0') == std::string_view::npos, "a name is not UTF-8, or has a NUL");
    if (is_root) {
      require(name.size() < kMaxPathBytes, "a name is too long");
      for (uint32_t other = 0; other < i; other++) require(nodes_[other].name != name, "two directories have one path");
      continue;
    }
    require(name.size() <= kMaxNameBytes, "a name is too long");
    require(name != "." && name != ".." && name.find('/') == std::string_view::npos, "a name is a path");
    // Strictly: so no name is there twice, and it can be found by halves.
    bool is_first = nodes_[nodes_[i].parent].first == i;
    require(is_first || nodes_[i - 1].name < name, "its names are not in order");
  }
}

const Bundle::Node* Bundle::find(const Node& directory, std::string_view name) const noexcept {
  if (directory.type != Filetype::Directory) return nullptr;
  const Node* begin = nodes_.data() + directory.first;
  const Node* end = begin + directory.size;
  const Node* found = std::lower_bound(begin, end, name, [](const Node& node, std::string_view wanted) { return node.name < wanted; });
  return found != end && found->name == name ? found : nullptr;
}

}  // namespace barecell::wasi
