#include "kvm.h"

#include <cpuid.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <mutex>
#include <string>

#include "abi.h"

namespace barecell {
namespace {

// CR4 bits: Intel SDM vol. 3A, 2.5.
constexpr uint64_t kCr4Pae = 1u << 5;
constexpr uint64_t kCr4Osfxsr = 1u << 9;
constexpr uint64_t kCr4Osxmmexcpt = 1u << 10;
constexpr uint64_t kCr4Umip = 1u << 11;
constexpr uint64_t kCr4Osxsave = 1u << 18;
constexpr uint64_t kCr4Smep = 1u << 20;
constexpr uint64_t kCr4Smap = 1u << 21;
// EFER bits: SDM vol. 3A, 2.2.1. SCE (bit 0) stays clear: no `syscall`.
constexpr uint64_t kEferLme = 1u << 8;
constexpr uint64_t kEferLma = 1u << 10;
constexpr uint64_t kEferNxe = 1u << 11;

bool runs_on_emulated_svm() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid(0x40000000, eax, ebx, ecx, edx);
  // "TCGTCGTCGTCG", QEMU's signature without a hypervisor of its own.
  return ebx == 0x54474354 && ecx == 0x43544743 && edx == 0x47435447;
}

// Whether this process, and with it ring 3 of a guest that runs under the process's own control registers, may execute XRSTOR.
bool host_has_osxsave() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1u << 27)) != 0;
}

// Ring 3 runs under the host's control registers there, whatever the virtual ones say.
bool runs_on_pvm() { return access("/sys/module/kvm_pvm", F_OK) == 0; }

}  // namespace

