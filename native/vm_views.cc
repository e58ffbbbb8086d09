// What JavaScript may look at in a VM, and the one thing it may write: linear memory.
#include "napi_values.h"
#include "vm_binding.h"

namespace barecell {

// The first argument of these three is the memory's index.
LinearMemory& VmBinding::linear(const Napi::CallbackInfo& info) {
  return any_vm().memory().linear(static_cast<uint32_t>(std::min<uint64_t>(as_u64(info[0], "memory"), UINT32_MAX)));
}

Napi::Value VmBinding::linear_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(linear(info).size_bytes()));
  });
}

// (memory, offset, length) -> Uint8Array, or null if any byte lies outside.
Napi::Value VmBinding::read_linear(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    LinearMemory& memory = linear(info);
    uint64_t offset = as_u64(info[1], "offset");
    uint64_t length = as_u64(info[2], "length");
    // Before the buffer is made: its size is checked by the same rule.
    if (!memory.contains(offset, length)) return info.Env().Null();
    auto bytes = Napi::Uint8Array::New(info.Env(), length);
    if (!memory.read(offset, bytes.Data(), length)) return info.Env().Null();
    return bytes;
  });
}

// (memory, offset, bytes) -> whether all of them fit.
Napi::Value VmBinding::write_linear(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    require(info[2].IsTypedArray() && info[2].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "bytes");
    auto bytes = info[2].As<Napi::Uint8Array>();
    bool fits = linear(info).write(as_u64(info[1], "offset"), bytes.Data(), bytes.ByteLength());
    return Napi::Boolean::New(info.Env(), fits);
  });
}

// (rsp: bigint) -> the stack from there up, for a backtrace; empty if rsp is not on the stack.
Napi::Value VmBinding::read_stack(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = any_vm();
    require(info[0].IsBigInt(), "rsp");
    bool lossless = false;
    uint64_t rsp = info[0].As<Napi::BigInt>().Uint64Value(&lossless);
    const ImageLayout& layout = vm.image().layout();
    uint64_t bottom = BC_STACK_TOP - layout.stack_bytes;
    if (!lossless || rsp < bottom || rsp >= BC_STACK_TOP) return Napi::Uint8Array::New(info.Env(), 0);
    uint64_t size = BC_STACK_TOP - rsp;
    const uint8_t* stack = vm.memory().image_memory(layout.stack_gpa + (rsp - bottom), size);
    require(stack != nullptr, "stack");
    auto bytes = Napi::Uint8Array::New(info.Env(), size);
    copy_bytes(bytes.Data(), stack, size);
    return bytes;
  });
}

// (address: bigint, length) -> bytes of the image as they are in the VM now, to look at the instruction that trapped; empty if outside.
Napi::Value VmBinding::read_image(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = any_vm();
    require(info[0].IsBigInt(), "address");
    bool lossless = false;
    uint64_t address = info[0].As<Napi::BigInt>().Uint64Value(&lossless);
    uint64_t length = as_u64(info[1], "length");
    const uint8_t* memory = nullptr;
    if (lossless && address >= BC_IMAGE_BASE) memory = vm.memory().image_memory(address - BC_IMAGE_BASE, length);
    auto bytes = Napi::Uint8Array::New(info.Env(), memory == nullptr ? 0 : length);
    copy_bytes(bytes.Data(), memory, memory == nullptr ? 0 : length);
    return bytes;
  });
}

Napi::Value VmBinding::exits(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const ExitCounts& exits = idle_vm().exits();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("io", static_cast<double>(exits.io));
    object.Set("mmio", static_cast<double>(exits.mmio));
    object.Set("other", static_cast<double>(exits.other + exits.interrupted));
    return object;
  });
}

// How often each import was called, in the order of the manifest.
Napi::Value VmBinding::host_calls(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    std::span<const uint64_t> counts = idle_vm().host_calls();
    Napi::Array array = Napi::Array::New(info.Env(), counts.size());
    for (uint32_t i = 0; i < counts.size(); i++) array.Set(i, static_cast<double>(counts[i]));
    return array;
  });
}

// How often memory.grow was refused.
Napi::Value VmBinding::growth_refusals(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(idle_vm().memory().refusals()));
  });
}

// Nanoseconds since the start of the boot for what the host did; raw time stamps of the guest.
Napi::Value VmBinding::timeline(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Timeline timeline = idle_vm().timeline();
    Napi::Object object = Napi::Object::New(info.Env());
    auto set = [&](const char* name, int64_t at) {
      object.Set(name, static_cast<double>(at == 0 ? 0 : at - timeline.begin_ns));
    };
    set("vmCreatedNs", timeline.vm_created_ns);
    set("vcpuCreatedNs", timeline.vcpu_created_ns);
    set("cpuidSetNs", timeline.cpuid_set_ns);
    set("memoryGivenNs", timeline.memory_given_ns);
    set("registersSetNs", timeline.registers_set_ns);
    set("readyNs", timeline.ready_ns);
    object.Set("tscKhz", timeline.tsc_khz);
    Napi::Array stamps = Napi::Array::New(info.Env(), BC_STAGE_COUNT);
    for (uint32_t i = 0; i < BC_STAGE_COUNT; i++) stamps.Set(i, static_cast<double>(timeline.guest_tsc[i] & 0xffffffff));
    object.Set("guestTsc", stamps);
    return object;
  });
}

// ("stdout" | "stderr") -> what was captured since the last time.
Napi::Value VmBinding::take_output(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (busy_) throw Failure("BARECELL_BUSY", "another call of this VM is running");
    require(info[0].IsString(), "stream");
    bool is_stdout = info[0].As<Napi::String>().Utf8Value() == "stdout";
    std::vector<uint8_t> output = is_stdout ? wasi_->take_stdout() : wasi_->take_stderr();
    auto bytes = Napi::Uint8Array::New(info.Env(), output.size());
    copy_bytes(bytes.Data(), output.data(), output.size());
    return bytes;
  });
}

}  // namespace barecell
