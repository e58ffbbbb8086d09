#include "call_trace.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "failure.h"

namespace barecell {
namespace {

// What waits for JavaScript at most, but for one record.
constexpr size_t kMaxPendingBytes = 256 << 10;
// What is kept of a capture, and how many vectors are looked at. More values than this a call has in hostile modules only.
constexpr size_t kCaptureBytes = 64;
constexpr uint32_t kMaxVectors = 64;
constexpr size_t kMaxValues = 32;

// How a record begins; then come its arguments, its results (16 bytes each), and its captures.
struct RecordHeader {
  uint32_t size_bytes;
  uint32_t import;
  uint32_t action;
  uint16_t argument_count;
  uint16_t result_count;
  int64_t start_ns;
  int64_t duration_ns;
  uint32_t capture_count;
  uint32_t padding;
};
static_assert(sizeof(RecordHeader) == 40);

// How a capture begins; then come `kept_bytes` bytes.
struct CaptureHeader {
  uint32_t plan;
  uint32_t kept_bytes;
  uint64_t total_bytes;
};
static_assert(sizeof(CaptureHeader) == 16);

template <typename Value>
void put(std::vector<uint8_t>& bytes, const Value& value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  bytes.insert(bytes.end(), from, from + sizeof value);
}

void put_slots(std::vector<uint8_t>& bytes, std::span<const bc_slot> slots) {
  const auto* from = reinterpret_cast<const uint8_t*>(slots.data());
  bytes.insert(bytes.end(), from, from + slots.size_bytes());
}

// Bytes of the guest's, as far as they are kept. False: some of what is kept lies outside its memory.
class Kept {
 public:
  explicit Kept(const LinearMemory& memory) : memory_(memory) {}

  bool add(uint64_t offset, uint64_t count) noexcept {
    total += count;
    size_t room = std::min<uint64_t>(count, kCaptureBytes - size);
    if (!memory_.read(offset, bytes + size, room)) return false;
    size += room;
    return true;
  }

  size_t size = 0;
  uint64_t total = 0;
  uint8_t bytes[kCaptureBytes];

 private:
  const LinearMemory& memory_;
};

bool gather_vectors(Kept& kept, const LinearMemory& memory, uint64_t offset, uint32_t count, uint64_t limit) noexcept {
  for (uint32_t i = 0; i < std::min(count, kMaxVectors); i++) {
    uint32_t vector[2];
    if (!memory.read(offset + uint64_t{i} * sizeof vector, vector, sizeof vector)) return false;
    if (!kept.add(vector[0], std::min<uint64_t>(vector[1], limit - kept.total))) return false;
  }
  return true;
}

// Arguments are the guest's and hostile; what cannot be read is left out.
bool capture(std::vector<uint8_t>& record, uint32_t number, const CallCapture& plan, std::span<const bc_slot> arguments, const LinearMemory& memory) {
  auto argument = [&](int64_t place) { return place >= 0 && static_cast<size_t>(place) < arguments.size() ? arguments[static_cast<size_t>(place)].u32 : 0; };
  uint64_t limit = UINT64_MAX;
  if (plan.limit >= 0) {
    uint32_t value = 0;
    if (!memory.read_value(argument(plan.limit), &value)) return false;
    limit = value;
  }
  Kept kept(memory);
  uint32_t length = plan.length >= 0 ? argument(plan.length) : plan.fixed_bytes;
  uint32_t pointer = argument(plan.pointer);
  bool fits = plan.kind == CallCapture::Kind::Vectors ? gather_vectors(kept, memory, pointer, length, limit)
                                                      : kept.add(pointer, std::min<uint64_t>(length, limit));
  if (!fits) return false;
  put(record, CaptureHeader{number, static_cast<uint32_t>(kept.size), kept.total});
  record.insert(record.end(), kept.bytes, kept.bytes + kept.size);
  return true;
}

uint32_t capture_all(std::vector<uint8_t>& record, const CallPlan& plan, bool after, std::span<const bc_slot> arguments, const LinearMemory& memory) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < plan.captures.size(); i++) {
    if (plan.captures[i].after == after && capture(record, i, plan.captures[i], arguments, memory)) count++;
  }
  return count;
}

}  // namespace

