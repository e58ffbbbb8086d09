// The guest's descriptors: numbers, what they stand for, and with which rights.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "descriptor.h"

namespace barecell::wasi {

struct Entry {
  std::shared_ptr<Descriptor> object;
  Rights base = 0;
  Rights inheriting = 0;
  // Of a directory that the host handed in.
  std::optional<std::string> preopen_name;

  bool has(Rights rights) const noexcept { return (base & rights) == rights; }
};

class DescriptorTable {
 public:
  // `limit`: how many may be open at once.
  explicit DescriptorTable(uint32_t limit) : limit_(limit) {}

  // Null: not open. The pointer is good until the next add() or close().
  Entry* find(uint32_t fd) noexcept { return fd < entries_.size() && entries_[fd] ? &*entries_[fd] : nullptr; }
  // One more than the largest number that is or was open.
  uint32_t end() const noexcept { return static_cast<uint32_t>(entries_.size()); }
  bool full() const noexcept { return open_ >= limit_; }

  // The lowest free number from 3 on: a program that closed a standard stream must not write its output into a file that it opens
  // later. Only if not full(). May throw std::bad_alloc, and nothing is changed then.
  uint32_t add(Entry entry) {
    while (first_free_ < entries_.size() && entries_[first_free_]) first_free_++;
    if (first_free_ >= entries_.size()) entries_.resize(size_t{first_free_} + 1);
    entries_[first_free_] = std::move(entry);
    open_++;
    return first_free_++;
  }
  // For the standard streams, before all others.
  void add_first(Entry entry) {
    entries_.emplace_back(std::move(entry));
    open_++;
  }
  void close(uint32_t fd) noexcept {
    if (find(fd) == nullptr) return;
    entries_[fd].reset();
    open_--;
    if (fd >= kFirstNumber && fd < first_free_) first_free_ = fd;
  }
  void clear() noexcept {
    entries_.clear();
    open_ = 0;
    first_free_ = kFirstNumber;
  }
  // `to` stands for what `fd` did, and `fd` for nothing. Both are open.
  void renumber(uint32_t fd, uint32_t to) noexcept {
    if (fd == to) return;
    std::swap(entries_[fd], entries_[to]);
    close(fd);
  }

 private:
  static constexpr uint32_t kFirstNumber = 3;

  std::vector<std::optional<Entry>> entries_;
  uint32_t limit_;
  uint32_t open_ = 0;
  uint32_t first_free_ = kFirstNumber;
};

}  // namespace barecell::wasi
