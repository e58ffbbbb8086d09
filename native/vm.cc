// Making a VM and entering it. What happens when it leaves is in run_loop.cc.
#include "vm.h"

#include <sys/ioctl.h>

#include "registers.h"

namespace barecell {

Vm::Vm(std::shared_ptr<Kvm> kvm, std::shared_ptr<const Image> image, VmOptions options)
    : kvm_(std::move(kvm)), image_(std::move(image)), options_(std::move(options)), memory_(image_, options_.max_linear_bytes), answers_(options_.answers) {
  options_.imports.resize(image_->layout().import_memories.size());
  timeline_.memory_mapped_ns = monotonic_ns();
}

Vm::~Vm() = default;

void Vm::create() {
  vm_ = kvm_->create_vm();
  timeline_.vm_created_ns = monotonic_ns();
  open_ports();
  memory_.register_slots(vm_.get());
  timeline_.slots_set_ns = monotonic_ns();
  vcpu_ = UniqueFd(ioctl(vm_.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu_) fail_errno("BARECELL_KVM_FAILED", "cannot create a vCPU (KVM_CREATE_VCPU)");
  run_mapping_ = Mapping::of_fd(vcpu_.get(), kvm_->run_size_bytes(), "the vCPU's state (kvm_run)");
  timeline_.vcpu_created_ns = monotonic_ns();
  if (ioctl(vcpu_.get(), kSetCpuid2, &kvm_->cpuid()) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_SET_CPUID2");
  timeline_.cpuid_set_ns = monotonic_ns();
  close_doors(vcpu_.get(), image_->layout());
  if (image_->layout().needs_avx && kvm_->has_xsave()) {
    // x87, SSE and AVX state (Intel SDM vol. 1, 13.3); without it AVX instructions are #UD on hardware KVM.
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = 7;
    if (ioctl(vcpu_.get(), KVM_SET_XCRS, &xcrs) < 0) fail_errno("BARECELL_KVM_FAILED", "cannot enable AVX (KVM_SET_XCRS)");
  }
}

// Opens the ports of the granted imports in the VM's own copy of the I/O permission bitmap, behind the TSS (Intel SDM vol. 1, 19.5.2).
void Vm::open_ports() {
  uint64_t bitmap_bytes = image_->layout().tss_limit + 1 - BC_TSS_BYTES;
  uint8_t* bitmap = nullptr;
  for (size_t i = 0; i < options_.imports.size(); i++) {
    if (!options_.imports[i]) continue;
    if (bitmap == nullptr) bitmap = memory_.image_memory(BC_GDT_GPA + BC_GDT_BYTES + BC_TSS_BYTES, bitmap_bytes);
    size_t port = BC_PORT_IMPORT_BASE + i;
    // The last byte is the one of ones that the processor wants behind the map.
    if (bitmap == nullptr || port / 8 + 1 >= bitmap_bytes) throw Failure("BARECELL_IMAGE_INVALID", "the image's I/O bitmap is too small");
    bitmap[port / 8] = static_cast<uint8_t>(bitmap[port / 8] & ~(1u << (port % 8)));
  }
}

Outcome Vm::boot(int64_t deadline_ns) {
  create();
  kvm_run* run = run_page();
  kvm_sregs sregs = kvm_->reset_sregs(vcpu_.get());
  if (options_.staged) {
    set_real_mode(*kvm_, sregs, run->s.regs.regs);
  } else {
    set_ring3(*kvm_, image_->layout(), sregs);
    set_entry(run->s.regs.regs, image_->layout().boot_entry);
  }
  run->s.regs.sregs = sregs;
  // KVM_CAP_SYNC_REGS: set with the next entry, read with each exit, without calls of their own.
  run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
  run->kvm_valid_regs = KVM_SYNC_X86_REGS;
  timeline_.registers_set_ns = monotonic_ns();
  answers_.start(mailbox()->answers);
  uint64_t before = host_time_stamp();
  Outcome outcome = this->run(deadline_ns);
  if (outcome.kind == OutcomeKind::Ready && answers_.wants_clock()) {
    answers_.calibrate(vcpu_.get(), mailbox()->boot_stamp, before, host_time_stamp());
  }
  timeline_.ready_ns = monotonic_ns();
  return outcome;
}

Outcome Vm::call(uint32_t function, std::span<bc_slot> slots, size_t argument_count, size_t result_count, int64_t deadline_ns) {
  if (!vcpu_) throw Failure("BARECELL_INTERNAL", "call before boot");
  bc_mailbox* box = mailbox();
  size_t capacity = (image_->layout().mailbox_bytes - BC_MAILBOX_HEADER_BYTES) / BC_SLOT_BYTES;
  if (argument_count > slots.size() || result_count > slots.size() || slots.size() > capacity) {
    throw Failure("BARECELL_INTERNAL", "more values than the mailbox holds");
  }
  copy_bytes(box->slots, slots.data(), argument_count * sizeof(bc_slot));
  box->op = BC_OP_CALL;
  box->function = function;
  kvm_run* run = run_page();
  set_entry(run->s.regs.regs, image_->layout().call_entry);
  run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
  if (!in_ring3_) {
    // The last run ended in an exception stub or in the boot.
    if (ioctl(vcpu_.get(), KVM_GET_SREGS, &run->s.regs.sregs) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_GET_SREGS");
    set_ring3(*kvm_, image_->layout(), run->s.regs.sregs);
    run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
  }
  Outcome outcome = this->run(deadline_ns);
  if (outcome.kind == OutcomeKind::Done) copy_bytes(slots.data(), box->slots, result_count * sizeof(bc_slot));
  return outcome;
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
