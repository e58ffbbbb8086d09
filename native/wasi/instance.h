// WASI preview 1. Nothing is reachable that the configuration does not name.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../guest_answers.h"
#include "../guest_input.h"
#include "../guest_output.h"
#include "../guest_start.h"
#include "../host_call.h"
#include "bundle.h"
#include "limits.h"
#include "streams.h"

namespace barecell::wasi {

struct Context;
struct Entry;

// 2000-01-01T00:00:00Z
constexpr uint64_t kFixedClockStart = 946'684'800'000'000'000;

// A directory that the guest finds at descriptor 3 and up: one of the host's, an empty one in memory, or one of the
// image's bundle.
struct PreopenConfig {
  std::string guest_path;
  std::string host_path;  // empty: in memory
  bool read_only = true;
  uint64_t max_bytes = 0;  // of one in memory
  std::optional<uint32_t> bundle_root = std::nullopt;
};

struct Config {
  std::vector<std::string> args;  // the first is the program's name
  std::vector<std::string> env;   // KEY=VALUE
  StreamConfig stdin_;
  StreamConfig stdout_;
  StreamConfig stderr_;
  uint64_t max_output_bytes = 16 << 20;  // captured bytes, both streams together
  std::shared_ptr<const Bundle> bundle;  // may be null
  std::vector<PreopenConfig> preopens;
  std::vector<int> sockets;  // of the host; the guest finds them after the directories
  Limits limits;
  // Of the program's own, the same in every run.
  bool fixed_clock = false;
  uint64_t clock_start_ns = kFixedClockStart;  // since 1970, of a fixed clock
  bool fixed_random = false;
  uint64_t random_seed = 0;
  // What the monotonic clock begins with: a program that goes on from a snapshot must not see time go back.
  uint64_t elapsed_ns = 0;
};

// What programs import from, in the order of WASI_MODULES in src/wasi-modules.ts.
constexpr std::array<std::string_view, 2> kModules{"wasi_snapshot_preview1", "wasi_unstable"};

// The type of a function, for checking a module's imports before it is run: "i" is i32, "j" is i64.
struct Signature {
  std::string_view name;
  std::string_view params;
  std::string_view results;
};

// What both modules, `wasi_snapshot_preview1` and `wasi_unstable`, offer here; the types are the same in both.
std::span<const Signature> signatures();

// The state of one program. Bound functions share it, so they may outlive this object; but it is not locked: they run on one
// thread at a time, and take_* and *_total are for when no call is running.
class Instance {
 public:
  // Throws a Failure if the configuration cannot be passed on: a string with a NUL byte, too many bytes, a stream without a
  // descriptor, a directory that cannot be opened. Descriptors of streams stay the caller's, and must stay open as long as bound
  // functions are called.
  explicit Instance(Config config);
  ~Instance();

  // The function behind an import; empty if there is none of that name.
  HostFunction bind(std::string_view module, std::string_view name) const;

  // The clocks that clock_time_get shows, for a guest that answers by itself.
  ClockReading clocks() const;
  bool has_fixed_clock() const noexcept;
  bool has_fixed_random() const noexcept;
  // Takes the output that a guest keeps for a while, in the same way as fd_write does.
  std::shared_ptr<OutputTaker> output_taker() const;
  // Gives the program ahead what it is going to read.
  std::shared_ptr<InputSource> input_source() const;
  // Answers what the program asks for when it starts, as args_get and the like do.
  std::shared_ptr<StartTeller> start_teller() const;
  // The program is initialised, from where reset() lets it go on.
  void mark_ready() noexcept;
  // As if none of its functions had been called: descriptors, directories in memory, budgets, clocks, captured output. What lies in the host's own
  // directories and descriptors stays. May throw std::bad_alloc.
  void reset();
  // Whether reset() has more to do than to begin with a new seed and new clocks.
  bool was_used() const noexcept;
  // Why another instance could not go on where this one is, in words; empty if it could: nothing is open but what was handed in, and directories in memory
  // are empty.
  std::string snapshot_obstacle() const;
  // Gives back all that the program has open, when it will not be called again; what was captured stays. This object may live on
  // for long after its VM, until it is collected.
  void close() noexcept;

  // From now on; what was captured so far counts.
  void set_output_limit(uint64_t max_bytes) noexcept;

  // What the guest wrote to a stream of kind Capture since the last time. The limit counts on.
  std::vector<uint8_t> take_stdout();
  std::vector<uint8_t> take_stderr();
  // Bytes written so far, whatever became of them.
  uint64_t stdout_total() const noexcept;
  uint64_t stderr_total() const noexcept;

 private:
  struct HandedIn;

  void hand_in(HandedIn handed_in);

  std::shared_ptr<Context> context_;
  Limits limits_;
  uint64_t random_seed_ = 0;
  std::vector<HandedIn> handed_in_;
};

}  // namespace barecell::wasi
