#include "registers.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "abi.h"
#include "failure.h"

namespace barecell {
namespace {

constexpr uint64_t kRflagsFixed = 0x2;
// As in boot.S: PE, MP, ET, NE, WP, PG (Intel SDM vol. 3A, 2.5).
constexpr uint64_t kCr0Paging = 0x80010033;

// Segment types: SDM vol. 3A, table 3-1 and 3-2.
constexpr uint8_t kTypeCode = 0xb;
constexpr uint8_t kTypeData = 0x3;
constexpr uint8_t kTypeTssAvailable = 0x9;
constexpr uint8_t kTypeTssBusy = 0xb;

kvm_segment user_segment(uint16_t selector, uint8_t type) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.dpl = 3;
  segment.s = 1;
  segment.g = 1;
  if (type == kTypeCode) {
    segment.l = 1;
  } else {
    segment.db = 1;
  }
  return segment;
}

// After reset LDTR is usable, with base 0 and a limit of 64 KiB (Intel SDM vol. 3A, table 10-1). Address 0 is the tenant's memory, so ring 3 could make
// descriptors of its own there, call gates into ring 0 included. Not usable, with limit 0: every selector of the LDT is #GP.
kvm_segment no_ldt() {
  kvm_segment segment{};
  segment.unusable = 1;
  return segment;
}

}  // namespace

void set_real_mode(const Kvm& kvm, kvm_sregs& sregs, kvm_regs& regs) {
  // After reset CS has base 0xffff0000; the stub lies at the bottom instead.
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  sregs.ldt = no_ldt();
  regs = {};
  regs.rip = BC_BOOT_GPA;
  regs.rflags = kRflagsFixed;
  regs.rbp = kvm.cr4();
  // The stub sets LME; the CPU adds LMA by itself when paging turns on.
  regs.rdi = kvm.efer() & ~(uint64_t{1} << 10);
}

void set_ring3(const Kvm& kvm, const ImageLayout& layout, kvm_sregs& sregs) {
  sregs.cs = user_segment(BC_SEL_USER_CODE, kTypeCode);
  sregs.ss = user_segment(BC_SEL_USER_DATA, kTypeData);
  // As `iretq` to ring 3 leaves them: null, unusable.
  kvm_segment null_segment{};
  null_segment.unusable = 1;
  sregs.ds = sregs.es = sregs.fs = sregs.gs = null_segment;
  sregs.ldt = no_ldt();
  sregs.tr = {};
  sregs.tr.base = BC_IMAGE_BASE + BC_GDT_GPA + BC_GDT_BYTES;
  sregs.tr.limit = static_cast<uint32_t>(layout.tss_limit);
  sregs.tr.selector = BC_SEL_TSS;
  sregs.tr.type = kvm.is_emulated_svm() ? kTypeTssAvailable : kTypeTssBusy;
  sregs.tr.present = 1;
  sregs.gdt.base = BC_IMAGE_BASE + BC_GDT_GPA;
  sregs.gdt.limit = BC_GDT_BYTES - 1;
  sregs.idt.base = layout.idt;
  sregs.idt.limit = 16 * BC_IDT_VECTORS - 1;
  sregs.cr0 = kCr0Paging;
  sregs.cr3 = layout.run_pml4_gpa;
  sregs.cr4 = kvm.cr4();
  sregs.efer = kvm.efer();
}

void set_entry(kvm_regs& regs, uint64_t rip, uint64_t rsp) {
  regs = {};
  regs.rip = rip;
  regs.rsp = rsp;
  regs.rflags = kRflagsFixed;
}

void close_doors(int vcpu_fd, const ImageLayout& layout) {
  // EFER.SCE is clear, so `syscall` is an invalid opcode. Where a host sets SCE by itself (PVM), or should this ever change, ring 0 begins at a
  // stub that reports and halts, and not at address 0, which is the tenant's. SYSENTER_CS 0 makes `sysenter` #GP (SDM vol. 2B).
  MsrTable<8> msrs{8, 0, {
      {0xc0000081, 0, uint64_t{BC_SEL_CODE64} << 32},  // STAR: CS and SS for syscall
      {0xc0000082, 0, layout.syscall_entry},           // LSTAR
      {0xc0000083, 0, layout.syscall_entry},           // CSTAR
      {0xc0000084, 0, 0x47700},                        // SFMASK: TF, IF, DF, IOPL, NT, AC cleared on entry
      {0x174, 0, 0},                                   // SYSENTER_CS
      {0x175, 0, 0},                                   // SYSENTER_ESP
      {0x176, 0, layout.syscall_entry},                // SYSENTER_EIP
      {0xc0000102, 0, 0},                              // KERNEL_GS_BASE
  }};
  int done = ioctl(vcpu_fd, kSetMsrs, &msrs);
  if (done < 0) fail_errno("BARECELL_KVM_FAILED", "cannot set the system-call registers (KVM_SET_MSRS)");
  if (done != static_cast<int>(msrs.nmsrs)) {
    throw Failure("BARECELL_KVM_UNSUITABLE", "KVM refuses MSR number " + std::to_string(done) + " of the system-call registers");
  }
}

void enable_vectors(int vcpu_fd, const Kvm& kvm, const ImageLayout& layout) {
  if (!layout.needs_avx || !kvm.has_xsave()) return;
  // x87, SSE and AVX state (Intel SDM vol. 1, 13.3); without it AVX instructions are #UD on hardware KVM.
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = 7;
  if (ioctl(vcpu_fd, KVM_SET_XCRS, &xcrs) == 0) return;
  // The processor has AVX, or the image would have been refused before this; so it is this KVM that keeps it from its guests.
  if (errno == EINVAL) throw Failure("BARECELL_IMAGE_CPU", "the image needs AVX, which this KVM does not offer to a VM (KVM_SET_XCRS)");
  fail_errno("BARECELL_KVM_FAILED", "cannot enable AVX (KVM_SET_XCRS)");
}

kvm_vcpu_events no_events() noexcept {
  kvm_vcpu_events events{};
  events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
  return events;
}

void set_rare_state(int vcpu_fd, const Kvm& kvm, const ImageLayout& layout) {
  kvm_debugregs debug{};
  debug.dr6 = 0xffff0ff0;  // their fixed bits: SDM vol. 3B, 18.2
  debug.dr7 = 0x400;
  if (ioctl(vcpu_fd, KVM_SET_DEBUGREGS, &debug) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_SET_DEBUGREGS");
  close_doors(vcpu_fd, layout);
  enable_vectors(vcpu_fd, kvm, layout);
  kvm_mp_state state{};
  state.mp_state = KVM_MP_STATE_RUNNABLE;
  // Without an interrupt controller in the kernel, some versions have no run state to set, and then none that could be wrong.
  if (ioctl(vcpu_fd, KVM_SET_MP_STATE, &state) < 0 && errno != EINVAL) fail_errno("BARECELL_KVM_FAILED", "KVM_SET_MP_STATE");
}

void clear_vectors(int vcpu_fd) {
  XsaveArea state{};
  uint16_t control = 0x37f;
  uint32_t mxcsr = 0x1f80;
  std::memcpy(state.bytes, &control, sizeof control);  // the XSAVE area: SDM vol. 1, table 10-2
  std::memcpy(state.bytes + 24, &mxcsr, sizeof mxcsr);
  if (ioctl(vcpu_fd, kSetXsave, &state) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_SET_XSAVE");
}

}  // namespace barecell
