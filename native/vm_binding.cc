#include "vm_binding.h"

#include <cmath>

#include "call_trace.h"
#include "image_binding.h"
#include "napi_values.h"
#include "vm_config.h"
#include "wasi_binding.h"

namespace barecell {
namespace {

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

// `true` for the outcome that happens nearly always: an outcome's object costs 20 us to make.
Napi::Value outcome_or_true(Napi::Env env, const Outcome& outcome, OutcomeKind success) {
  if (outcome.kind == success) return Napi::Boolean::New(env, true);
  return to_js(env, outcome);
}

// Settles a promise with what a vCPU thread left. `results`: where results go, or null.
void settle(Napi::Env env, Napi::Promise::Deferred& deferred, const CallAnswer& answer, OutcomeKind success, Napi::Reference<Napi::Uint8Array>* results) {
  if (!answer.failure_code.empty()) {
    deferred.Reject(to_js_error(env, answer.failure_code.c_str(), answer.failure_message).Value());
    return;
  }
  if (results != nullptr && answer.outcome.kind == success) {
    Napi::Uint8Array slots = results->Value();
    copy_bytes(slots.Data(), answer.slots.data(), std::min(slots.ByteLength(), answer.slots.size() * sizeof(bc_slot)));
  }
  deferred.Resolve(outcome_or_true(env, answer.outcome, success));
}

std::vector<bc_slot> copy_slots(const Napi::Uint8Array& bytes) {
  std::vector<bc_slot> slots(bytes.ByteLength() / sizeof(bc_slot));
  copy_bytes(slots.data(), bytes.Data(), slots.size() * sizeof(bc_slot));
  return slots;
}

Napi::Uint8Array as_slots(const Napi::Value& value) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "slots");
  auto bytes = value.As<Napi::Uint8Array>();
  require(bytes.ByteLength() % sizeof(bc_slot) == 0, "slots");
  return bytes;
}

double as_milliseconds(const Napi::Value& value) {
  require(value.IsNumber(), "timeoutMs");
  return value.As<Napi::Number>().DoubleValue();
}

Outcome boot_all(Vm& vm, wasi::Instance& wasi, const RunLimits& limits) {
  Outcome outcome = vm.boot(limits);
  if (outcome.kind == OutcomeKind::Ready) wasi.mark_ready();
  return outcome;
}

// The host's side first: a VM that has to be built anew starts its guest again, which may ask for something.
Outcome reset_all(Vm& vm, wasi::Instance& wasi, const RunLimits& limits) {
  wasi.reset();
  return vm.reset(limits);
}

}  // namespace

Napi::Function VmBinding::define(Napi::Env env) {
  return DefineClass(env, "Vm",
                     {
                         InstanceMethod<&VmBinding::boot_sync>("bootSync"),
                         InstanceMethod<&VmBinding::boot>("boot"),
                         InstanceMethod<&VmBinding::call_sync>("callSync"),
                         InstanceMethod<&VmBinding::call>("call"),
                         InstanceMethod<&VmBinding::call_inner_sync>("callInnerSync"),
                         InstanceMethod<&VmBinding::call_inner>("callInner"),
                         InstanceMethod<&VmBinding::answer_host_call>("answerHostCall"),
                         InstanceMethod<&VmBinding::cancel_run>("cancelRun"),
                         InstanceMethod<&VmBinding::cancel>("cancel"),
                         InstanceMethod<&VmBinding::dispose>("dispose"),
                         InstanceMethod<&VmBinding::linear_bytes>("linearBytes"),
                         InstanceMethod<&VmBinding::read_linear>("readLinear"),
                         InstanceMethod<&VmBinding::write_linear>("writeLinear"),
                         InstanceMethod<&VmBinding::read_stack>("readStack"),
                         InstanceMethod<&VmBinding::read_image>("readImage"),
                         InstanceMethod<&VmBinding::exits>("exits"),
                         InstanceMethod<&VmBinding::host_calls>("hostCalls"),
                         InstanceMethod<&VmBinding::growth_refusals>("growthRefusals"),
                         InstanceMethod<&VmBinding::timeline>("timeline"),
                         InstanceMethod<&VmBinding::set_fuel>("setFuel"),
                         InstanceMethod<&VmBinding::fuel_left>("fuelLeft"),
                         InstanceMethod<&VmBinding::take_output>("takeOutput"),
                         InstanceMethod<&VmBinding::counts>("counts"),
                         InstanceMethod<&VmBinding::usage>("usage"),
                         InstanceMethod<&VmBinding::kvm_stats>("kvmStats"),
                         InstanceMethod<&VmBinding::drain_trace>("drainTrace"),
                         InstanceMethod<&VmBinding::reset_sync>("resetSync"),
                         InstanceMethod<&VmBinding::reset>("reset"),
                         InstanceMethod<&VmBinding::reset_quickly>("resetQuickly"),
                         InstanceMethod<&VmBinding::prepare_snapshot>("prepareSnapshot"),
                         InstanceMethod<&VmBinding::vcpu_state>("vcpuState"),
                         InstanceMethod<&VmBinding::memory_ranges>("memoryRanges"),
                         InstanceMethod<&VmBinding::read_physical>("readPhysical"),
                     });
}

