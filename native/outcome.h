// Why a run of a vCPU ended.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace barecell {

enum class OutcomeKind : uint32_t {
  Ready,        // the instance is initialised
  Done,         // the call returned; its results are in the mailbox
  Trap,         // the runtime reported a WebAssembly trap: `code`
  Exception,    // the CPU raised exception `vector`
  Syscall,      // `syscall` reached ring 0, whose stub reported it
  Exit,         // the guest ended itself: `code`
  Timeout,      // a time limit was reached: `code` is the StopReason
  Cancelled,    // another thread stopped it
  OutputLimit,  // captured output grew past its limit
  Protocol,     // the guest left the VM as compiled code never does: `detail`
  HostFailed,   // a function of the host's in JavaScript failed, which ends the call
  HostCalls,    // it made more host calls than it may
};

struct Outcome {
  OutcomeKind kind = OutcomeKind::Protocol;
  uint32_t code = 0;
  uint32_t vector = 0;
  uint64_t error_code = 0;
  uint64_t fault_address = 0;  // CR2 of a page fault
  uint64_t rip = 0;
  uint64_t rsp = 0;
  uint64_t rflags = 0;
  bool in_ring3 = false;
  // DWARF order (System V ABI, AMD64 supplement, figure 3.36): rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15.
  std::array<uint64_t, 16> registers{};
  std::string detail;
};

struct ExitCounts {
  uint64_t io = 0;
  uint64_t mmio = 0;
  uint64_t other = 0;
  uint64_t interrupted = 0;
};

}  // namespace barecell
