#include "guest_answers.h"

#include <cpuid.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <x86intrin.h>

#include "failure.h"
#include "kvm.h"

namespace barecell {
namespace {

constexpr uint32_t kMsrTsc = 0x10;  // Intel SDM vol. 4, table 2-2

// A counter that runs at one speed in all power states (SDM vol. 3B, 18.17.1): without that it is no clock.
bool has_invariant_counter() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1u << 8)) != 0;
}

}  // namespace

uint64_t host_time_stamp() noexcept {
  _mm_lfence();
  uint64_t stamp = __rdtsc();
  _mm_lfence();
  return stamp;
}

void GuestAnswers::start(bc_answers& answers) {
  if (!grants_.random) return;
  // Not to wait: where the kernel has no randomness yet, the guest asks the host each time, and the host waits as it should.
  if (getrandom(answers.random_seed, sizeof answers.random_seed, GRND_NONBLOCK) != sizeof answers.random_seed) return;
  // Not the number of the last time: what the guest's generator remembers may be older than a reset.
  answers.seed_count = ++seed_count_;
  answers.granted |= BC_ANSWER_RANDOM;
}

void GuestAnswers::calibrate(int vcpu_fd, uint64_t stamp, uint64_t before, uint64_t after) {
  static const bool invariant = has_invariant_counter();
  if (!grants_.clock || !invariant) return;
  int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
  if (khz <= 0) return;
  auto fits = [&](uint64_t offset) { return stamp - offset >= before && stamp - offset <= after; };
  if (fits(0)) {
    // PVM: ring 3 reads the processor's own counter, whatever KVM says about an offset.
    tsc_offset_ = 0;
  } else {
    MsrTable<1> msrs{1, 0, {{kMsrTsc, 0, 0}}};
    uint64_t earlier = host_time_stamp();
    int done = ioctl(vcpu_fd, kGetMsrs, &msrs);
    uint64_t later = host_time_stamp();
    tsc_offset_ = msrs.entries[0].data - (earlier + (later - earlier) / 2);
    if (done != 1 || !fits(tsc_offset_)) return;
  }
  tsc_scale_ = (uint64_t{1'000'000} << 32) / static_cast<uint64_t>(khz);
}

void GuestAnswers::refresh(bc_answers& answers) {
  if (tsc_scale_ == 0) return;
  ClockReading now = grants_.clock();
  answers.tsc = host_time_stamp() + tsc_offset_;
  answers.tsc_scale = tsc_scale_;
  answers.realtime_ns = now.realtime_ns;
  answers.monotonic_ns = now.monotonic_ns;
  answers.granted |= BC_ANSWER_CLOCK;
}

}  // namespace barecell