// new Vm(image, options (see vm_config.h) with wasi (see wasi_binding.h) and hostCalls ({ dispatch, slots }, see host_functions.h; undefined if no import
// is the host's in JavaScript)). Maps the memory; boot() makes the VM.
VmBinding::VmBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&]() {
    Environment& environment = Environment::of(info.Env());
    Napi::Object image_object = as_object(info[0], "image");
    require(image_object.InstanceOf(environment.image_constructor.Value()), "image");
    ImageBinding* image = ImageBinding::Unwrap(image_object);
    require(image->image() != nullptr, "image");
    Napi::Object config = as_object(info[1], "options");
    wasi_ = std::make_shared<wasi::Instance>(read_wasi_config(config.Get("wasi"), image->bundle()));
    Napi::Value host_calls = config.Get("hostCalls");
    if (host_calls.IsObject()) {
      Napi::Value dispatch = host_calls.As<Napi::Object>().Get("dispatch");
      require(dispatch.IsFunction(), "dispatch");
      functions_ = std::make_shared<HostFunctions>(environment, dispatch.As<Napi::Function>(), as_slots(host_calls.As<Napi::Object>().Get("slots")));
    }
    VmOptions options = read_vm_options(config, wasi_, functions_);
    options.trace = trace_ = read_call_trace(config.Get("trace"), environment);
    options.counts_usage = get_bool(config, "usage");
    vm_ = std::make_shared<Vm>(Kvm::shared(), image->image(), std::move(options));
    live_vms_ = environment.live_vms();
    live_vms_->insert(vm_);
  });
}

// Collected without dispose(): the VM goes with the object. A running call holds the VM and the object alike.
VmBinding::~VmBinding() {
  if (vm_ && live_vms_) live_vms_->erase(vm_);
}

Vm& VmBinding::any_vm() {
  if (!vm_) throw Failure("BARECELL_DISPOSED", "the VM is disposed");
  return *vm_;
}

Vm& VmBinding::idle_vm() {
  if (busy_) throw Failure("BARECELL_BUSY", "another call of this VM is running");
  return any_vm();
}

void VmBinding::begin_run() noexcept {
  busy_ = true;
  generation_ = vm_->stop().generation();
}

// Host functions that this run calls may do anything with the VM's JavaScript object: it is busy meanwhile, and is not taken away.
template <typename Run>
Outcome VmBinding::run_here(Run run) {
  struct Busy {
    explicit Busy(VmBinding& self) : self(self) {
      self.begin_run();
    }
    ~Busy() { self.busy_ = false; }
    VmBinding& self;
  } busy(*this);
  return run();
}

