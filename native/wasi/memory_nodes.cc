#include "memory_nodes.h"

#include <algorithm>

namespace barecell::wasi {
namespace {

// A name in a directory, beside the node.
uint64_t name_cost(const std::string& name) noexcept { return 256 + 2 * name.size(); }

}  // namespace

MemoryNode::MemoryNode(std::shared_ptr<MemoryFileSystem> in, uint64_t bytes)
    : file_system(std::move(in)), inode(file_system->next_inode()), cost(bytes) {
  accessed = modified = changed = file_system->now();
}

Filestat MemoryNode::stat() const noexcept {
  Filestat result{};
  result.dev = file_system->device;
  result.ino = inode;
  result.filetype = static_cast<uint8_t>(type());
  result.nlink = names;
  result.size = size();
  result.atim = accessed;
  result.mtim = modified;
  result.ctim = changed;
  return result;
}

uint8_t* FileNode::page_for_writing(uint64_t index) {
  auto found = pages_.find(index);
  if (found != pages_.end()) return found->second.get();
  auto fresh = std::make_unique<uint8_t[]>(kPageBytes);
  if (!file_system->take(kPageCost)) return nullptr;
  // Counted only if it is there: emplace may throw.
  try {
    return pages_.emplace(index, std::move(fresh)).first->second.get();
  } catch (...) {
    file_system->give_back(kPageCost);
    throw;
  }
}

const uint8_t* FileNode::page(uint64_t index) const noexcept {
  auto found = pages_.find(index);
  return found == pages_.end() ? nullptr : found->second.get();
}

void FileNode::drop_pages(uint64_t first) noexcept {
  auto from = pages_.lower_bound(first);
  file_system->give_back(kPageCost * static_cast<uint64_t>(std::distance(from, pages_.end())));
  pages_.erase(from, pages_.end());
}

// A file that was cut and grows again has zeros there, so the rest of its last page is cleared.
Errno FileNode::resize(uint64_t to) {
  if (to > file_system->max_bytes) return Errno::Fbig;
  if (to < bytes) {
    drop_pages((to + kPageBytes - 1) / kPageBytes);
    auto last = pages_.find(to / kPageBytes);
    if (last != pages_.end()) std::fill(last->second.get() + to % kPageBytes, last->second.get() + kPageBytes, uint8_t{0});
  }
  bytes = to;
  modified = changed = file_system->now();
  return Errno::Success;
}

// Depth is limited, so this recursion through the nodes' destructors is too.
DirectoryNode::~DirectoryNode() {
  for (const auto& [name, child] : children) file_system->give_back(name_cost(name));
}

std::shared_ptr<MemoryNode> DirectoryNode::find(const std::string& name) const {
  auto found = children.find(name);
  return found == children.end() ? nullptr : found->second.node;
}

Errno DirectoryNode::add(const std::string& name, std::shared_ptr<MemoryNode> node) {
  // A directory that was removed while it is open takes nothing new.
  if (removed) return Errno::Noent;
  if (name.size() > 255) return Errno::Nametoolong;
  if (!file_system->take(name_cost(name))) return Errno::Nospc;
  try {
    auto [at, fresh] = children.try_emplace(name, Child{node, next_number_});
    try {
      by_number.emplace(next_number_, &at->first);
    } catch (...) {
      children.erase(at);
      throw;
    }
  } catch (...) {
    file_system->give_back(name_cost(name));
    throw;
  }
  next_number_++;
  node->names++;
  node->changed = modified = changed = file_system->now();
  return Errno::Success;
}

void DirectoryNode::remove(const std::string& name) {
  auto found = children.find(name);
  if (found == children.end()) return;
  found->second.node->names--;
  found->second.node->changed = modified = changed = file_system->now();
  by_number.erase(found->second.number);
  uint64_t cost_of_name = name_cost(found->first);
  children.erase(found);
  file_system->give_back(cost_of_name);
}

unsigned DirectoryNode::depth() const noexcept {
  unsigned depth = 0;
  for (auto up = parent.lock(); up; up = up->parent.lock()) depth++;
  return depth;
}

unsigned DirectoryNode::height() const noexcept {
  unsigned height = 0;
  for (const auto& [name, child] : children) {
    if (child.node->type() != Filetype::Directory) continue;
    height = std::max(height, 1 + static_cast<const DirectoryNode&>(*child.node).height());
  }
  return height;
}

bool DirectoryNode::is_in(const DirectoryNode& other) const noexcept {
  if (this == &other) return true;
  for (auto up = parent.lock(); up; up = up->parent.lock()) {
    if (up.get() == &other) return true;
  }
  return false;
}

}  // namespace barecell::wasi
