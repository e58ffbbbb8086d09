// poll_oneoff: sleeping, and waiting for descriptors.
//
// Which failures end the call and which come as an event: what is no subscription at all (a type, clock or flag that the
// specification does not have) is EINVAL for the call, before anything is waited for; what cannot be waited for (a closed
// descriptor, a right that is missing, a CPU-time clock) is an event with an error, as $event.error is for, and as wasi-libc's
// poll() expects (EBADF becomes POLLNVAL).
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <vector>

#include "../owners.h"
#include "context.h"
#include "host_io.h"

namespace barecell::wasi {
namespace {

// Copies of subscriptions lie on the stack, so there is a limit. POSIX's poll() says EINVAL beyond its own. Real programs have a
// handful.
constexpr uint32_t kMaxSubscriptions = 1024;
// Longest single wait. The time left is computed again after it, so this only bounds the arithmetic.
constexpr uint64_t kLongestWaitNs = 3'600'000'000'000;
// The same where the clock can be set: a step is noticed this late at most.
constexpr uint64_t kLongestRealtimeWaitNs = 1'000'000'000;
// "Bytes available for writing" are not known of a descriptor; a pipe that is ready has room for this much.
constexpr uint64_t kWritableBytes = 4096;

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

struct Subscription {
  uint64_t userdata;
  uint64_t due;  // of the host's CLOCK_MONOTONIC or CLOCK_REALTIME
  uint32_t fd;
  uint8_t type;
  bool realtime;
  Errno error;
};

// The host descriptors to wait for; two of the guest's can have the same one.
class WaitSet {
 public:
  void add(int fd, short events) {
    for (pollfd& entry : entries_) {
      if (entry.fd == fd) {
        entry.events = static_cast<short>(entry.events | events);
        return;
      }
    }
    entries_.push_back({fd, events, 0});
  }
  // Looks without waiting.
  void look() noexcept {
    while (!entries_.empty() && ::poll(entries_.data(), entries_.size(), 0) < 0 && errno == EINTR) {
    }
  }
  short events_of(int fd) const noexcept {
    auto found = std::ranges::find(entries_, fd, &pollfd::fd);
    return found == entries_.end() ? short{0} : found->revents;
  }
  // Until one of them may be ready, the time has passed, or the call must end (negative). Sets `error` if the host has no means
  // for it.
  int wait(Waiter& waiter, int64_t timeout_ns, Errno* error) const noexcept {
    if (entries_.empty()) return waiter.wait(-1, 0, timeout_ns);
    if (entries_.size() == 1) return waiter.wait(entries_[0].fd, entries_[0].events, timeout_ns);
    // A Waiter waits for one descriptor. An epoll instance is one that stands for several.
    UniqueFd all(epoll_create1(EPOLL_CLOEXEC));
    bool failed = !all;
    for (size_t i = 0; i < entries_.size() && !failed; i++) {
      epoll_event event{};
      // poll.h and epoll.h share the values of these.
      event.events = static_cast<uint32_t>(entries_[i].events);
      failed = epoll_ctl(all.get(), EPOLL_CTL_ADD, entries_[i].fd, &event) < 0;
    }
    if (failed) {
      *error = errno_of_host(errno);
      return 0;
    }
    return waiter.wait(all.get(), POLLIN, timeout_ns);
  }

