// RAII owners of kernel resources.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "failure.h"

namespace barecell {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void reset() noexcept {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

// A range of this process's address space.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      base_ = std::exchange(other.base_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~Mapping() { reset(); }

  static Mapping of_fd(int fd, size_t size_bytes, const char* what) {
    void* base = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) fail_errno("BARECELL_KVM_FAILED", std::string("cannot map ") + what);
    return Mapping(static_cast<uint8_t*>(base), size_bytes);
  }

  // Pages of a sealed file, which all processes and VMs that map it share.
  static Mapping read_only(int fd, uint64_t offset, size_t size_bytes, const char* what) {
    void* base = mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, fd, static_cast<off_t>(offset));
    if (base == MAP_FAILED) fail_errno("BARECELL_KVM_FAILED", std::string("cannot map ") + what);
    return Mapping(static_cast<uint8_t*>(base), size_bytes);
  }

  // Addresses without memory behind them, to be filled in by fixed mappings; `base() % alignment == offset % alignment`.
  static Mapping reserve(size_t size_bytes, size_t alignment) {
    // The kernel aligns to pages by itself, and from Linux 6.7 on to large pages what is a multiple of them.
    size_t whole = (size_bytes + alignment - 1) / alignment * alignment;
    void* base = reserve_anywhere(whole);
    if (reinterpret_cast<uintptr_t>(base) % alignment == 0) return Mapping(static_cast<uint8_t*>(base), whole);
    munmap(base, whole);
    size_t padded = size_bytes + alignment;
    base = reserve_anywhere(padded);
    auto start = reinterpret_cast<uintptr_t>(base);
    uintptr_t aligned = (start + alignment - 1) / alignment * alignment;
    // Give back what alignment did not need, so that the owner is exactly the range.
    if (aligned > start) munmap(base, aligned - start);
    uintptr_t end = aligned + size_bytes;
    if (start + padded > end) munmap(reinterpret_cast<void*>(end), start + padded - end);
    return Mapping(reinterpret_cast<uint8_t*>(aligned), size_bytes);
  }

  uint8_t* base() const noexcept { return base_; }
  size_t size_bytes() const noexcept { return size_; }
  void reset() noexcept {
    if (base_ != nullptr) munmap(std::exchange(base_, nullptr), std::exchange(size_, 0));
  }

 private:
  static void* reserve_anywhere(size_t size_bytes) {
    void* base = mmap(nullptr, size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) fail_errno("BARECELL_KVM_FAILED", "cannot reserve address space for guest memory");
    return base;
  }

  Mapping(uint8_t* base, size_t size_bytes) noexcept : base_(base), size_(size_bytes) {}
  uint8_t* base_ = nullptr;
  size_t size_ = 0;
};

}  // namespace barecell
