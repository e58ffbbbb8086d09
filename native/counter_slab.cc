#include "counter_slab.h"

#include <algorithm>

namespace barecell {

CounterSlab::Stretch CounterSlab::take(Napi::Env env, size_t count) {
  if (slab_ == nullptr || slab_->size() - used_ < count) begin(env, count);
  size_t at = used_;
  used_ = std::min(slab_->size(), (used_ + count + kUnit - 1) / kUnit * kUnit);
  return {slab_, std::span(*slab_).subspan(at, count), Napi::BigUint64Array::New(env, count, buffer_.Value(), at * sizeof(uint64_t))};
}

void CounterSlab::begin(Napi::Env env, size_t count) {
  using Slab = std::vector<uint64_t>;
  auto slab = std::make_shared<Slab>(std::max(count, kCounters));
  auto* held = new std::shared_ptr<Slab>(slab);
  auto release = [](Napi::Env, void*, std::shared_ptr<Slab>* hint) { delete hint; };
  buffer_ = Napi::Persistent(Napi::ArrayBuffer::New(env, slab->data(), slab->size() * sizeof(uint64_t), release, held));
  slab_ = std::move(slab);
  used_ = 0;
}

}  // namespace barecell
