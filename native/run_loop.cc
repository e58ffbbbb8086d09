// Runs a vCPU until the guest is done, traps or is stopped, and serves what it asks for on the way.
#include <poll.h>
#include <sys/ioctl.h>

#include <csignal>

#include "call_trace.h"
#include "vm.h"

namespace barecell {
namespace {

// Waits of host functions: ends on the event, on its own timeout, or when the run is to stop.
class StoppableWait final : public Waiter {
 public:
  explicit StoppableWait(StopControl& stop) : stop_(stop) {}

  int wait(int fd, short events, int64_t timeout_ns) noexcept override {
    // Window W5 of kick.h: the kick is blocked from before the look at the flags until ppoll lets it in.
    sigset_t kick, before;
    sigemptyset(&kick);
    sigaddset(&kick, kick_signal());
    pthread_sigmask(SIG_BLOCK, &kick, &before);
    sigset_t during = before;
    sigdelset(&during, kick_signal());
    int64_t end = timeout_ns < 0 ? 0 : monotonic_ns() + timeout_ns;
    int result = 0;
    for (;;) {
      if (stop_.check() != StopReason::None) {
        result = -1;
        break;
      }
      timespec left{};
      if (timeout_ns >= 0) {
        int64_t rest = std::max<int64_t>(0, end - monotonic_ns());
        left.tv_sec = rest / 1'000'000'000;
        left.tv_nsec = rest % 1'000'000'000;
      }
      pollfd entry{fd, events, 0};
      int ready = ppoll(&entry, fd < 0 ? 0 : 1, timeout_ns < 0 ? nullptr : &left, &during);
      if (ready < 0 && errno == EINTR) continue;
      result = ready > 0 ? entry.revents : 0;
      break;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return result;
  }

 private:
  StopControl& stop_;
};

// Exceptions that push an error code (Intel SDM vol. 3A, table 6-1; AMD's #VC and #SX).
bool pushes_error_code(uint32_t vector) {
  constexpr uint32_t with_code = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17 | 1u << 21 | 1u << 29 | 1u << 30;
  return (with_code >> vector & 1) != 0;
}

// begin() and end() around a run, whatever way it ends.
class RunScope {
 public:
  RunScope(StopControl& stop, kvm_run* run, const TimeLimits& limits) : stop_(stop) { stop_.begin(run, limits); }
  ~RunScope() { stop_.end(); }
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;