Kvm::Kvm() : fd_(open("/dev/kvm", O_RDWR | O_CLOEXEC)) {
  if (!fd_) {
    if (errno == ENOENT) {
      throw Failure("BARECELL_KVM_MISSING",
                    "/dev/kvm does not exist; enable virtualisation in the firmware and load kvm_intel or kvm_amd, or pass the device "
                    "to the container (--device /dev/kvm)");
    }
    if (errno == EACCES || errno == EPERM) {
      throw Failure("BARECELL_KVM_PERMISSION",
                    "/dev/kvm may not be opened by this user; add the user to the group kvm (usermod -aG kvm $USER) and log in again");
    }
    if (errno == ENODEV || errno == ENXIO) {
      throw Failure("BARECELL_KVM_MISSING", "/dev/kvm exists but no KVM module serves it; load kvm_intel or kvm_amd");
    }
    fail_errno("BARECELL_KVM_FAILED", "cannot open /dev/kvm");
  }
  int version = ioctl(fd(), KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION) {
    throw Failure("BARECELL_KVM_UNSUITABLE", "KVM has API version " + std::to_string(version) + ", and barecell needs 12");
  }
  struct Needed {
    unsigned long capability;
    const char* name;
  };
  for (Needed needed : {Needed{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"}, Needed{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
                        Needed{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"}}) {
    if (check_extension(needed.capability) <= 0) {
      throw Failure("BARECELL_KVM_UNSUITABLE",
                    std::string("KVM lacks ") + needed.name + ", which barecell needs; use a Linux kernel of version 5.10 or later");
    }
  }
  int sync = check_extension(KVM_CAP_SYNC_REGS);
  constexpr int kNeeded = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
  if ((sync & kNeeded) != kNeeded) {
    throw Failure("BARECELL_KVM_UNSUITABLE", "KVM lacks KVM_CAP_SYNC_REGS, which barecell needs; use a Linux kernel of version 5.10 or later");
  }
  int size = ioctl(fd(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < static_cast<int>(sizeof(kvm_run))) fail_errno("BARECELL_KVM_FAILED", "KVM_GET_VCPU_MMAP_SIZE");
  run_size_ = static_cast<size_t>(size);
  cpuid_.nent = CpuidTable::kCapacity;
  if (ioctl(fd(), kGetSupportedCpuid, &cpuid_) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_GET_SUPPORTED_CPUID");
  decide_protections();
  choose_guest_cpuid();
}

const kvm_cpuid_entry2* Kvm::find_cpuid(uint32_t function) const noexcept {
  for (uint32_t i = 0; i < cpuid_.nent && i < CpuidTable::kCapacity; i++) {
    if (cpuid_.entries[i].function == function && cpuid_.entries[i].index == 0) return &cpuid_.entries[i];
  }
  return nullptr;
}

void Kvm::decide_protections() {
  const kvm_cpuid_entry2* basic = find_cpuid(1);
  const kvm_cpuid_entry2* extended = find_cpuid(7);
  const kvm_cpuid_entry2* amd = find_cpuid(0x80000001);
  if (amd == nullptr || (amd->edx & (1u << 29)) == 0 || (amd->edx & (1u << 20)) == 0) {
    throw Failure("BARECELL_KVM_UNSUITABLE", "the virtual processor has no 64-bit mode or no NX bit");
  }
  has_xsave_ = basic != nullptr && (basic->ecx & (1u << 26)) != 0;
  cr4_ = kCr4Pae | kCr4Osfxsr | kCr4Osxmmexcpt;
  if (extended != nullptr) {
    if (extended->ebx & (1u << 7)) cr4_ |= kCr4Smep;
    if (extended->ebx & (1u << 20)) cr4_ |= kCr4Smap;
    if (extended->ecx & (1u << 2)) cr4_ |= kCr4Umip;
  }
  if (has_xsave_) cr4_ |= kCr4Osxsave;
  // Without XSAVE in the guest there is nothing but x87 and SSE, unless this is PVM. Where that cannot be told (no /sys), KVM_SET_XSAVE does it: slower, and
  // always right.
  bool executes_xrstor = has_xsave_ || (runs_on_pvm() && host_has_osxsave());
  guest_clears_vectors_ = executes_xrstor || !host_has_osxsave();
  entry_clear_flags_ = BC_ENTRY_CLEAR_FX | (executes_xrstor ? BC_ENTRY_CLEAR_EXTENDED : 0);
  efer_ = kEferLme | kEferLma | kEferNxe;
  emulated_svm_ = runs_on_emulated_svm();
}

// Only leaves that KVM asks for what the boot sets (control registers, EFER, XCR0, address widths): for the rest it prepares what no guest here uses (a PMU, clocks,
// CET, AVX-512, keys for pages), and under PVM, where each `cpuid` of the kernel's own is an exit, that is half of the time of KVM_SET_CPUID2. A guest that looks
// finds that much less of the host.
void Kvm::choose_guest_cpuid() {
  constexpr uint32_t kFeatures7 = 7, kXsave = 0xd;
  constexpr uint32_t kXcr0 = 7;  // x87, SSE, AVX, as enable_vectors() sets it
  guest_cpuid_.nent = 0;
  for (uint32_t i = 0; i < cpuid_.nent && i < CpuidTable::kCapacity; i++) {
    kvm_cpuid_entry2 entry = cpuid_.entries[i];
    switch (entry.function) {
      case 0:
      case 1:
      case 0x80000000:
      case 0x80000001:
      case 0x80000008:
        break;
      case kFeatures7:
        if (entry.index != 0 || (cr4_ & (kCr4Smep | kCr4Smap | kCr4Umip)) == 0) continue;
        break;
      case kXsave:
        if (entry.index != 0) continue;
        entry.eax &= kXcr0;
        entry.edx = 0;
        break;
      default:
        continue;
    }
    guest_cpuid_.entries[guest_cpuid_.nent++] = entry;
  }
}

std::shared_ptr<Kvm> Kvm::shared() {
  static std::mutex mutex;
  static std::shared_ptr<Kvm> instance;
  std::lock_guard lock(mutex);
  // Not kept when opening fails: the user may cure it (permissions, module) while the process lives.
  if (!instance) instance = std::make_shared<Kvm>();
  return instance;
}

int Kvm::check_extension(unsigned long capability) const noexcept { return ioctl(fd(), KVM_CHECK_EXTENSION, capability); }

UniqueFd Kvm::create_vm() {
  {
    std::lock_guard lock(mutex_);
    if (vms_created_++ == 1) keep_spare();
  }
  for (;;) {
    int vm = ioctl(fd(), KVM_CREATE_VM, 0);
    if (vm >= 0) return UniqueFd(vm);
    // Setting up MMU notifiers is interruptible (mm_take_all_locks); a signal of somebody else's is no reason to fail.
    if (errno != EINTR) fail_errno("BARECELL_KVM_FAILED", "cannot create a VM (KVM_CREATE_VM)");
  }
}

// The first VM of the whole system, and the first vCPU without an interrupt controller, make the kernel patch its own code (static keys), and so does the
// last one that goes: together nearly half of a VM's life where VMs come one after the other. An empty VM with a vCPU that stays keeps the kernel as it
// is. It takes about half a MiB of kernel memory, so only a process that makes a second VM gets one. Failing to make it costs time, nothing else.
void Kvm::keep_spare() {
  UniqueFd vm(ioctl(fd(), KVM_CREATE_VM, 0));
  if (!vm) return;
  UniqueFd vcpu(ioctl(vm.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu) return;
  spare_vm_ = std::move(vm);
  spare_vcpu_ = std::move(vcpu);
}

bool Kvm::keep_dirty_log(int vm_fd) const noexcept {
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
  cap.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
  return ioctl(vm_fd, KVM_ENABLE_CAP, &cap) == 0;
}

kvm_sregs Kvm::reset_sregs(int vcpu_fd) {
  std::lock_guard lock(mutex_);
  if (!has_reset_sregs_) {
    if (ioctl(vcpu_fd, KVM_GET_SREGS, &reset_sregs_) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_GET_SREGS");
    has_reset_sregs_ = true;
  }
  return reset_sregs_;
}

}  // namespace barecell
