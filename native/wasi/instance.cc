#include "instance.h"

#include <algorithm>
#include <new>
#include <utility>

#include "../failure.h"
#include "bundle_directory.h"
#include "context.h"
#include "guest_path.h"
#include "host_directory.h"
#include "memory_file.h"
#include "sockets.h"

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
    {{"fd_advise", "ijji", "i"}, fd_advise},
    {{"fd_allocate", "ijj", "i"}, fd_allocate},
    {{"fd_close", "i", "i"}, fd_close},
    {{"fd_datasync", "i", "i"}, fd_datasync},
    {{"fd_fdstat_get", "ii", "i"}, fd_fdstat_get},
    {{"fd_fdstat_set_flags", "ii", "i"}, fd_fdstat_set_flags},
    {{"fd_fdstat_set_rights", "ijj", "i"}, fd_fdstat_set_rights},
    {{"fd_filestat_get", "ii", "i"}, fd_filestat_get},
    {{"fd_filestat_set_size", "ij", "i"}, fd_filestat_set_size},
    {{"fd_filestat_set_times", "ijji", "i"}, fd_filestat_set_times},
    {{"fd_pread", "iiiji", "i"}, fd_pread},
    {{"fd_prestat_dir_name", "iii", "i"}, fd_prestat_dir_name},
    {{"fd_prestat_get", "ii", "i"}, fd_prestat_get},
    {{"fd_pwrite", "iiiji", "i"}, fd_pwrite},
    {{"fd_read", "iiii", "i"}, fd_read},
    {{"fd_readdir", "iiiji", "i"}, fd_readdir},
    {{"fd_renumber", "ii", "i"}, fd_renumber},
    {{"fd_seek", "ijii", "i"}, fd_seek},
    {{"fd_sync", "i", "i"}, fd_sync},
    {{"fd_tell", "ii", "i"}, fd_tell},
    {{"fd_write", "iiii", "i"}, fd_write},
    {{"path_create_directory", "iii", "i"}, path_create_directory},
    {{"path_filestat_get", "iiiii", "i"}, path_filestat_get},
    {{"path_filestat_set_times", "iiiijji", "i"}, path_filestat_set_times},
    {{"path_link", "iiiiiii", "i"}, path_link},
    {{"path_open", "iiiiijjii", "i"}, path_open},
    {{"path_readlink", "iiiiii", "i"}, path_readlink},
    {{"path_remove_directory", "iii", "i"}, path_remove_directory},
    {{"path_rename", "iiiiii", "i"}, path_rename},
    {{"path_symlink", "iiiii", "i"}, path_symlink},
    {{"path_unlink_file", "iii", "i"}, path_unlink_file},
    {{"poll_oneoff", "iiii", "i"}, poll_oneoff},
    {{"proc_exit", "i", ""}, proc_exit},
    {{"proc_raise", "i", "i"}, proc_raise},
    {{"random_get", "ii", "i"}, random_get},
    {{"sched_yield", "", "i"}, sched_yield},
    {{"sock_accept", "iii", "i"}, sock_accept},
    {{"sock_recv", "iiiiii", "i"}, sock_recv},
    {{"sock_send", "iiiii", "i"}, sock_send},
    {{"sock_shutdown", "ii", "i"}, sock_shutdown},
};

constexpr auto kSignatures = [] {
  std::array<Signature, std::size(kFunctions)> list{};
  for (size_t i = 0; i < list.size(); i++) list[i] = kFunctions[i].signature;
  return list;
}();

std::shared_ptr<Directory> make_memory_directory(uint64_t max_bytes, unsigned max_depth, uint64_t number, Context& context) {
  // No device of the host has such a number.
  uint64_t device = uint64_t{1} << 63 | number;
  auto now = [&clocks = context.clocks] { return clocks.realtime(); };
  return MemoryDirectory::make(std::make_shared<MemoryFileSystem>(max_bytes, max_depth, device, now));
}

std::shared_ptr<Directory> open_preopen(const PreopenConfig& config, const Config& all, size_t number, Context& context) {
  const std::string& name = config.guest_path;
  if (name.empty() || name.find('\0') != std::string::npos || name.size() >= kMaxPathBytes || !is_utf8(name)) {
    throw Failure("BARECELL_ARGUMENT_INVALID", "the guest's path of a directory must be UTF-8 of 1 to 4095 bytes, without NUL");
  }
  if (config.bundle_root) {
    if (!all.bundle || *config.bundle_root >= all.bundle->root_count()) {
      throw Failure("BARECELL_ARGUMENT_INVALID", "the image's bundle has no such directory");
    }
    return BundleDirectory::make(all.bundle, *config.bundle_root);
  }
  if (!config.host_path.empty()) {
    if (config.host_path.find('\0') != std::string::npos) {
      throw Failure("BARECELL_ARGUMENT_INVALID", "the path of a directory contains a NUL byte");
    }
    return HostDirectory::hand_in(config.host_path, config.read_only, all.limits.max_directory_depth, context.storage);
  }
  return make_memory_directory(config.max_bytes, all.limits.max_directory_depth, number, context);
}

}  // namespace

std::span<const Signature> signatures() { return kSignatures; }

// What the guest finds when it starts.
struct Instance::HandedIn {
  Entry entry;
  // For what is made anew at a reset.
  std::function<std::shared_ptr<Directory>()> make;
};

