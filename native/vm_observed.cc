// What JavaScript may know of how a VM spends its time: counters, usage, KVM's statistics, and the records of its host calls.
#include "call_trace.h"
#include "kvm_stats.h"
#include "napi_values.h"
#include "vm_binding.h"

namespace barecell {
namespace {

int32_t get_place(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  require(value.IsNumber(), name);
  return value.As<Napi::Number>().Int32Value();
}

CallCapture read_capture(const Napi::Object& entry) {
  CallCapture capture;
  capture.kind = get_bool(entry, "vectors") ? CallCapture::Kind::Vectors : CallCapture::Kind::Range;
  capture.after = get_bool(entry, "after");
  capture.pointer = static_cast<uint32_t>(get_u64(entry, "pointer"));
  capture.length = get_place(entry, "length");
  capture.limit = get_place(entry, "limit");
  capture.fixed_bytes = static_cast<uint32_t>(get_u64(entry, "fixedBytes"));
  return capture;
}

}  // namespace

// { deliver, imports: [{ argumentCount, resultCount, captures: [{ vectors, after, pointer, length, limit, fixedBytes }] }] }, or undefined for no trace
std::shared_ptr<CallTrace> read_call_trace(const Napi::Value& value, Environment& environment) {
  if (value.IsUndefined()) return nullptr;
  Napi::Object config = as_object(value, "trace");
  require(config.Get("deliver").IsFunction(), "deliver");
  Napi::Array imports = get_array(config, "imports");
  std::vector<CallPlan> plans;
  for (uint32_t i = 0; i < imports.Length(); i++) {
    Napi::Object entry = as_object(imports.Get(i), "imports");
    CallPlan plan;
    plan.argument_count = static_cast<uint32_t>(get_u64(entry, "argumentCount"));
    plan.result_count = static_cast<uint32_t>(get_u64(entry, "resultCount"));
    Napi::Array captures = get_array(entry, "captures");
    for (uint32_t j = 0; j < captures.Length(); j++) plan.captures.push_back(read_capture(as_object(captures.Get(j), "captures")));
    plans.push_back(std::move(plan));
  }
  return std::make_shared<CallTrace>(environment, config.Get("deliver").As<Napi::Function>(), std::move(plans));
}

// How often each import was called, in the order of the manifest, and how often growth was refused: a BigUint64Array that goes on to show the counts as they are, while a run goes on and when
// the VM is gone. To be asked for before the boot.
Napi::Value VmBinding::counts(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    CounterSlab::Stretch stretch = Environment::of(info.Env()).counters.take(info.Env(), vm.count_of_counts());
    vm.count_in(std::move(stretch.owner), stretch.counters);
    return stretch.view;
  });
}

// Sums over all runs; all 0 if the VM was not made with `usage`.
Napi::Value VmBinding::usage(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const RunUsage& usage = idle_vm().usage();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("userUs", static_cast<double>(usage.user_us));
    object.Set("systemUs", static_cast<double>(usage.system_us));
    object.Set("minorFaults", static_cast<double>(usage.minor_faults));
    object.Set("majorFaults", static_cast<double>(usage.major_faults));
    return object;
  });
}

// Name and value of what KVM counted for the VM and its vCPU; empty where it counts nothing.
Napi::Value VmBinding::kvm_stats(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Vm& vm = idle_vm();
    Napi::Object object = Napi::Object::New(info.Env());
    for (int fd : {vm.vm_fd(), vm.vcpu_fd()}) {
      if (fd < 0) continue;
      for (const KvmStatistic& statistic : read_kvm_stats(fd)) object.Set(statistic.name, static_cast<double>(statistic.value));
    }
    return object;
  });
}

// Delivers the records that are still here.
Napi::Value VmBinding::drain_trace(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (trace_) trace_->deliver(info.Env());
    return info.Env().Undefined();
  });
}

}  // namespace barecell
