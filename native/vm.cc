// Making a VM and entering it. What happens when it leaves is in run_loop.cc.
#include "vm.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

#include "registers.h"

namespace barecell {

Vm::Vm(std::shared_ptr<Kvm> kvm, std::shared_ptr<const Image> image, VmOptions options)
    : kvm_(std::move(kvm)), image_(std::move(image)), options_(std::move(options)), memory_(image_, options_.max_linear_bytes), answers_(options_.answers), start_(options_.start), output_(options_.output), input_(options_.input) {
  options_.imports.resize(image_->layout().import_memories.size());
  auto counts = std::make_shared<std::vector<uint64_t>>(options_.imports.size() + 1);
  counts_ = *counts;
  counts_owner_ = std::move(counts);
}

Vm::~Vm() = default;

void Vm::count_in(std::shared_ptr<void> owner, std::span<uint64_t> counts) {
  if (vcpu_ || counts.size() != counts_.size()) throw Failure("BARECELL_INTERNAL", "counters after the boot, or too few");
  counts_ = counts;
  counts_owner_ = std::move(owner);
}

void Vm::create() {
  vm_ = kvm_->create_vm();
  timeline_.vm_created_ns = monotonic_ns();
  bool logs = kvm_->keep_dirty_log(vm_.get());
  // Beside the vCPU, which does not need it before it runs (boot_helper.h). Whatever is thrown here, the helper is done with `this` when `memory` goes.
  bool slots_later = BootHelper::is_on_first_processor();
  BootHelper::Part memory(kvm_->boot_helper(), [this, logs, slots_later](bool is_beside) {
    memory_.map();
    open_ports();
    // Where it takes time of the boot's own, nothing is gained: the guest's first touch costs as much.
    if (is_beside) memory_.populate();
    if (!slots_later) memory_.register_slots(vm_.get(), logs);
  });
  create_vcpu();
  memory.finish();
  if (slots_later) memory_.register_slots(vm_.get(), logs);
  timeline_.memory_given_ns = monotonic_ns();
}

void Vm::create_vcpu() {
  vcpu_ = UniqueFd(ioctl(vm_.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu_) fail_errno("BARECELL_KVM_FAILED", "cannot create a vCPU (KVM_CREATE_VCPU)");
  run_mapping_ = Mapping::of_fd(vcpu_.get(), kvm_->run_size_bytes(), "the vCPU's state (kvm_run)");
  timeline_.vcpu_created_ns = monotonic_ns();
  if (ioctl(vcpu_.get(), kSetCpuid2, &kvm_->guest_cpuid()) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_SET_CPUID2");
  close_doors(vcpu_.get(), image_->layout());
  enable_vectors(vcpu_.get(), *kvm_, image_->layout());
  timeline_.cpuid_set_ns = monotonic_ns();
}

// What the host puts there for each life of the VM: after a reset it is empty.
void Vm::prepare_mailbox() {
  answers_.start(mailbox()->answers);
  start_.start(*mailbox());
}

// Opens the ports of the granted imports in the VM's own copy of the I/O permission bitmap, behind the TSS (Intel SDM vol. 1, 19.5.2).
void Vm::open_ports() {
  uint64_t bitmap_bytes = image_->layout().tss_limit + 1 - BC_TSS_BYTES;
  uint8_t* bitmap = nullptr;
  for (size_t i = 0; i < options_.imports.size(); i++) {
    if (!options_.imports[i].is_granted()) continue;
    if (bitmap == nullptr) bitmap = memory_.image_memory(BC_GDT_GPA + BC_GDT_BYTES + BC_TSS_BYTES, bitmap_bytes);
    size_t port = BC_PORT_IMPORT_BASE + i;
    // The last byte is the one of ones that the processor wants behind the map.
    if (bitmap == nullptr || port / 8 + 1 >= bitmap_bytes) throw Failure("BARECELL_IMAGE_INVALID", "the image's I/O bitmap is too small");
    memory_.note_host_write(bitmap + port / 8, 1);
    bitmap[port / 8] = static_cast<uint8_t>(bitmap[port / 8] & ~(1u << (port % 8)));
  }
}

Outcome Vm::boot(const RunLimits& limits) {
  timeline_ = Timeline();
  create();
  kvm_run* run = run_page();
  kvm_sregs sregs = kvm_->reset_sregs(vcpu_.get());
  if (options_.staged) {
    set_real_mode(*kvm_, sregs, run->s.regs.regs);
  } else {
    set_ring3(*kvm_, image_->layout(), sregs);
    set_entry(run->s.regs.regs, image_->layout().boot_entry, BC_STACK_TOP);
  }
  run->s.regs.sregs = sregs;
  // KVM_CAP_SYNC_REGS: set with the next entry, read with each exit, without calls of their own.
  run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
  run->kvm_valid_regs = KVM_SYNC_X86_REGS;
  timeline_.registers_set_ns = monotonic_ns();
  give_fuel(fuel_);
  prepare_mailbox();
  uint64_t exits_before = exits_.io;
  took_output_ = false;
  uint64_t before = host_time_stamp();
  Outcome outcome = this->run(limits);
  if (outcome.kind == OutcomeKind::Ready && answers_.wants_clock()) {
    answers_.calibrate(vcpu_.get(), mailbox()->boot_stamp, before, host_time_stamp());
  }
  // One exit, which said that it is ready, and no output kept until then: so nothing outside of its memory changed while it was instantiated.
  if (outcome.kind == OutcomeKind::Ready && exits_.io - exits_before == 1 && !took_output_) pristine_ = memory_.capture();
  timeline_.ready_ns = monotonic_ns();
  return outcome;
}

// The mailbox for a call; checked, because what does not fit would lie in the guest's own pages behind it.
void Vm::prepare(const EntryCall& call) {
  if (!vcpu_) throw Failure("BARECELL_INTERNAL", "call before boot");
  size_t capacity = (image_->layout().mailbox_bytes - BC_MAILBOX_HEADER_BYTES) / BC_SLOT_BYTES;
  if (call.argument_count > call.slots.size() || call.result_count > call.slots.size() || call.slots.size() > capacity) {
    throw Failure("BARECELL_INTERNAL", "more values than the mailbox holds");
  }
  bc_mailbox* box = mailbox();
  copy_bytes(box->slots, call.slots.data(), call.argument_count * sizeof(bc_slot));
  box->op = BC_OP_CALL;
  box->function = call.function;
}

void Vm::take_results(const EntryCall& call) { copy_bytes(call.slots.data(), mailbox()->slots, call.result_count * sizeof(bc_slot)); }

// What the next KVM_RUN starts with.
void Vm::enter(const kvm_regs& regs) {
  kvm_run* run = run_page();
  run->s.regs.regs = regs;
  run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
  if (in_ring3_) return;
  // The last run ended in an exception stub or in the boot, or its state is not to be seen.
  run->s.regs.sregs = ring3_sregs();
  run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

// The first entry after a reset: nothing of the last tenant is left in what KVM keeps for the vCPU.
void Vm::enter_fresh(kvm_regs regs) {
  in_ring3_ = false;
  if (kvm_->guest_clears_vectors()) regs.rax = kvm_->entry_clear_flags();
  enter(regs);
  run_page()->s.regs.events = no_events();
  run_page()->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
}

kvm_sregs Vm::ring3_sregs() {
  kvm_sregs sregs = kvm_->reset_sregs(vcpu_.get());
  set_ring3(*kvm_, image_->layout(), sregs);
  return sregs;
}

// For reset(): what a run left stays true until then.
void Vm::note_end(OutcomeKind kind) noexcept {
  ended_rough_ |= kind != OutcomeKind::Done;
  needs_rebuild_ |= kind == OutcomeKind::Protocol || kind == OutcomeKind::Syscall;
}

Outcome Vm::call(const EntryCall& call, const RunLimits& limits) {
  prepare(call);
  kvm_regs regs;
  uint64_t stack_bytes = std::clamp<uint64_t>(limits.max_stack_bytes / BC_PAGE_SIZE * BC_PAGE_SIZE, BC_PAGE_SIZE, image_->layout().stack_bytes);
  set_entry(regs, image_->layout().call_entry, BC_STACK_TOP - (image_->layout().stack_bytes - stack_bytes));
  bool is_fresh = std::exchange(after_reset_, false);
  if (is_fresh) {
    enter_fresh(regs);
  } else {
    enter(regs);
  }
  give_fuel(fuel_);
  Outcome outcome;
  try {
    outcome = run(limits);
  } catch (...) {
    needs_rebuild_ = true;
    throw;
  }
  note_end(outcome.kind);
  // Stopped so early that it may not have come to what the entry clears: then the next one does.
  if (outcome.kind == OutcomeKind::Timeout || outcome.kind == OutcomeKind::Cancelled) after_reset_ = is_fresh;
  if (outcome.kind == OutcomeKind::Done) take_results(call);
  return outcome;
}

Outcome Vm::call_inner(const EntryCall& call, int64_t deadline_ns) {
  prepare(call);
  kvm_run* run = run_page();
  // The outer run stands at its `out`. KVM completes that (moves RIP past it, or has done so already) at the next KVM_RUN, and here that has to be
  // before the registers are kept (Documentation/virt/kvm/api.rst, 5, the note on KVM_EXIT_IO: re-enter with immediate_exit set).
  // What an earlier call of this function left to be set (enter() below) is set by it too.
  run->immediate_exit = 1;
  if (ioctl(vcpu_.get(), KVM_RUN, 0) == 0 || errno != EINTR) fail_errno("BARECELL_KVM_FAILED", "the VM could not be run (KVM_RUN)");
  kvm_regs outer = run->s.regs.regs;
  kvm_regs regs;
  // Below the outer call's frame and its red zone (System V ABI, AMD64 supplement, 3.2.2). The address is the guest's own: should it be forged, the guest
  // hurts itself, for the CPU writes there with ring 3's rights. Vector registers need no keeping: the stub that called out takes them for lost (glue.ts).
  set_entry(regs, image_->layout().call_entry, (outer.rsp - 128) & ~uint64_t{15});
  enter(regs);
  // One count for both: the inner call goes on where the outer one stands, and the other way round.
  give_fuel(static_cast<int64_t>(outer.r15));
  StopControl::Outer scope = stop_.begin_inner(run, deadline_ns);
  Outcome outcome;
  try {
    run_until_over(outcome);
  } catch (...) {
    needs_rebuild_ = true;
    stop_.end_inner(scope);
    throw;
  }
  note_end(outcome.kind);
  stop_.end_inner(scope);
  if (outcome.kind == OutcomeKind::Done) take_results(call);
  outer.r15 = run->s.regs.regs.r15;
  enter(outer);
  return outcome;
}

// The guest takes it from the mailbox when it gets to ring 3. Should it not get there, nothing was used.
void Vm::give_fuel(int64_t fuel) noexcept {
  mailbox()->fuel = fuel;
  run_page()->s.regs.regs.r15 = static_cast<uint64_t>(fuel);
}

int64_t Vm::fuel_left() const noexcept {
  if (!vcpu_) return fuel_;
  return static_cast<int64_t>(reinterpret_cast<const kvm_run*>(run_mapping_.base())->s.regs.regs.r15);
}

Timeline Vm::timeline() {
  if (vcpu_ && timeline_.tsc_khz == 0) {
    int khz = ioctl(vcpu_.get(), KVM_GET_TSC_KHZ, 0);
    timeline_.tsc_khz = khz > 0 ? static_cast<uint32_t>(khz) : 0;
  }
  return timeline_;
}

bc_mailbox* Vm::mailbox() noexcept {
  return reinterpret_cast<bc_mailbox*>(memory_.image_memory(image_->layout().mailbox_gpa, image_->layout().mailbox_bytes));
}

}  // namespace barecell
