#include "instance.h"

#include <algorithm>
#include <new>
#include <utility>

#include "context.h"

namespace barecell::wasi {
namespace {

struct Function {
  Signature signature;
  Handler handler;
};

constexpr Function kFunctions[] = {
    {{"args_get", "ii", "i"}, args_get},
    {{"args_sizes_get", "ii", "i"}, args_sizes_get},
    {{"clock_res_get", "ii", "i"}, clock_res_get},
    {{"clock_time_get", "iji", "i"}, clock_time_get},
    {{"environ_get", "ii", "i"}, environ_get},
    {{"environ_sizes_get", "ii", "i"}, environ_sizes_get},
    {{"fd_close", "i", "i"}, fd_close},
    {{"fd_fdstat_get", "ii", "i"}, fd_fdstat_get},
    {{"fd_fdstat_set_flags", "ii", "i"}, fd_fdstat_set_flags},
    {{"fd_filestat_get", "ii", "i"}, fd_filestat_get},
    {{"fd_prestat_dir_name", "iii", "i"}, fd_prestat_dir_name},
    {{"fd_prestat_get", "ii", "i"}, fd_prestat_get},
    {{"fd_read", "iiii", "i"}, fd_read},
    {{"fd_seek", "ijii", "i"}, fd_seek},
    {{"fd_tell", "ii", "i"}, fd_tell},
    {{"fd_write", "iiii", "i"}, fd_write},
    {{"poll_oneoff", "iiii", "i"}, poll_oneoff},
    {{"proc_exit", "i", ""}, proc_exit},
    {{"random_get", "ii", "i"}, random_get},
    {{"sched_yield", "", "i"}, sched_yield},
};

constexpr auto kSignatures = [] {
  std::array<Signature, std::size(kFunctions)> list{};
  for (size_t i = 0; i < list.size(); i++) list[i] = kFunctions[i].signature;
  return list;
}();

}  // namespace

std::span<const Signature> signatures() { return kSignatures; }

Instance::Instance(Config config)
    : context_(new Context{
          StringList(std::move(config.args), "argument"),
          StringList(std::move(config.env), "environment variable"),
          Clocks(),
          OutputBudget{config.max_output_bytes},
          {Stream(std::move(config.stdin_), 0), Stream(std::move(config.stdout_), 1), Stream(std::move(config.stderr_), 2)},
      }) {}

HostFunction Instance::bind(std::string_view module, std::string_view name) const {
  Dialect dialect;
  if (module == "wasi_snapshot_preview1") {
    dialect = Dialect::Preview1;
  } else if (module == "wasi_unstable") {
    dialect = Dialect::Unstable;
  } else {
    return {};
  }
  const Function* found = std::ranges::find(kFunctions, name, [](const Function& function) { return function.signature.name; });
  if (found == std::end(kFunctions)) return {};
  return [context = context_, handler = found->handler, dialect](HostCall& call) {
    // The only thing that can be thrown here is the growth of captured output.
    try {
      return handler(*context, call, dialect);
    } catch (const std::bad_alloc&) {
      return answer(call, Errno::Nomem);
    }
  };
}

std::vector<uint8_t> Instance::take_stdout() { return context_->streams[1].take(); }
std::vector<uint8_t> Instance::take_stderr() { return context_->streams[2].take(); }
uint64_t Instance::stdout_total() const noexcept { return context_->streams[1].total_bytes(); }
uint64_t Instance::stderr_total() const noexcept { return context_->streams[2].total_bytes(); }

ClockReading Instance::clocks() const {
  ClockReading reading;
  context_->clocks.now(static_cast<uint32_t>(ClockId::Realtime), &reading.realtime_ns);
  context_->clocks.now(static_cast<uint32_t>(ClockId::Monotonic), &reading.monotonic_ns);
  return reading;
}

}  // namespace barecell::wasi
