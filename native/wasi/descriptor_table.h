// The guest's descriptors: numbers, what they stand for, and with which rights.
#pragma once

#include <algorithm>
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

constexpr uint32_t kAllUnchanged = UINT32_MAX;

class DescriptorTable {
 public:
  // `limit`: how many may be open at once.
  explicit DescriptorTable(uint32_t limit) : limit_(limit) {}

  // Null: not open. The pointer is good until the next add() or close().
  const Entry* find(uint32_t fd) const noexcept { return fd < entries_.size() && entries_[fd] ? &*entries_[fd] : nullptr; }
  // To change its rights, or the flags of what it stands for.
  Entry* change(uint32_t fd) noexcept {
    if (find(fd) == nullptr) return nullptr;
    note_change(fd);
    return &*entries_[fd];
  }
  // All that was handed in is there: what is done from now on is a change.
  void mark_start() noexcept { unchanged_below_ = kAllUnchanged; }
  // From this number on something has changed since the start.
  uint32_t unchanged_below() const noexcept { return unchanged_below_; }
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
    note_change(first_free_);
    return first_free_++;
  }
  // For the standard streams, before all others.
  void add_first(Entry entry) {
    entries_.emplace_back(std::move(entry));
    open_++;
  }
  void close(uint32_t fd) noexcept {
    if (find(fd) == nullptr) return;
    note_change(fd);
    entries_[fd].reset();
    open_--;
    if (fd >= kFirstNumber && fd < first_free_) first_free_ = fd;
  }
  void clear() noexcept {
    entries_.clear();
    open_ = 0;
    first_free_ = kFirstNumber;
    note_change(0);
  }
  // `to` stands for what `fd` did, and `fd` for nothing. Both are open.
  void renumber(uint32_t fd, uint32_t to) noexcept {
    if (fd == to) return;
    note_change(to);
    std::swap(entries_[fd], entries_[to]);
    close(fd);
  }

 private:
  static constexpr uint32_t kFirstNumber = 3;

  void note_change(uint32_t fd) noexcept { unchanged_below_ = std::min(unchanged_below_, fd); }

  std::vector<std::optional<Entry>> entries_;
  uint32_t limit_;
  uint32_t open_ = 0;
  uint32_t first_free_ = kFirstNumber;
  uint32_t unchanged_below_ = 0;
};

}  // namespace barecell::wasi
