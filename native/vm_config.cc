#include "vm_config.h"

#include <algorithm>

#include "napi_values.h"

namespace barecell {
namespace {

int64_t duration_ns(double ms) noexcept { return ms > 0 ? std::max<int64_t>(1, static_cast<int64_t>(std::min(ms, 1e12) * 1e6)) : 0; }

// What is larger than any count is none.
uint64_t count(double value) noexcept { return value >= 0 && value < 9e15 ? static_cast<uint64_t>(value) : UINT64_MAX; }

ImportBinding read_import(const Napi::Object& entry, const std::shared_ptr<wasi::Instance>& wasi, const std::shared_ptr<HostFunctions>& functions,
                          uint32_t index) {
  std::string grant = get_string(entry, "grant");
  ImportBinding binding;
  if (grant == "wasi") {
    // The instance lives as long as its functions do, which is as long as the VM.
    binding.native = [instance = wasi, bound = wasi->bind(get_string(entry, "module"), get_string(entry, "name"))](HostCall& call) { return bound(call); };
  } else if (grant == "host") {
    require(functions != nullptr, "dispatch");
    auto counted = [&](const char* name) { return static_cast<uint32_t>(std::min<uint64_t>(get_u64(entry, name), UINT32_MAX)); };
    binding.script = {[functions, index](Vm& vm, std::span<bc_slot> slots) { return functions->call(index, vm, slots); }, counted("argumentCount"),
                      counted("resultCount")};
  } else if (grant == "zero") {
    binding.native = [](HostCall& call) {
      call.slots = {};
      return HostCallAction::Continue;
    };
  } else {
    require(grant == "closed", "grant");
  }
  return binding;
}

}  // namespace

int64_t deadline_after(double timeout_ms) noexcept {
  int64_t duration = duration_ns(timeout_ms);
  return duration == 0 ? 0 : monotonic_ns() + duration;
}

VmOptions read_vm_options(const Napi::Object& config, const std::shared_ptr<wasi::Instance>& wasi, const std::shared_ptr<HostFunctions>& functions) {
  VmOptions options;
  options.staged = get_bool(config, "staged");
  options.max_linear_bytes = get_u64(config, "maxLinearBytes");
  require(options.max_linear_bytes <= BC_MEMORIES_MAX * uint64_t{BC_LINEAR_MAX_BYTES} && options.max_linear_bytes % BC_WASM_PAGE_SIZE == 0, "maxLinearBytes");
  bool in_guest = get_bool(config, "answersInGuest");
  Napi::Array imports = get_array(config, "imports");
  for (uint32_t i = 0; i < imports.Length(); i++) {
    Napi::Object entry = as_object(imports.Get(i), "imports");
    if (in_guest && get_string(entry, "grant") == "wasi") {
      std::string name = get_string(entry, "name");
      // A fixed clock moves when it is asked, and a fixed generator has one seed: those are the host's to answer.
      if (name == "clock_time_get" && !wasi->has_fixed_clock()) options.answers.clock = [wasi]() { return wasi->clocks(); };
      if (name == "random_get" && !wasi->has_fixed_random()) options.answers.random = true;
      if (name == "fd_write") options.output = wasi->output_taker();
    }
    options.imports.push_back(read_import(entry, wasi, functions, i));
  }
  return options;
}

LimitNumbers LimitNumbers::read(const Napi::Value& value) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array, "limits");
  auto array = value.As<Napi::Float64Array>();
  require(array.ElementLength() == kCount, "limits");
  LimitNumbers numbers;
  std::copy_n(array.Data(), size_t{kCount}, numbers.values);
  return numbers;
}

RunLimits LimitNumbers::start() const noexcept {
  RunLimits limits;
  limits.time = {deadline_after(values[kTimeoutMs]), duration_ns(values[kGuestTimeoutMs]), duration_ns(values[kCpuTimeMs])};
  limits.max_host_calls = count(values[kHostCalls]);
  limits.max_linear_bytes = count(values[kMemoryBytes]);
  limits.max_stack_bytes = count(values[kStackBytes]);
  limits.max_table_elements = static_cast<uint32_t>(std::min<uint64_t>(count(values[kTableElements]), UINT32_MAX));
  return limits;
}

uint64_t LimitNumbers::output_bytes() const noexcept { return count(values[kOutputBytes]); }

}  // namespace barecell
