// What a snapshot takes from native code: whether there can be one. The memory is read as for everybody (inspection.cc).
#include "napi_values.h"
#include "vm_binding.h"

namespace barecell {

// () -> { obstacle, monotonicNs }. `obstacle`: why there can be no snapshot, in words; empty if there can. The guest's random numbers go on from a new seed, for
// the one it has is in the snapshot.
Napi::Value VmBinding::prepare_snapshot(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("obstacle", wasi_->snapshot_obstacle());
    object.Set("monotonicNs", static_cast<double>(wasi_->clocks().monotonic_ns));
    vm.reseed();
    return object;
  });
}

}  // namespace barecell
