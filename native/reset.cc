// Bringing a VM back to what it was when its guest was ready. The next tenant must find nothing of the last one's.
#include "registers.h"
#include "vm.h"

namespace barecell {
namespace {

// To copy, some 10 us. To hand it to another thread and to be told of the end takes several times as long (ARCHITECTURE.md, "Reset").
constexpr uint64_t kQuickPages = 64;

}  // namespace

Outcome Vm::reset(const RunLimits& limits) {
  if (!vcpu_) throw Failure("BARECELL_INTERNAL", "reset before boot");
  if (!can_reset_in_place() || memory_.restore(*pristine_) != GuestMemory::Restored::Done) return rebuild(limits);
  reset_vcpu();
  Outcome outcome;
  outcome.kind = OutcomeKind::Ready;
  return outcome;
}

bool Vm::reset_quickly() {
  if (!vcpu_ || !can_reset_in_place() || memory_.restore(*pristine_, kQuickPages) != GuestMemory::Restored::Done) return false;
  reset_vcpu();
  return true;
}

// Only where all is known of the state to go back to, and of the one it comes from:
// - pristine_: what the instantiation left is memory and nothing else. If it asked the host for something (opened a file, grew a memory), it has to do
//   so again.
// - the last run left by a port of ours. Whatever else a vCPU can stop at (an access without memory, a read from a port) may be half done, and KVM would
//   finish it when the vCPU runs again.
bool Vm::can_reset_in_place() const noexcept { return pristine_ != nullptr && !needs_rebuild_; }

// General, segment and control registers and pending events go in with the next entry, through the shared kvm_run page: that costs half a microsecond,
// and a call of KVM's for a vCPU five (its state is loaded and put for each).
void Vm::reset_vcpu() {
  input_.forget();
  prepare_mailbox();
  after_reset_ = true;
  in_ring3_ = false;
  if (!kvm_->guest_clears_vectors()) clear_vectors(vcpu_.get());
  // Ring 3 cannot write these registers. What can happen to them happens with an exception, which ends a run in another way than a return.
  if (ended_rough_) set_rare_state(vcpu_.get(), *kvm_, image_->layout());
  ended_rough_ = false;
  // Deliberately left as they are:
  // - The time stamp counter: it goes on, as the host's does. It shows how long the VM has lived, and PVM shows the host's own to ring 3 whatever is set.
  // - Registers that ring 3 can neither read nor write, after a run that came to its normal end: DR0 to DR7, MSRs, XCR0. Nothing changed them.
  // - Vector registers until the first instructions of the next entry, which only the host can enter (BC_ENTRY_CLEAR_*).
  // - What the kernel keeps for the VM: its shadow page tables, which hold addresses and no contents, and the log of pages that were ever written. A guest
  //   that measures can tell that a page was touched before by the time that its first touch takes.
  // - Caches and branch predictors of the processor: side channels between tenants are the business of the host's mitigations, as between processes.
  // - Memory slots of grown memory, which holds zeros and has no page-table entry.
  // - On the host: counts of exits and the boot's timeline, which no guest sees; files in directories of the host, and what is in flight in sockets and
  //   in descriptors that were handed in, which are not the VM's own.
}

// From nothing, in the same object.
Outcome Vm::rebuild(const RunLimits& limits) {
  run_mapping_.reset();
  vcpu_.reset();
  vm_.reset();
  memory_.forget();
  input_.forget();
  pristine_.reset();
  in_ring3_ = entered_ = after_reset_ = ended_rough_ = needs_rebuild_ = false;
  return boot(limits);
}

}  // namespace barecell
