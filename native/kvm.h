// The handle to /dev/kvm and what this host offers, asked once.
#pragma once

#include <linux/kvm.h>

#include <sys/ioctl.h>

#include <cstdint>
#include <memory>
#include <mutex>

#include "boot_helper.h"
#include "owners.h"

namespace barecell {

// Some versions of <linux/kvm.h> lay out structures with a flexible array wrongly in C++ (an empty structure has size 1 there, 0 in C), and with the
// structure's size the ioctl's number is wrong too. So these are our own: Documentation/virt/kvm/api.rst, 4.20, 4.46, 4.13 and 4.42.
struct CpuidTable {
  static constexpr size_t kCapacity = 256;  // KVM_MAX_CPUID_ENTRIES
  uint32_t nent;
  uint32_t padding;
  kvm_cpuid_entry2 entries[kCapacity];
};
template <size_t Count>
struct MsrTable {
  uint32_t nmsrs;
  uint32_t padding;
  kvm_msr_entry entries[Count];
};
struct XsaveArea {
  uint8_t bytes[4096];
};
constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, XsaveArea);
constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, XsaveArea);
constexpr unsigned long kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
constexpr unsigned long kSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);
constexpr unsigned long kGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, 8);
constexpr unsigned long kSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, 8);

class Kvm {
 public:
  // Throws BARECELL_KVM_MISSING, _PERMISSION or _UNSUITABLE, each with the cure.
  Kvm();

  // One for the process: the answers cannot change, and asking for the CPUID costs as much as a tenth of a boot.
  static std::shared_ptr<Kvm> shared();

  int fd() const noexcept { return fd_.get(); }
  UniqueFd create_vm();
  // The segment and control registers of a vCPU after reset, which are the same for every one.
  kvm_sregs reset_sregs(int vcpu_fd);
  size_t run_size_bytes() const noexcept { return run_size_; }
  // What guests are told of their processor, which is what KVM then allows them.
  const CpuidTable& guest_cpuid() const noexcept { return guest_cpuid_; }
  int check_extension(unsigned long capability) const noexcept;
  BootHelper& boot_helper() noexcept { return boot_helper_; }

  // The values the boot gives to CR4 and EFER: all protections that the host's CPUID offers.
  uint64_t cr4() const noexcept { return cr4_; }
  uint64_t efer() const noexcept { return efer_; }
  bool has_xsave() const noexcept { return has_xsave_; }
  // Whether FXRSTOR and XRSTOR in ring 3 reach all of the vector state that a guest can (BC_ENTRY_CLEAR_*), so that no call of KVM is needed.
  bool guest_clears_vectors() const noexcept { return guest_clears_vectors_; }
  uint32_t entry_clear_flags() const noexcept { return entry_clear_flags_; }
  // Makes a VM keep a log of written pages that reading does not clear. False where KVM cannot.
  bool keep_dirty_log(int vm_fd) const noexcept;
  // QEMU's emulated SVM refuses the I/O bitmap of a TSS that the host marked busy.
  bool is_emulated_svm() const noexcept { return emulated_svm_; }

 private:
  void decide_protections();
  void choose_guest_cpuid();
  void keep_spare();
  const kvm_cpuid_entry2* find_cpuid(uint32_t function) const noexcept;

  UniqueFd fd_;
  size_t run_size_ = 0;
  CpuidTable cpuid_{};
  CpuidTable guest_cpuid_{};
  uint64_t cr4_ = 0;
  uint64_t efer_ = 0;
  bool has_xsave_ = false;
  bool guest_clears_vectors_ = false;
  uint32_t entry_clear_flags_ = 0;
  bool emulated_svm_ = false;

  std::mutex mutex_;
  unsigned vms_created_ = 0;
  UniqueFd spare_vm_;
  UniqueFd spare_vcpu_;
  BootHelper boot_helper_;
  bool has_reset_sregs_ = false;
  kvm_sregs reset_sregs_{};
};

}  // namespace barecell
