// The register states in which a vCPU starts.
#pragma once

#include <linux/kvm.h>

#include "image.h"
#include "kvm.h"

namespace barecell {

// Real mode, at the first instruction of the boot stub; from there the stub walks up to ring 3.
void set_real_mode(const Kvm& kvm, kvm_sregs& sregs, kvm_regs& regs);

// Ring 3, with everything the boot stub would have loaded.
void set_ring3(const Kvm& kvm, const ImageLayout& layout, kvm_sregs& sregs);

// General registers for an entry into ring 3: nothing left of what was before. `rsp` is a multiple of 16.
void set_entry(kvm_regs& regs, uint64_t rip, uint64_t rsp);

// Nothing pending, nothing masked.
kvm_vcpu_events no_events() noexcept;

// What only ring 0 can change, or an exception does (DR6): debug registers, the registers of close_doors() and enable_vectors(), the run state.
// Throws BARECELL_KVM_FAILED.
void set_rare_state(int vcpu_fd, const Kvm& kvm, const ImageLayout& layout);

// x87, SSE, AVX and all other extended state as after power-on. Throws BARECELL_KVM_FAILED.
void clear_vectors(int vcpu_fd);

// AVX for images that need it. Throws BARECELL_KVM_FAILED.
void enable_vectors(int vcpu_fd, const Kvm& kvm, const ImageLayout& layout);

// Model-specific registers that no door to ring 0 stays open through. Throws BARECELL_KVM_FAILED.
void close_doors(int vcpu_fd, const ImageLayout& layout);

}  // namespace barecell
