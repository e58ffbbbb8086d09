// What a file system in memory is made of. Everything in it is paid for from one budget, so that no guest takes more of the host's
// memory than it was given.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "types.h"

namespace barecell::wasi {

// One file system. Its nodes keep it alive.
class MemoryFileSystem {
 public:
  // What a node costs besides its content: about what it takes of the heap.
  static constexpr uint64_t kNodeBytes = 512;

  // `now` gives the time of the guest's clock, in nanoseconds.
  MemoryFileSystem(uint64_t max_bytes, unsigned max_depth, uint64_t device, std::function<uint64_t()> now)
      : max_bytes(max_bytes), max_depth(max_depth), device(device), now(std::move(now)) {}

  bool take(uint64_t bytes) noexcept {
    if (bytes > max_bytes - used_) return false;
    used_ += bytes;
    return true;
  }
  void give_back(uint64_t bytes) noexcept { used_ -= bytes; }
  uint64_t next_inode() noexcept { return ++last_inode_; }

  const uint64_t max_bytes;
  const unsigned max_depth;
  const uint64_t device;
  const std::function<uint64_t()> now;

 private:
  uint64_t used_ = 0;
  uint64_t last_inode_ = 0;
};

struct DirectoryNode;
struct FileNode;
struct LinkNode;

struct MemoryNode {
  // `bytes` are taken of the budget already, and are given back when the node goes.
  MemoryNode(std::shared_ptr<MemoryFileSystem> in, uint64_t bytes);
  virtual ~MemoryNode() { file_system->give_back(cost); }
  MemoryNode(const MemoryNode&) = delete;
  MemoryNode& operator=(const MemoryNode&) = delete;

  virtual Filetype type() const noexcept = 0;
  virtual uint64_t size() const noexcept = 0;
  Filestat stat() const noexcept;

  std::shared_ptr<MemoryFileSystem> file_system;
  uint64_t inode;
  uint64_t cost;
  uint64_t names = 0;
  uint64_t accessed, modified, changed;
};

// Content in pages; those that were never written are not there and read as zeros.
struct FileNode final : MemoryNode {
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr uint64_t kPageCost = kPageBytes + 128;

  using MemoryNode::MemoryNode;
  ~FileNode() override { drop_pages(0); }
  Filetype type() const noexcept override { return Filetype::RegularFile; }
  uint64_t size() const noexcept override { return bytes; }

  // Null: the budget is spent. May throw std::bad_alloc.
  uint8_t* page_for_writing(uint64_t index);
  const uint8_t* page(uint64_t index) const noexcept;
  // Those from `first` on.
  void drop_pages(uint64_t first) noexcept;
  Errno resize(uint64_t to);

  uint64_t bytes = 0;

 private:
  std::map<uint64_t, std::unique_ptr<uint8_t[]>> pages_;
};

struct LinkNode final : MemoryNode {
  using MemoryNode::MemoryNode;
  Filetype type() const noexcept override { return Filetype::SymbolicLink; }
  uint64_t size() const noexcept override { return target.size(); }

  std::string target;
};

struct DirectoryNode final : MemoryNode {
  // Numbers grow with each new entry, so that reading goes on where it was, whatever is added or taken away.
  struct Child {
    std::shared_ptr<MemoryNode> node;
    uint64_t number;
  };

  using MemoryNode::MemoryNode;
  ~DirectoryNode() override;
  Filetype type() const noexcept override { return Filetype::Directory; }
  uint64_t size() const noexcept override { return children.size(); }

  std::shared_ptr<MemoryNode> find(const std::string& name) const;
  // A new name, whose cost is taken of the budget: NOSPC if there is none left.
  Errno add(const std::string& name, std::shared_ptr<MemoryNode> node);
  // The name is there.
  void remove(const std::string& name);
  // 0: the root. Steps up, at most max_depth.
  unsigned depth() const noexcept;
  // Directories below this one on the longest way down.
  unsigned height() const noexcept;
  bool is_in(const DirectoryNode& other) const noexcept;

  std::map<std::string, Child> children;
  std::map<uint64_t, const std::string*> by_number;
  std::weak_ptr<DirectoryNode> parent;
  bool removed = false;

 private:
  uint64_t next_number_ = 2;  // after "." and ".."
};

// Takes the node's cost first. Null: the budget is spent.
template <typename Node>
std::shared_ptr<Node> make_node(const std::shared_ptr<MemoryFileSystem>& in, uint64_t more_bytes = 0) {
  uint64_t cost = MemoryFileSystem::kNodeBytes + more_bytes;
  if (!in->take(cost)) return nullptr;
  struct Taken {
    MemoryFileSystem& from;
    uint64_t bytes;
    ~Taken() { from.give_back(bytes); }
  } taken{*in, cost};
  auto node = std::make_shared<Node>(in, cost);
  taken.bytes = 0;
  return node;
}

}  // namespace barecell::wasi