Napi::Promise VmBinding::run_there(Napi::Env env, std::shared_ptr<CallAnswer> answer, std::function<void()> work, OutcomeKind success,
                                   const Napi::Uint8Array* results) {
  auto deferred = Napi::Promise::Deferred::New(env);
  auto into = results == nullptr ? nullptr : std::make_shared<Napi::Reference<Napi::Uint8Array>>(Napi::Persistent(*results));
  uint64_t generation = vm_->stop().generation();
  thread_ = Environment::of(env).run_async(thread_, std::move(work), [this, deferred, answer, success, into](Napi::Env env) mutable {
    busy_ = false;
    Unref();
    settle(env, deferred, *answer, success, into.get());
  });
  // Only now: had no thread been found, the VM would stay busy for ever. The finish above runs on this thread, later.
  Ref();
  busy_ = true;
  generation_ = generation;
  return deferred.Promise();
}

// (limits) -> true for ready, or the outcome
Napi::Value VmBinding::boot_sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    LimitNumbers limits = LimitNumbers::read(info[0]);
    Outcome outcome = run_here([&]() { return boot_all(vm, *wasi_, limits.start()); });
    return outcome_or_true(info.Env(), outcome, OutcomeKind::Ready);
  });
}

Napi::Value VmBinding::boot(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    idle_vm();
    LimitNumbers limits = LimitNumbers::read(info[0]);
    auto answer = std::make_shared<CallAnswer>();
    auto work = [vm = vm_, wasi = wasi_, answer, limits]() { answer->attempt([&]() { return boot_all(*vm, *wasi, limits.start()); }); };
    return run_there(info.Env(), answer, work, OutcomeKind::Ready, nullptr);
  });
}

// (limits) -> true for ready, or the outcome of a new start that failed
Napi::Value VmBinding::reset_sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    LimitNumbers limits = LimitNumbers::read(info[0]);
    wasi_->set_output_limit(limits.output_bytes());
    Outcome outcome = run_here([&]() { return reset_all(vm, *wasi_, limits.start()); });
    return outcome_or_true(info.Env(), outcome, OutcomeKind::Ready);
  });
}

Napi::Value VmBinding::reset(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    idle_vm();
    LimitNumbers limits = LimitNumbers::read(info[0]);
    wasi_->set_output_limit(limits.output_bytes());
    auto answer = std::make_shared<CallAnswer>();
    auto work = [vm = vm_, wasi = wasi_, answer, limits]() { answer->attempt([&]() { return reset_all(*vm, *wasi, limits.start()); }); };
    return run_there(info.Env(), answer, work, OutcomeKind::Ready, nullptr);
  });
}

// (limits) -> whether it was short enough to be done at once
Napi::Value VmBinding::reset_quickly(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    LimitNumbers limits = LimitNumbers::read(info[0]);
    if (wasi_->was_used() || !vm.reset_quickly()) return Napi::Boolean::New(info.Env(), false);
    wasi_->set_output_limit(limits.output_bytes());
    wasi_->reset();
    return Napi::Boolean::New(info.Env(), true);
  });
}

struct VmBinding::CallRequest {
  uint32_t function;
  Napi::Uint8Array slots;
  size_t arguments;
  size_t results;
};

// (function, slots: Uint8Array, argumentCount, resultCount), from the argument `first` on
VmBinding::CallRequest VmBinding::call_request(const Napi::CallbackInfo& info, size_t first) {
  CallRequest request{static_cast<uint32_t>(std::min<uint64_t>(as_u64(info[first], "function"), UINT32_MAX)), as_slots(info[first + 1]),
                      as_u64(info[first + 2], "argumentCount"), as_u64(info[first + 3], "resultCount")};
  size_t capacity = request.slots.ByteLength() / sizeof(bc_slot);
  require(request.arguments <= capacity && request.results <= capacity, "slots");
  return request;
}

// (function, slots, argumentCount, resultCount, limits). Results are written to `slots`. Returns true for done, or the outcome.
Napi::Value VmBinding::call_sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    CallRequest request = call_request(info, 0);
    LimitNumbers limits = LimitNumbers::read(info[4]);
    std::vector<bc_slot> slots = copy_slots(request.slots);
    wasi_->set_output_limit(limits.output_bytes());
    Outcome outcome = run_here([&]() { return vm.call({request.function, slots, request.arguments, request.results}, limits.start()); });
    if (outcome.kind == OutcomeKind::Done) copy_bytes(request.slots.Data(), slots.data(), std::min(request.slots.ByteLength(), slots.size() * sizeof(bc_slot)));
    return outcome_or_true(info.Env(), outcome, OutcomeKind::Done);
  });
}

