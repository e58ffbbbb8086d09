#include "vm_binding.h"

#include <cmath>

#include "image_binding.h"
#include "napi_values.h"
#include "wasi_binding.h"

namespace barecell {
namespace {

// Milliseconds (a number, may be fractional) from now, as a point of CLOCK_MONOTONIC; 0 or less: no deadline.
int64_t deadline_after(double timeout_ms) {
  if (!(timeout_ms > 0)) return 0;
  return monotonic_ns() + static_cast<int64_t>(std::min(timeout_ms, 1e12) * 1e6);
}

double get_timeout(const Napi::Value& value) {
  require(value.IsNumber(), "timeoutMs");
  return value.As<Napi::Number>().DoubleValue();
}

Napi::Value hex(Napi::Env env, uint64_t value) { return Napi::BigInt::New(env, value); }

Napi::Object to_js(Napi::Env env, const Outcome& outcome) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", static_cast<uint32_t>(outcome.kind));
  object.Set("code", outcome.code);
  object.Set("vector", outcome.vector);
  object.Set("errorCode", hex(env, outcome.error_code));
  object.Set("faultAddress", hex(env, outcome.fault_address));
  object.Set("rip", hex(env, outcome.rip));
  object.Set("rsp", hex(env, outcome.rsp));
  object.Set("rflags", hex(env, outcome.rflags));
  object.Set("inRing3", outcome.in_ring3);
  Napi::Array registers = Napi::Array::New(env, outcome.registers.size());
  for (uint32_t i = 0; i < outcome.registers.size(); i++) registers.Set(i, hex(env, outcome.registers[i]));
  object.Set("registers", registers);
  object.Set("detail", outcome.detail);
  return object;
}

// The work of an asynchronous call leaves its result here, or what went wrong.
struct Answer {
  Outcome outcome;
  std::vector<bc_slot> slots;
  std::string failure_code;
  std::string failure_message;
};

// On a vCPU thread, where nothing may be thrown on.
template <typename Run>
void attempt(Answer& answer, Run run) {
  try {
    answer.outcome = run();
  } catch (const Failure& failure) {
    answer.failure_code = failure.code();
    answer.failure_message = failure.what();
  } catch (const std::exception& error) {
    answer.failure_code = "BARECELL_INTERNAL";
    answer.failure_message = error.what();
  }
}

}  // namespace

Napi::Function VmBinding::define(Napi::Env env) {
  return DefineClass(env, "Vm",
                     {
                         InstanceMethod<&VmBinding::boot_sync>("bootSync"),
                         InstanceMethod<&VmBinding::boot>("boot"),
                         InstanceMethod<&VmBinding::call_sync>("callSync"),
                         InstanceMethod<&VmBinding::call>("call"),
                         InstanceMethod<&VmBinding::cancel>("cancel"),
                         InstanceMethod<&VmBinding::dispose>("dispose"),
                         InstanceMethod<&VmBinding::linear_bytes>("linearBytes"),
                         InstanceMethod<&VmBinding::read_linear>("readLinear"),
                         InstanceMethod<&VmBinding::write_linear>("writeLinear"),
                         InstanceMethod<&VmBinding::read_stack>("readStack"),
                         InstanceMethod<&VmBinding::read_image>("readImage"),
                         InstanceMethod<&VmBinding::exits>("exits"),
                         InstanceMethod<&VmBinding::timeline>("timeline"),
                         InstanceMethod<&VmBinding::take_output>("takeOutput"),
                     });
}

// new Vm(image, { staged, maxLinearBytes, answersInGuest, imports: [{ grant: "wasi" | "zero" | "closed", module, name }],
// wasi (see wasi_binding.h) }). Maps the memory; boot() makes the VM.
VmBinding::VmBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&]() {
    Napi::Object image_object = as_object(info[0], "image");
    require(image_object.InstanceOf(Environment::of(info.Env()).image_constructor.Value()), "image");
    ImageBinding* image = ImageBinding::Unwrap(image_object);
    require(image->image() != nullptr, "image");
    Napi::Object config = as_object(info[1], "options");
    wasi_ = std::make_shared<wasi::Instance>(read_wasi_config(as_object(config.Get("wasi"), "wasi")));
    VmOptions options;
    options.staged = get_bool(config, "staged");
    options.max_linear_bytes = get_u64(config, "maxLinearBytes");
    require(options.max_linear_bytes <= BC_MEMORIES_MAX * uint64_t{BC_LINEAR_MAX_BYTES} && options.max_linear_bytes % BC_WASM_PAGE_SIZE == 0, "maxLinearBytes");
    bool in_guest = get_bool(config, "answersInGuest");
    Napi::Array imports = get_array(config, "imports");
    for (uint32_t i = 0; i < imports.Length(); i++) {
      Napi::Object entry = as_object(imports.Get(i), "imports");
      std::string grant = get_string(entry, "grant");
      HostFunction function;
      if (grant == "wasi") {
        std::string name = get_string(entry, "name");
        // A fixed clock moves when it is asked, and a fixed generator has one seed: those are the host's to answer.
        if (in_guest && name == "clock_time_get" && !wasi_->has_fixed_clock()) {
          options.answers.clock = [instance = wasi_]() { return instance->clocks(); };
        }
        if (in_guest && name == "random_get" && !wasi_->has_fixed_random()) options.answers.random = true;
        // The instance lives as long as its functions do, which is as long as the VM.
        function = [instance = wasi_, bound = wasi_->bind(get_string(entry, "module"), name)](HostCall& call) {
          return bound(call);
        };
      } else if (grant == "zero") {
        function = [](HostCall& call) {
          call.slots = {};
          return HostCallAction::Continue;
        };
      } else {
        require(grant == "closed", "grant");
      }
      options.imports.push_back(std::move(function));
    }
    vm_ = std::make_shared<Vm>(Kvm::shared(), image->image(), std::move(options));
    live_vms_ = Environment::of(info.Env()).live_vms();
    live_vms_->insert(vm_);
  });
}

