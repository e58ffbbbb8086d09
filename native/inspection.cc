// Looking at all of a VM from the host: what tests of a reset compare. Not while a call runs.
#include <sys/ioctl.h>

#include <cstring>

#include "napi_values.h"
#include "vm_binding.h"

namespace barecell {
namespace {

template <typename State>
void set_state(Napi::Object& object, const char* name, int vcpu_fd, unsigned long request) {
  State state{};
  if (ioctl(vcpu_fd, request, &state) < 0) fail_errno("BARECELL_KVM_FAILED", std::string("cannot read the vCPU's ") + name);
  auto bytes = Napi::Uint8Array::New(object.Env(), sizeof state);
  std::memcpy(bytes.Data(), &state, sizeof state);
  object.Set(name, bytes);
}

// Those that the boot sets, and all others that a guest could keep something in (Intel SDM vol. 4, table 2-2; AMD APM vol. 2, appendix A). What the host's
// KVM does not know is left out.
constexpr uint32_t kMsrs[] = {0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
                              0xc0000103, 0x174,      0x175,      0x176,      0x1d9,      0x277,      0x1a0,      0xd90};

Napi::Array read_msrs(Napi::Env env, int vcpu_fd) {
  Napi::Array array = Napi::Array::New(env);
  for (uint32_t number : kMsrs) {
    MsrTable<1> msrs{1, 0, {{number, 0, 0}}};
    if (ioctl(vcpu_fd, kGetMsrs, &msrs) != 1) continue;
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("number", number);
    entry.Set("value", Napi::BigInt::New(env, uint64_t{msrs.entries[0].data}));
    array.Set(array.Length(), entry);
  }
  return array;
}

}  // namespace

// Each state as the bytes of KVM's structure; `msrs` as [{ number, value }].
Napi::Value VmBinding::vcpu_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    int fd = idle_vm().vcpu_fd();
    Napi::Object object = Napi::Object::New(info.Env());
    set_state<kvm_regs>(object, "regs", fd, KVM_GET_REGS);
    set_state<kvm_sregs>(object, "sregs", fd, KVM_GET_SREGS);
    set_state<XsaveArea>(object, "xsave", fd, kGetXsave);
    set_state<kvm_debugregs>(object, "debugregs", fd, KVM_GET_DEBUGREGS);
    set_state<kvm_vcpu_events>(object, "events", fd, KVM_GET_VCPU_EVENTS);
    object.Set("msrs", read_msrs(info.Env(), fd));
    return object;
  });
}

// [{ gpa, sizeBytes }]: all that the VM has as memory.
Napi::Value VmBinding::memory_ranges(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Array array = Napi::Array::New(info.Env());
    idle_vm().memory().for_each_range([&](uint64_t gpa, const uint8_t*, uint64_t size_bytes) {
      Napi::Object range = Napi::Object::New(info.Env());
      range.Set("gpa", static_cast<double>(gpa));
      range.Set("sizeBytes", static_cast<double>(size_bytes));
      array.Set(array.Length(), range);
    });
    return array;
  });
}

// (gpa, length) -> guest-physical memory, whatever the guest may do with it; empty if any byte lies outside of a slot.
Napi::Value VmBinding::read_physical(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    uint64_t at = as_u64(info[0], "gpa"), length = as_u64(info[1], "length");
    const uint8_t* found = nullptr;
    vm.memory().for_each_range([&](uint64_t gpa, const uint8_t* host, uint64_t size_bytes) {
      if (at >= gpa && at - gpa <= size_bytes && length <= size_bytes - (at - gpa)) found = host + (at - gpa);
    });
    auto bytes = Napi::Uint8Array::New(info.Env(), found == nullptr ? 0 : length);
    copy_bytes(bytes.Data(), found, found == nullptr ? 0 : length);
    return bytes;
  });
}

}  // namespace barecell