Napi::Value VmBinding::call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    idle_vm();
    CallRequest request = call_request(info, 0);
    LimitNumbers limits = LimitNumbers::read(info[4]);
    auto answer = std::make_shared<CallAnswer>();
    answer->slots = copy_slots(request.slots);
    wasi_->set_output_limit(limits.output_bytes());
    // The time the job waits for a thread is not the guest's.
    auto work = [vm = vm_, answer, function = request.function, arguments = request.arguments, results = request.results, limits]() {
      answer->attempt([&]() { return vm->call({function, answer->slots, arguments, results}, limits.start()); });
    };
    return run_there(info.Env(), answer, work, OutcomeKind::Done, &request.slots);
  });
}

// (token, function, slots, argumentCount, resultCount, timeoutMs): as call_sync, from within the host function of that token.
Napi::Value VmBinding::call_inner_sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = any_vm();
    require(functions_ != nullptr, "token");
    uint64_t token = as_u64(info[0], "token");
    CallRequest request = call_request(info, 1);
    std::vector<bc_slot> slots = copy_slots(request.slots);
    Outcome outcome = functions_->run_inner_here(token, vm, {request.function, slots, request.arguments, request.results},
                                                 deadline_after(as_milliseconds(info[5])));
    if (outcome.kind == OutcomeKind::Done) copy_bytes(request.slots.Data(), slots.data(), std::min(request.slots.ByteLength(), slots.size() * sizeof(bc_slot)));
    return outcome_or_true(info.Env(), outcome, OutcomeKind::Done);
  });
}

// As call, from within the host function of that token (not 0), on the thread that waits for it.
Napi::Value VmBinding::call_inner(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    any_vm();
    require(functions_ != nullptr, "token");
    uint64_t token = as_u64(info[0], "token");
    CallRequest request = call_request(info, 1);
    auto inner = std::make_shared<InnerCall>();
    inner->function = request.function;
    inner->argument_count = request.arguments;
    inner->result_count = request.results;
    inner->timeout_ms = as_milliseconds(info[5]);
    inner->answer.slots = copy_slots(request.slots);
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    auto into = std::make_shared<Napi::Reference<Napi::Uint8Array>>(Napi::Persistent(request.slots));
    functions_->run_inner_there(token, inner, [deferred, inner, into](Napi::Env env) mutable {
      settle(env, deferred, inner->answer, OutcomeKind::Done, into.get());
    });
    return deferred.Promise();
  });
}

// (token, succeeded, slots): ends a call of a host function that was put off.
Napi::Value VmBinding::answer_host_call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    require(functions_ != nullptr && info[1].IsBoolean(), "succeeded");
    functions_->answer(as_u64(info[0], "token"), info[1].As<Napi::Boolean>().Value(), copy_slots(as_slots(info[2])));
    return info.Env().Undefined();
  });
}

// Stops the run that goes on, and no other.
Napi::Value VmBinding::cancel_run(const Napi::CallbackInfo& info) {
  if (vm_ && busy_) vm_->stop().cancel(generation_);
  return info.Env().Undefined();
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
      functions_.reset();
      trace_.reset();
      wasi_->close();
    }
    return info.Env().Undefined();
  });
}

// (fuel: bigint): what each boot or call from now on may use.
Napi::Value VmBinding::set_fuel(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    require(info[0].IsBigInt(), "fuel");
    bool lossless = false;
    int64_t fuel = info[0].As<Napi::BigInt>().Int64Value(&lossless);
    require(lossless && fuel >= 0, "fuel");
    idle_vm().set_fuel(fuel);
    return info.Env().Undefined();
  });
}

// What the last boot or call left; any number, if the guest is hostile.
Napi::Value VmBinding::fuel_left(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return Napi::BigInt::New(info.Env(), idle_vm().fuel_left()); });
}

}  // namespace barecell