Instance::Instance(Config config)
    : context_(new Context{
          StringList(std::move(config.args), "argument"),
          StringList(std::move(config.env), "environment variable"),
          Clocks(config.fixed_clock, config.clock_start_ns, config.elapsed_ns),
          config.fixed_random ? std::optional<FixedRandom>(config.random_seed) : std::nullopt,
          OutputBudget{config.max_output_bytes},
          WriteBudget(config.limits.max_write_bytes),
          DescriptorTable(config.limits.max_open_files),
          {},
          {},
          false,
      }),
      limits_(config.limits),
      random_seed_(config.random_seed) {
  StreamConfig* streams[] = {&config.stdin_, &config.stdout_, &config.stderr_};
  for (unsigned i = 0; i < 3; i++) {
    auto stream = std::make_shared<Stream>(std::move(*streams[i]), i, context_->output);
    context_->streams[i] = stream;
    Rights rights = stream->base_rights();
    context_->descriptors.add_first({std::move(stream), rights, 0, {}});
  }
  for (size_t i = 0; i < config.preopens.size(); i++) {
    const PreopenConfig& preopen = config.preopens[i];
    std::shared_ptr<Directory> directory = open_preopen(preopen, config, i, *context_);
    HandedIn handed_in{{directory, directory->base_rights(), directory->inheriting_rights(), preopen.guest_path}, {}};
    // One in memory is the program's own, and made anew at a reset.
    if (preopen.host_path.empty() && !preopen.bundle_root) {
      handed_in.make = [this, preopen, i]() { return make_memory_directory(preopen.max_bytes, limits_.max_directory_depth, i, *context_); };
    }
    hand_in(std::move(handed_in));
  }
  for (int fd : config.sockets) {
    std::shared_ptr<Socket> socket = Socket::hand_in(fd);
    hand_in({{socket, socket->base_rights(), socket->inheriting_rights(), {}}, {}});
  }
  context_->descriptors.mark_start();
}

Instance::~Instance() = default;

void Instance::hand_in(HandedIn handed_in) {
  if (context_->descriptors.full()) {
    throw Failure("BARECELL_ARGUMENT_INVALID", "more directories and sockets are handed in than descriptors may be open");
  }
  context_->descriptors.add(handed_in.entry);
  handed_in_.push_back(std::move(handed_in));
}

void Instance::mark_ready() noexcept { context_->clocks.mark_ready(); }

void Instance::reset() {
  context_->clocks.restart();
  if (context_->random) context_->random.emplace(random_seed_);
  // Most calls ask for nothing.
  if (!context_->used) return;
  context_->reads = {};
  context_->output.used = 0;
  context_->storage = WriteBudget(limits_.max_write_bytes);
  // First all that is open goes, a directory's files with it: they are paid for from budgets of their own.
  context_->descriptors = DescriptorTable(limits_.max_open_files);
  for (const std::shared_ptr<Stream>& stream : context_->streams) {
    stream->restart();
    context_->descriptors.add_first({stream, stream->base_rights(), 0, {}});
  }
  for (HandedIn& handed_in : handed_in_) {
    if (handed_in.make) handed_in.entry.object = handed_in.make();
    handed_in.entry.object->set_flags(0);
    context_->descriptors.add(handed_in.entry);
  }
  context_->descriptors.mark_start();
  context_->used = false;
}

bool Instance::was_used() const noexcept { return context_->used; }

HostFunction Instance::bind(std::string_view module, std::string_view name) const {
  Dialect dialect;
  if (module == kModules[0]) {
    dialect = Dialect::Preview1;
  } else if (module == kModules[1]) {
    dialect = Dialect::Unstable;
  } else {
    return {};
  }
  const Function* found = std::ranges::find(kFunctions, name, [](const Function& function) { return function.signature.name; });
  if (found == std::end(kFunctions)) return {};
  return [context = context_, handler = found->handler, dialect](HostCall& call) {
    context->used = true;
    // Nothing else is thrown here.
    try {
      return handler(*context, call, dialect);
    } catch (const std::bad_alloc&) {
      return answer(call, Errno::Nomem);
    }
  };
}

void Instance::set_output_limit(uint64_t max_bytes) noexcept { context_->output.limit = max_bytes; }

std::string Instance::snapshot_obstacle() const {
  std::vector<const Descriptor*> given;
  for (const std::shared_ptr<Stream>& stream : context_->streams) given.push_back(stream.get());
  for (const HandedIn& handed_in : handed_in_) given.push_back(handed_in.entry.object.get());
  for (uint32_t fd = 0; fd < context_->descriptors.end(); fd++) {
    const Entry* entry = context_->descriptors.find(fd);
    std::string name = "descriptor " + std::to_string(fd);
    if (fd >= given.size()) {
      if (entry != nullptr) return name + " is open";
      continue;
    }
    if (entry == nullptr) return name + ", which the host handed in, is closed";
    if (entry->object.get() != given[fd]) return name + " stands for another one";
    if (entry->object->holds_data()) return "the directory in memory '" + entry->preopen_name.value_or("") + "' is not empty";
  }
  return {};
}

void Instance::close() noexcept {
  context_->descriptors.clear();
  handed_in_.clear();
  for (const std::shared_ptr<Stream>& stream : context_->streams) stream->close();
}

std::vector<uint8_t> Instance::take_stdout() { return context_->streams[1]->take(); }
std::vector<uint8_t> Instance::take_stderr() { return context_->streams[2]->take(); }
uint64_t Instance::stdout_total() const noexcept { return context_->streams[1]->total_bytes(); }
uint64_t Instance::stderr_total() const noexcept { return context_->streams[2]->total_bytes(); }

bool Instance::has_fixed_clock() const noexcept { return context_->clocks.is_fixed(); }
bool Instance::has_fixed_random() const noexcept { return context_->random.has_value(); }

ClockReading Instance::clocks() const {
  ClockReading reading;
  context_->clocks.now(static_cast<uint32_t>(ClockId::Realtime), &reading.realtime_ns);
  context_->clocks.now(static_cast<uint32_t>(ClockId::Monotonic), &reading.monotonic_ns);
  return reading;
}

}  // namespace barecell::wasi