// Collected without dispose(): the VM goes with the object. A running call holds the VM and the object alike.
VmBinding::~VmBinding() {
  if (vm_ && live_vms_) live_vms_->erase(vm_);
}

Vm& VmBinding::idle_vm() {
  if (!vm_) throw Failure("BARECELL_DISPOSED", "the VM is disposed");
  if (busy_) throw Failure("BARECELL_BUSY", "another call of this VM is running");
  return *vm_;
}

// As call_sync: `true` for the outcome that happens nearly always, here ready. An outcome's object costs 20 us to make.
Napi::Value VmBinding::boot_sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Outcome outcome = idle_vm().boot(deadline_after(get_timeout(info[0])));
    if (outcome.kind == OutcomeKind::Ready) return Napi::Boolean::New(info.Env(), true);
    return to_js(info.Env(), outcome);
  });
}

Napi::Value VmBinding::boot(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    idle_vm();
    double timeout_ms = get_timeout(info[0]);
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    auto answer = std::make_shared<Answer>();
    Environment::of(info.Env())
        .run_async(
            info.Env(),
            [vm = vm_, answer, timeout_ms]() {
              attempt(*answer, [&]() { return vm->boot(deadline_after(timeout_ms)); });
            },
            [this, deferred, answer](Napi::Env env) {
              busy_ = false;
              Unref();
              if (answer->failure_code.empty()) {
                bool ready = answer->outcome.kind == OutcomeKind::Ready;
                deferred.Resolve(ready ? Napi::Value(Napi::Boolean::New(env, true)) : Napi::Value(to_js(env, answer->outcome)));
              } else {
                deferred.Reject(to_js_error(env, answer->failure_code.c_str(), answer->failure_message).Value());
              }
            });
    // Only now: had no thread been found, the VM would stay busy for ever. The finish above runs on this thread, later.
    Ref();
    busy_ = true;
    return deferred.Promise();
  });
}

struct VmBinding::CallRequest {
  uint32_t function;
  Napi::Uint8Array slots;
  size_t arguments;
  size_t results;
  double timeout_ms;
};

// (function, slots: Uint8Array, argumentCount, resultCount, timeoutMs)
VmBinding::CallRequest VmBinding::call_request(const Napi::CallbackInfo& info) {
  require(info[1].IsTypedArray() && info[1].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "slots");
  CallRequest request{static_cast<uint32_t>(as_u64(info[0], "function")), info[1].As<Napi::Uint8Array>(), as_u64(info[2], "argumentCount"),
                      as_u64(info[3], "resultCount"), get_timeout(info[4])};
  size_t bytes = request.slots.ByteLength();
  require(bytes % sizeof(bc_slot) == 0 && request.arguments <= bytes / sizeof(bc_slot) && request.results <= bytes / sizeof(bc_slot), "slots");
  return request;
}

// Results are written to `slots`. Returns the outcome, or `true` for the one that happens nearly always: done.
Napi::Value VmBinding::call_sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    CallRequest request = call_request(info);
    std::vector<bc_slot> slots(request.slots.ByteLength() / sizeof(bc_slot));
    copy_bytes(slots.data(), request.slots.Data(), request.slots.ByteLength());
    Outcome outcome = vm.call(request.function, slots, request.arguments, request.results, deadline_after(request.timeout_ms));
    if (outcome.kind != OutcomeKind::Done) return to_js(info.Env(), outcome);
    copy_bytes(request.slots.Data(), slots.data(), request.slots.ByteLength());
    return Napi::Boolean::New(info.Env(), true);
  });
}