CallTrace::CallTrace(Environment& environment, Napi::Function deliver, std::vector<CallPlan> plans)
    : environment_(environment), deliver_(Napi::Weak(deliver)), plans_(std::move(plans)), delivered_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!delivered_) fail_errno("BARECELL_KVM_FAILED", "cannot make a descriptor for tracing (eventfd)");
}

HostCallAction CallTrace::observe(size_t import, std::span<bc_slot> slots, LinearMemory& memory, StopControl& stop, Waiter& waiter,
                                  const std::function<HostCallAction()>& serve) {
  static const CallPlan none;
  const CallPlan& plan = import < plans_.size() ? plans_[import] : none;
  auto first = [&slots](uint32_t count) { return slots.first(std::min({size_t{count}, slots.size(), kMaxValues})); };
  // Copies: the results go to the same place.
  std::span<bc_slot> given = first(plan.argument_count);
  const std::vector<bc_slot> arguments(given.begin(), given.end());
  std::vector<uint8_t> captures;
  uint32_t capture_count = capture_all(captures, plan, false, arguments, memory);

  int64_t start_ns = monotonic_ns();
  HostCallAction action = serve();
  int64_t duration_ns = monotonic_ns() - start_ns;

  std::span<const bc_slot> results = action == HostCallAction::Continue ? first(plan.result_count) : std::span<bc_slot>();
  if (!results.empty() && results[0].u32 == 0) capture_count += capture_all(captures, plan, true, arguments, memory);
  size_t size_bytes = sizeof(RecordHeader) + (arguments.size() + results.size()) * sizeof(bc_slot) + captures.size();
  std::vector<uint8_t> record;
  record.reserve(size_bytes);
  put(record, RecordHeader{static_cast<uint32_t>(size_bytes), static_cast<uint32_t>(import), static_cast<uint32_t>(action),
                           static_cast<uint16_t>(arguments.size()), static_cast<uint16_t>(results.size()), start_ns, duration_ns, capture_count, 0});
  put_slots(record, arguments);
  put_slots(record, results);
  record.insert(record.end(), captures.begin(), captures.end());
  append(record, stop, waiter);
  return action;
}

bool CallTrace::is_full() {
  std::lock_guard lock(mutex_);
  return pending_.size() >= kMaxPendingBytes;
}

void CallTrace::append(const std::vector<uint8_t>& record, StopControl& stop, Waiter& waiter) {
  const bool here = environment_.is_this_thread();
  bool full = false;
  bool post = false;
  {
    std::lock_guard lock(mutex_);
    pending_.insert(pending_.end(), record.begin(), record.end());
    full = pending_.size() >= kMaxPendingBytes;
    post = !here && !is_posted_;
    if (post) is_posted_ = true;
  }
  if (post) environment_.post([self = shared_from_this()](Napi::Env env) { self->deliver(env); });
  if (!full) return;
  if (here) {
    // Nobody else could take them.
    PausedRun paused(stop, false);
    deliver(deliver_.Env());
    return;
  }
  // A stop is found again by the run loop, before it enters the guest.
  while (is_full() && waiter.wait(delivered_.get(), POLLIN, -1) >= 0) {
    uint64_t count = 0;
    [[maybe_unused]] ssize_t got = read(delivered_.get(), &count, sizeof count);
  }
}

void CallTrace::deliver(Napi::Env env) {
  std::vector<uint8_t> batch;
  {
    std::lock_guard lock(mutex_);
    batch.swap(pending_);
    is_posted_ = false;
  }
  uint64_t one = 1;
  [[maybe_unused]] ssize_t done = write(delivered_.get(), &one, sizeof one);
  if (batch.empty()) return;
  try {
    Napi::HandleScope scope(env);
    Napi::Value function = deliver_.Value();
    if (!function.IsFunction()) return;
    auto bytes = Napi::Uint8Array::New(env, batch.size());
    copy_bytes(bytes.Data(), batch.data(), batch.size());
    function.As<Napi::Function>().Call({bytes});
  } catch (const Napi::Error&) {
    // It never throws by itself; a thread that is being terminated does.
  }
}

}  // namespace barecell
