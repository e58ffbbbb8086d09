#include "vm_config.h"

#include <algorithm>

#include "napi_values.h"

namespace barecell {
namespace {

int64_t duration_ns(double ms) noexcept { return ms > 0 ? std::max<int64_t>(1, static_cast<int64_t>(std::min(ms, 1e12) * 1e6)) : 0; }

// What is larger than any count is none.
uint64_t count(double value) noexcept { return value >= 0 && value < 9e15 ? static_cast<uint64_t>(value) : UINT64_MAX; }

// What a port's three numbers begin with: GRANT_NUMBERS of src/vm/addon.ts.
enum class GrantKind : int32_t { Closed, Zero, Wasi, Host };

struct Grant {
  GrantKind kind;
  uint32_t a, b;
};

std::vector<Grant> read_grants(const Napi::Value& value) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_int32_array, "grants");
  auto numbers = value.As<Napi::Int32Array>();
  require(numbers.ElementLength() % 3 == 0, "grants");
  std::vector<Grant> grants;
  for (size_t i = 0; i < numbers.ElementLength(); i += 3) {
    require(numbers[i] >= 0 && numbers[i] <= static_cast<int32_t>(GrantKind::Host), "grants");
    grants.push_back({static_cast<GrantKind>(numbers[i]), static_cast<uint32_t>(numbers[i + 1]), static_cast<uint32_t>(numbers[i + 2])});
  }
  return grants;
}

ImportBinding bind_import(const Grant& grant, const std::shared_ptr<wasi::Instance>& wasi, const std::shared_ptr<HostFunctions>& functions, uint32_t index) {
  ImportBinding binding;
  switch (grant.kind) {
    case GrantKind::Wasi:
      require(grant.a < wasi::signatures().size() && grant.b < wasi::kModules.size(), "grants");
      // The instance lives as long as its functions do, which is as long as the VM.
      binding.native = [instance = wasi, bound = wasi->bind(wasi::kModules[grant.b], wasi::signatures()[grant.a].name)](HostCall& call) { return bound(call); };
      break;
    case GrantKind::Host:
      require(functions != nullptr, "dispatch");
      binding.script = {[functions, index](Vm& vm, std::span<bc_slot> slots) { return functions->call(index, vm, slots); }, grant.a, grant.b};
      break;
    case GrantKind::Zero:
      binding.native = [](HostCall& call) {
        call.slots = {};
        return HostCallAction::Continue;
      };
      break;
    case GrantKind::Closed:
      break;
  }
  return binding;
}

constexpr std::pair<std::string_view, uint32_t> kStartAnswers[] = {
    {"args_sizes_get", BC_ANSWER_ARGS_SIZES},
    {"args_get", BC_ANSWER_ARGS},
    {"environ_sizes_get", BC_ANSWER_ENVIRON_SIZES},
    {"environ_get", BC_ANSWER_ENVIRON},
    {"fd_prestat_get", BC_ANSWER_PRESTAT},
    {"fd_prestat_dir_name", BC_ANSWER_PRESTAT_NAME},
    {"fd_fdstat_get", BC_ANSWER_FDSTAT},
};

// What the guest may answer itself.
void allow_answers(VmOptions& options, const Grant& grant, const std::shared_ptr<wasi::Instance>& wasi) {
  if (grant.kind != GrantKind::Wasi) return;
  std::string_view name = wasi::signatures()[grant.a].name;
  // A fixed clock moves when it is asked, and a fixed generator has one seed: those are the host's to answer.
  if (name == "clock_time_get" && !wasi->has_fixed_clock()) options.answers.clock = [wasi]() { return wasi->clocks(); };
  if (name == "random_get" && !wasi->has_fixed_random()) options.answers.random = true;
  for (const auto& [asked, bit] : kStartAnswers) {
    if (name != asked) continue;
    if (!options.start.teller) options.start.teller = wasi->start_teller();
    options.start.answers |= bit;
  }
  if (name == "fd_read") options.input = wasi->input_source();
  if (name == "fd_write") options.output = wasi->output_taker();
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
  std::vector<Grant> grants = read_grants(config.Get("grants"));
  for (uint32_t i = 0; i < grants.size(); i++) {
    options.imports.push_back(bind_import(grants[i], wasi, functions, i));
    if (in_guest) allow_answers(options, grants[i], wasi);
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