 private:
  std::vector<pollfd> entries_;
};

uint64_t saturating_add(uint64_t a, uint64_t b) noexcept { return a + b < a ? std::numeric_limits<uint64_t>::max() : a + b; }

uint64_t clock_of(const Subscription& subscription, const Clocks& clocks) noexcept {
  return subscription.realtime ? clocks.realtime() : clocks.monotonic();
}

// A relative time counts on the monotonic clock whichever clock it names: setting the clock does not change how long something
// lasts (POSIX says so of relative timers on CLOCK_REALTIME).
Errno decode_clock(const SubscriptionClock& clock, const Clocks& clocks, Subscription* to) noexcept {
  if (clock.id >= kClockIds || (clock.flags & ~kSubclockflagAbstime) != 0) return Errno::Inval;
  auto id = static_cast<ClockId>(clock.id);
  bool absolute = (clock.flags & kSubclockflagAbstime) != 0;
  // CPU time stands still while the program waits for it.
  if (id != ClockId::Realtime && id != ClockId::Monotonic) to->error = Errno::Notsup;
  to->realtime = absolute && id == ClockId::Realtime;
  if (to->realtime) {
    to->due = clock.timeout;
  } else {
    to->due = saturating_add(absolute ? clocks.monotonic_start() : clocks.monotonic(), clock.timeout);
  }
  return Errno::Success;
}

Errno decode(LinearMemory& memory, uint64_t at, Dialect dialect, Context& context, Subscription* to) noexcept {
  uint64_t union_at = at + kSubscriptionUnion;
  *to = {};
  if (!memory.read_value(at, &to->userdata) || !memory.read_value(at + kSubscriptionTag, &to->type)) return Errno::Fault;
  if (to->type == kEventtypeClock) {
    SubscriptionClock clock{};
    if (dialect == Dialect::Unstable) union_at += kSubscriptionIdentifierBytes;
    if (!memory.read_value(union_at, &clock)) return Errno::Fault;
    return decode_clock(clock, context.clocks, to);
  }
  if (to->type != kEventtypeFdRead && to->type != kEventtypeFdWrite) return Errno::Inval;
  if (!memory.read_value(union_at, &to->fd)) return Errno::Fault;
  const Entry* entry = nullptr;
  to->error = find_entry(context, to->fd, kRightPollFdReadwrite | (to->type == kEventtypeFdRead ? kRightFdRead : kRightFdWrite), &entry);
  return Errno::Success;
}

// Whether the subscription's event has occurred, and with what.
bool occurred(const Subscription& subscription, Context& context, const WaitSet& waits, Event* event) noexcept {
  *event = {};
  event->userdata = subscription.userdata;
  event->type = subscription.type;
  event->error = static_cast<uint16_t>(subscription.error);
  if (subscription.error != Errno::Success) return true;
  if (subscription.type == kEventtypeClock) return clock_of(subscription, context.clocks) >= subscription.due;
  Descriptor& object = *context.descriptors.find(subscription.fd)->object;
  bool reading = subscription.type == kEventtypeFdRead;
  bool hangup = reading && object.at_end();
  if (object.wait_fd() >= 0) {
    short events = waits.events_of(object.wait_fd());
    // An error (a pipe that nobody reads) makes the descriptor ready: the call that follows reports it.
    if ((events & (POLLHUP | POLLERR | POLLNVAL | (reading ? POLLIN : POLLOUT))) == 0) return false;
    if ((events & POLLNVAL) != 0) event->error = static_cast<uint16_t>(Errno::Badf);
    hangup = (events & (POLLHUP | POLLERR)) != 0;
  }
  event->nbytes = reading ? object.readable_bytes() : kWritableBytes;
  event->flags = hangup ? kEventrwflagHangup : 0;
  return true;
}

}  // namespace

HostCallAction poll_oneoff(Context& context, HostCall& call, Dialect dialect) {
  uint64_t in_at = call.u32(0), out_at = call.u32(1), count = call.u32(2), result_at = call.u32(3);
  uint64_t stride = kSubscriptionBytes + (dialect == Dialect::Unstable ? kSubscriptionIdentifierBytes : 0);
  if (count == 0) return answer(call, Errno::Inval);
  if (!in_bounds(call.memory, in_at, count * stride) || !in_bounds(call.memory, out_at, count * sizeof(Event)) ||
      !in_bounds(call.memory, result_at, sizeof(uint32_t))) {
    return answer(call, Errno::Fault);
  }
  if (count > kMaxSubscriptions) return answer(call, Errno::Inval);

  // All are copied before an event is written, because the two arrays may overlap.
  std::array<Subscription, kMaxSubscriptions> subscriptions;
  WaitSet waits;
  for (size_t i = 0; i < count; i++) {
    Subscription& subscription = subscriptions[i];
    Errno error = decode(call.memory, in_at + i * stride, dialect, context, &subscription);
    if (error != Errno::Success) return answer(call, error);
    if (subscription.type == kEventtypeClock || subscription.error != Errno::Success) continue;
    Descriptor& object = *context.descriptors.find(subscription.fd)->object;
    bool reading = subscription.type == kEventtypeFdRead;
    if (reading) object.will_read();
    if (int fd = object.wait_fd(); fd >= 0) waits.add(fd, reading ? POLLIN : POLLOUT);
  }

  for (;;) {
    waits.look();
    uint32_t events = 0;
    uint64_t soonest = kNever;
    bool realtime = false;
    for (size_t i = 0; i < count; i++) {
      const Subscription& subscription = subscriptions[i];
      Event event;
      if (occurred(subscription, context, waits, &event)) {
        if (!call.memory.write_value(out_at + events * sizeof(Event), event)) return answer(call, Errno::Fault);
        events++;
      } else if (subscription.type == kEventtypeClock) {
        uint64_t now = clock_of(subscription, context.clocks);
        soonest = std::min(soonest, subscription.due > now ? subscription.due - now : 0);
        realtime = realtime || subscription.realtime;
      }
    }
    if (events > 0) return answer_written(call, call.memory.write_value(result_at, events));
    if (context.clocks.is_fixed() && soonest != kNever) {
      // Nothing is ready now, so the clock wins, and wins at once.
      context.clocks.skip(soonest);
      continue;
    }
    Errno error = Errno::Success;
    int64_t timeout_ns = soonest == kNever ? -1 : static_cast<int64_t>(std::min(soonest, realtime ? kLongestRealtimeWaitNs : kLongestWaitNs));
    if (waits.wait(call.waiter, timeout_ns, &error) < 0) return HostCallAction::Interrupted;
    if (error != Errno::Success) return answer(call, error);
  }
}

}  // namespace barecell::wasi