Napi::Value VmBinding::call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    idle_vm();
    CallRequest request = call_request(info);
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    auto answer = std::make_shared<Answer>();
    answer->slots.resize(request.slots.ByteLength() / sizeof(bc_slot));
    copy_bytes(answer->slots.data(), request.slots.Data(), request.slots.ByteLength());
    auto results = std::make_shared<Napi::Reference<Napi::Uint8Array>>(Napi::Persistent(request.slots));
    Environment::of(info.Env())
        .run_async(
            info.Env(),
            [vm = vm_, answer, function = request.function, arguments = request.arguments, result_count = request.results,
             timeout_ms = request.timeout_ms]() {
              // The time the job waited for a thread is not the guest's.
              attempt(*answer, [&]() { return vm->call(function, answer->slots, arguments, result_count, deadline_after(timeout_ms)); });
            },
            [this, deferred, answer, results](Napi::Env env) {
              busy_ = false;
              Unref();
              if (!answer->failure_code.empty()) {
                deferred.Reject(to_js_error(env, answer->failure_code.c_str(), answer->failure_message).Value());
              } else if (answer->outcome.kind == OutcomeKind::Done) {
                Napi::Uint8Array slots = results->Value();
                copy_bytes(slots.Data(), answer->slots.data(), std::min(slots.ByteLength(), answer->slots.size() * sizeof(bc_slot)));
                deferred.Resolve(Napi::Boolean::New(env, true));
              } else {
                deferred.Resolve(to_js(env, answer->outcome));
              }
            });
    // Only now: had no thread been found, the VM would stay busy for ever. The finish above runs on this thread, later.
    Ref();
    busy_ = true;
    return deferred.Promise();
  });
}

// Stops the running call, and all later ones. For disposal while a call runs.
Napi::Value VmBinding::cancel(const Napi::CallbackInfo& info) {
  if (vm_) vm_->stop().cancel(0);
  return info.Env().Undefined();
}

Napi::Value VmBinding::dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (vm_) {
      idle_vm();
      live_vms_->erase(vm_);
      vm_.reset();
      wasi_->close();
    }
    return info.Env().Undefined();
  });
}

// The first argument of these three is the memory's index.
LinearMemory& VmBinding::linear(const Napi::CallbackInfo& info) {
  return vm_->memory().linear(static_cast<uint32_t>(std::min<uint64_t>(as_u64(info[0], "memory"), UINT32_MAX)));
}

Napi::Value VmBinding::linear_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!vm_) throw Failure("BARECELL_DISPOSED", "the VM is disposed");
    return Napi::Number::New(info.Env(), static_cast<double>(linear(info).size_bytes()));
  });
}

// (memory, offset, length) -> Uint8Array, or null if any byte lies outside.
Napi::Value VmBinding::read_linear(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!vm_) throw Failure("BARECELL_DISPOSED", "the VM is disposed");
    LinearMemory& memory = linear(info);
    uint64_t offset = as_u64(info[1], "offset");
    uint64_t length = as_u64(info[2], "length");
    // Before the buffer is made: its size is checked by the same rule.
    if (length > 0 && memory.range_for_kernel(offset, length) == nullptr) return info.Env().Null();
    auto bytes = Napi::Uint8Array::New(info.Env(), length);
    if (!memory.read(offset, bytes.Data(), length)) return info.Env().Null();
    return bytes;
  });
}

// (memory, offset, bytes) -> whether all of them fit.
Napi::Value VmBinding::write_linear(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!vm_) throw Failure("BARECELL_DISPOSED", "the VM is disposed");
    require(info[2].IsTypedArray() && info[2].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "bytes");
    auto bytes = info[2].As<Napi::Uint8Array>();
    bool fits = linear(info).write(as_u64(info[1], "offset"), bytes.Data(), bytes.ByteLength());
    return Napi::Boolean::New(info.Env(), fits);
  });
}

// (rsp: bigint) -> the stack from there up, for a backtrace; empty if rsp is not on the stack.
Napi::Value VmBinding::read_stack(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
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
    Vm& vm = idle_vm();
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

// Nanoseconds since the start of the boot for what the host did; raw time stamps of the guest.
Napi::Value VmBinding::timeline(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Timeline timeline = idle_vm().timeline();
    Napi::Object object = Napi::Object::New(info.Env());
    auto set = [&](const char* name, int64_t at) {
      object.Set(name, static_cast<double>(at == 0 ? 0 : at - timeline.begin_ns));
    };
    set("memoryMappedNs", timeline.memory_mapped_ns);
    set("vmCreatedNs", timeline.vm_created_ns);
    set("slotsSetNs", timeline.slots_set_ns);
    set("vcpuCreatedNs", timeline.vcpu_created_ns);
    set("cpuidSetNs", timeline.cpuid_set_ns);
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
