// Memory for what VMs count, which JavaScript sees as it is.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace barecell {

// VMs get theirs out of one buffer, one after the other: to make a buffer for each takes 5 us, a hundredth of a boot. A stretch is handed out once, all zeros; the
// buffer goes when the last VM and the last view of it are gone. One to an environment, JavaScript thread only.
class CounterSlab {
 public:
  struct Stretch {
    std::shared_ptr<void> owner;
    std::span<uint64_t> counters;
    Napi::BigUint64Array view;
  };
  Stretch take(Napi::Env env, size_t count);

 private:
  // 4 KiB.
  static constexpr size_t kCounters = 512;
  // A cache line: VMs of several threads count at the same time.
  static constexpr size_t kUnit = 8;

  void begin(Napi::Env env, size_t count);

  std::shared_ptr<std::vector<uint64_t>> slab_;
  Napi::Reference<Napi::ArrayBuffer> buffer_;
  size_t used_ = 0;
};

}  // namespace barecell