 private:
  StopControl& stop_;
};

}  // namespace

Outcome Vm::run(const RunLimits& limits) {
  Outcome outcome;
  memory_.set_limit(limits.max_linear_bytes);
  mailbox()->max_table_elements = limits.max_table_elements;
  host_calls_left_ = limits.max_host_calls;
  RunScope scope(stop_, run_page(), limits.time);
  UsageScope used(options_.counts_usage ? &usage_ : nullptr);
  run_until_over(outcome);
  return outcome;
}

void Vm::run_until_over(Outcome& outcome) {
  for (;;) {
    StopReason reason = stop_.before_entry();
    if (reason != StopReason::None) {
      take_input_back();
      take_output();
      outcome.kind = reason == StopReason::Cancelled ? OutcomeKind::Cancelled : OutcomeKind::Timeout;
      outcome.code = static_cast<uint32_t>(reason);
      // A vCPU that was never entered has no registers to show.
      if (entered_) take_registers(outcome);
      in_ring3_ = false;
      return;
    }
    answers_.refresh(mailbox()->answers);
    start_.refresh(mailbox()->start);
    output_.refresh(mailbox()->output);
    if (input_.is_due()) give_input();
    int result = ioctl(vcpu_.get(), KVM_RUN, 0);
    entered_ = true;
    if (result < 0) {
      if (errno == EINTR || errno == EAGAIN) {
        exits_.interrupted++;
        continue;
      }
      in_ring3_ = false;
      fail_errno("BARECELL_KVM_FAILED", "the VM could not be run (KVM_RUN)");
    }
    take_input_back();
    switch (take_output()) {
      case HostCallAction::OutputLimit:
        take_registers(outcome);
        in_ring3_ = false;
        outcome.kind = OutcomeKind::OutputLimit;
        return;
      case HostCallAction::Interrupted:
        // As if the guest still waited in its write: what it did after that does not count.
        continue;
      default:
        break;
    }
    if (handle_exit(outcome)) return;
  }
}

// What the guest kept of its output comes before everything else that is done about an exit.
HostCallAction Vm::take_output() {
  if (!output_.has_some(mailbox()->output)) return HostCallAction::Continue;
  took_output_ = true;
  StoppableWait stop(stop_);
  const ImageLayout& layout = image_->layout();
  return output_.take(mailbox()->output, memory_.image_memory(layout.mailbox_gpa + layout.mailbox_bytes, BC_OUTPUT_LOG_BYTES), stop);
}

void Vm::give_input() noexcept {
  uint8_t* bytes = input_bytes();
  if (bytes == nullptr) return;
  uint32_t given = input_.give(mailbox()->input, bytes);
  if (given > 0) memory_.note_host_write(bytes, given);
}

// What the guest read of what it was given comes before everything else that is done about an exit: the file is where the guest left it.
void Vm::take_input_back() noexcept {
  if (input_.has_given()) input_.take_back(mailbox()->input, input_bytes());
}

uint8_t* Vm::input_bytes() noexcept {
  const ImageLayout& layout = image_->layout();
  return memory_.image_memory(layout.mailbox_gpa + layout.mailbox_bytes + BC_OUTPUT_LOG_BYTES, BC_INPUT_BYTES);
}

// True when the run is over.
bool Vm::handle_exit(Outcome& outcome) {
  kvm_run* run = run_page();
  auto protocol = [&](std::string detail) {
    exits_.other++;
    in_ring3_ = false;
    take_registers(outcome);
    outcome.kind = OutcomeKind::Protocol;
    outcome.detail = std::move(detail);
    return true;
  };
  switch (run->exit_reason) {
    case KVM_EXIT_IO: {
      exits_.io++;
      auto io = run->io;
      if (io.direction != KVM_EXIT_IO_OUT) return protocol("it read from port " + std::to_string(io.port));
      if (io.size != 1 || io.count != 1) {
        return protocol("it wrote to port " + std::to_string(io.port) + " with width " + std::to_string(io.size) + ", " +
                        std::to_string(io.count) + " times at once");
      }
      return handle_port(io.port, outcome);
    }
    case KVM_EXIT_MMIO:
      exits_.mmio++;
      return protocol("it accessed guest-physical address " + std::to_string(run->mmio.phys_addr) + ", where there is no memory");
    case KVM_EXIT_INTR:
      exits_.interrupted++;
      return false;
    case KVM_EXIT_HLT:
      return protocol("it halted");
    case KVM_EXIT_SHUTDOWN:
      return protocol("it shut down (triple fault)");
    case KVM_EXIT_INTERNAL_ERROR:
      return protocol("KVM could not emulate it (internal error " + std::to_string(run->internal.suberror) + ")");
    case KVM_EXIT_FAIL_ENTRY:
      return protocol("the processor refused to enter it (reason " + std::to_string(run->fail_entry.hardware_entry_failure_reason) + ")");
    default:
      return protocol("KVM exit reason " + std::to_string(run->exit_reason));
  }
}

bool Vm::handle_port(uint16_t port, Outcome& outcome) {
  // AL, as KVM passes it on.
  const kvm_run* run = run_page();
  uint8_t value = *(reinterpret_cast<const uint8_t*>(run) + run->io.data_offset);
  // Every port but an exception's is written from ring 3; and a tenant can only reach those that its bitmap opens.
  in_ring3_ = true;
  if (port >= BC_PORT_IMPORT_BASE && port < BC_PORT_IMPORT_BASE + options_.imports.size()) {
    return handle_import(port - BC_PORT_IMPORT_BASE, outcome);
  }
  switch (port) {
    case BC_PORT_GROW:
      handle_grow();
      return false;
    case BC_PORT_READY:
      outcome.kind = OutcomeKind::Ready;
      if (const bc_mailbox* box = mailbox()) std::memcpy(timeline_.guest_tsc, box->boot_tsc, sizeof timeline_.guest_tsc);
      return true;
    case BC_PORT_DONE:
      outcome.kind = OutcomeKind::Done;
      return true;
    case BC_PORT_TRAP:
      take_registers(outcome);
      outcome.kind = OutcomeKind::Trap;
      outcome.code = value;
      return true;
    default:
      break;
  }
  in_ring3_ = false;
  if (port >= BC_PORT_EXCEPTION_BASE && port < BC_PORT_EXCEPTION_BASE + BC_IDT_VECTORS) {
    take_exception(port - BC_PORT_EXCEPTION_BASE, outcome);
    return true;
  }
  take_registers(outcome);
  if (port == BC_PORT_SYSCALL) {
    outcome.kind = OutcomeKind::Syscall;
    outcome.rip = run->s.regs.regs.rcx;  // `syscall` leaves the return address there
    return true;
  }
  outcome.kind = OutcomeKind::Protocol;
  outcome.detail = "it wrote to port " + std::to_string(port) + ", which means nothing";
  return true;
}

bool Vm::handle_import(size_t index, Outcome& outcome) {
  const ImportBinding& import = options_.imports[index];
  if (!import.is_granted()) {
    // The bitmap closes this port; a host that does not enforce it must not let the call through either.
    take_registers(outcome);
    outcome.kind = OutcomeKind::Protocol;
    outcome.detail = "it wrote to the closed port of import " + std::to_string(index);
    return true;
  }
  std::atomic_ref<uint64_t>(counts_[index]).fetch_add(1, std::memory_order_relaxed);
  if (host_calls_left_ == 0) {
    take_registers(outcome);
    outcome.kind = OutcomeKind::HostCalls;
    return true;
  }
  host_calls_left_--;
  switch (import.native ? call_native(index, outcome) : call_script(index)) {
    case HostCallAction::Continue:
      return false;
    case HostCallAction::Exit:
      outcome.kind = OutcomeKind::Exit;
      return true;
    case HostCallAction::OutputLimit:
      take_registers(outcome);
      outcome.kind = OutcomeKind::OutputLimit;
      return true;
    case HostCallAction::Failed:
      // A stop makes the function fail too, and is the better reason.
      if (stop_.check() != StopReason::None) return false;
      take_registers(outcome);
      outcome.kind = OutcomeKind::HostFailed;
      return true;
    case HostCallAction::Interrupted:
      break;
  }
  // The loop finds the reason before it enters again.
  return false;
}

HostCallAction Vm::call_native(size_t index, Outcome& outcome) {
  StoppableWait waiter(stop_);
  bc_mailbox* box = mailbox();
  // The memory that the importing module's pointers mean.
  HostCall call{{}, memory_.linear(image_->layout().import_memories[index]), waiter};
  size_t slots = std::min<size_t>(kHostCallMaxSlots, (image_->layout().mailbox_bytes - BC_MAILBOX_HEADER_BYTES) / BC_SLOT_BYTES);
  std::memcpy(call.slots.data(), box->slots, slots * sizeof(bc_slot));
  auto serve = [&]() { return options_.imports[index].native(call); };
  HostCallAction action = options_.trace == nullptr ? serve() : observed(index, call.slots, waiter, serve);
  if (action == HostCallAction::Continue) std::memcpy(box->slots, call.slots.data(), slots * sizeof(bc_slot));
  outcome.code = call.exit_code;
  return action;
}

// The counts come from the manifest, so they are checked against the mailbox like a call's.
HostCallAction Vm::call_script(size_t index) {
  const ScriptFunction& function = options_.imports[index].script;
  size_t capacity = (image_->layout().mailbox_bytes - BC_MAILBOX_HEADER_BYTES) / BC_SLOT_BYTES;
  if (function.argument_count > capacity || function.result_count > capacity) throw Failure("BARECELL_INTERNAL", "more values than the mailbox holds");
  // Copies: the guest's own calls use the mailbox while the function runs.
  std::vector<bc_slot> slots(std::max(function.argument_count, function.result_count));
  copy_bytes(slots.data(), mailbox()->slots, function.argument_count * sizeof(bc_slot));
  auto serve = [&]() { return function.call(*this, slots); };
  HostCallAction action;
  if (options_.trace == nullptr) {
    action = serve();
  } else {
    StoppableWait waiter(stop_);
    action = observed(index, slots, waiter, serve);
  }
  if (action == HostCallAction::Continue) copy_bytes(mailbox()->slots, slots.data(), function.result_count * sizeof(bc_slot));
  return action;
}

// With what the guest gave and got in `slots`.
HostCallAction Vm::observed(size_t index, std::span<bc_slot> slots, Waiter& waiter, const std::function<HostCallAction()>& serve) {
  return options_.trace->observe(index, slots, memory_.linear(image_->layout().import_memories[index]), stop_, waiter, serve);
}

void Vm::handle_grow() {
  bc_mailbox* box = mailbox();
  uint64_t pages = box->grow_pages;
  uint32_t memory = box->grow_memory;
  box->grow_result = memory_.grow(memory, pages);
  std::atomic_ref<uint64_t>(counts_.back()).store(memory_.refusals(), std::memory_order_relaxed);
}

void Vm::take_registers(Outcome& outcome) const {
  const kvm_regs& regs = reinterpret_cast<const kvm_run*>(run_mapping_.base())->s.regs.regs;
  outcome.rip = regs.rip;
  outcome.rsp = regs.rsp;
  outcome.rflags = regs.rflags;
  outcome.registers = {regs.rax, regs.rdx, regs.rcx, regs.rbx, regs.rsi, regs.rdi, regs.rbp, regs.rsp,
                       regs.r8,  regs.r9,  regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15};
  outcome.in_ring3 = regs.rip < BC_IMAGE_BASE || regs.rip >= BC_IMAGE_BASE + BC_TABLES_GPA;
}

// The CPU's own frame (Intel SDM vol. 3A, figure 6-9) lies on the exception stack, where RSP points. RSP0 stacks are out of the tenant's reach, but
// are checked like everything that comes from a VM.
void Vm::take_exception(uint32_t vector, Outcome& outcome) {
  take_registers(outcome);
  outcome.kind = OutcomeKind::Exception;
  outcome.vector = vector;
  uint64_t base = BC_IMAGE_BASE + image_->layout().exception_stacks_gpa;
  size_t words = pushes_error_code(vector) ? 6 : 5;
  uint64_t offset = outcome.rsp - base;
  const uint8_t* stacks = memory_.image_memory(image_->layout().exception_stacks_gpa, BC_IST_COUNT * BC_IST_BYTES);
  if (outcome.rsp < base || outcome.rsp % 8 != 0 || offset + words * 8 > BC_IST_COUNT * BC_IST_BYTES || stacks == nullptr) {
    outcome.kind = OutcomeKind::Protocol;
    outcome.detail = "exception " + std::to_string(vector) + " came without a frame on an exception stack";
    return;
  }
  uint64_t frame[6];
  std::memcpy(frame + (6 - words), stacks + offset, words * 8);
  if (words == 6) outcome.error_code = frame[0];
  outcome.rip = frame[1];
  outcome.in_ring3 = (frame[2] & 3) == 3;
  outcome.rflags = frame[3];
  outcome.rsp = frame[4];
  outcome.registers[7] = frame[4];
  if (vector == 14) {
    kvm_sregs sregs;
    if (ioctl(vcpu_.get(), KVM_GET_SREGS, &sregs) < 0) fail_errno("BARECELL_KVM_FAILED", "KVM_GET_SREGS");
    outcome.fault_address = sregs.cr2;
  }
}

}  // namespace barecell
