// One microVM: a KVM VM with one vCPU, running one image.
#pragma once

#include <linux/kvm.h>

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "abi.h"
#include "guest_answers.h"
#include "guest_memory.h"
#include "guest_input.h"
#include "guest_output.h"
#include "guest_start.h"
#include "host_call.h"
#include "image.h"
#include "kick.h"
#include "kvm.h"
#include "outcome.h"
#include "run_limits.h"
#include "run_usage.h"

namespace barecell {

class CallTrace;

struct VmOptions {
  bool staged = true;
  uint64_t max_linear_bytes = 0;
  // One for each import of the image.
  std::vector<ImportBinding> imports;
  AnswerGrants answers;
  StartGrant start;
  // Null: the guest keeps no output.
  std::shared_ptr<OutputTaker> output;
  // Null: it gets no input ahead.
  std::shared_ptr<InputSource> input;
  // Null: nobody looks.
  std::shared_ptr<CallTrace> trace;
  bool counts_usage = false;
};

// When each step of a boot was done, CLOCK_MONOTONIC nanoseconds; 0: not reached.
struct Timeline {
  int64_t begin_ns = monotonic_ns();
  int64_t vm_created_ns = 0;
  int64_t vcpu_created_ns = 0;
  int64_t cpuid_set_ns = 0;     // and MSRs
  int64_t memory_given_ns = 0;  // mapped, and the slots set; begun when the VM was created: boot_helper.h
  int64_t registers_set_ns = 0;
  int64_t ready_ns = 0;
  uint64_t guest_tsc[BC_STAGE_COUNT] = {};
  uint32_t tsc_khz = 0;
};

struct EntryCall {
  uint32_t function = 0;
  std::span<bc_slot> slots;
  size_t argument_count = 0;
  size_t result_count = 0;
};

// Not thread-safe, apart from cancel() and the linear memory's accessors: one thread at a time boots or calls. The addon sees to that.
class Vm {
 public:
  Vm(std::shared_ptr<Kvm> kvm, std::shared_ptr<const Image> image, VmOptions options);
  ~Vm();

  // Creates the VM and runs it until the instance is ready.
  Outcome boot(const RunLimits& limits);

  // Back to what boot() left, as if no call had been made: reset.cc. Ready where that needed no new VM, or what a new boot came to. Not while
  // anything else uses the VM, the linear memory's accessors included.
  Outcome reset(const RunLimits& limits);
  // The same, if it takes no longer than to hand it to another thread would. False: nothing was done.
  bool reset_quickly();

  // A new seed for the guest's random numbers: somebody else may have got a copy of the one it has.
  void reseed() { answers_.start(mailbox()->answers); }

  // Calls an entry of the image. `slots` are the arguments, and afterwards the results.
  Outcome call(const EntryCall& call, const RunLimits& limits);

  // The same from within a host function in JavaScript, while the guest waits for it, on any thread. The limits are those of the call that goes on outside;
  // `deadline_ns` (CLOCK_MONOTONIC, 0: none) may be nearer. Does not disturb the outer run, unless it ends in a trap or a kill.
  Outcome call_inner(const EntryCall& call, int64_t deadline_ns);

  // What the guest may use up in each boot or call from now on, if its image is metered.
  void set_fuel(int64_t fuel) noexcept { fuel_ = fuel; }
  // What the last boot or call left of it: below zero where it took more. Any number, if the guest got out of WebAssembly: this is the guest's register.
  int64_t fuel_left() const noexcept;

  StopControl& stop() noexcept { return stop_; }
  GuestMemory& memory() noexcept { return memory_; }
  const Image& image() const noexcept { return *image_; }
  const ExitCounts& exits() const noexcept { return exits_; }
  // For each import, how often it was called.
  std::span<const uint64_t> host_calls() const noexcept { return counts_.first(options_.imports.size()); }
  // Those, and how often growth was refused.
  size_t count_of_counts() const noexcept { return counts_.size(); }
  // Where to count from now on, zeros: before the boot. `owner` keeps them.
  void count_in(std::shared_ptr<void> owner, std::span<uint64_t> counts);
  const RunUsage& usage() const noexcept { return usage_; }
  int vm_fd() const noexcept { return vm_.get(); }
  int vcpu_fd() const noexcept { return vcpu_.get(); }
  Timeline timeline();

 private:
  void create();
  void create_vcpu();
  void open_ports();
  void prepare(const EntryCall& call);
  void prepare_mailbox();
  void enter(const kvm_regs& regs);
  void enter_fresh(kvm_regs regs);
  kvm_sregs ring3_sregs();
  void note_end(OutcomeKind kind) noexcept;
  Outcome rebuild(const RunLimits& limits);
  bool can_reset_in_place() const noexcept;
  void reset_vcpu();
  void take_results(const EntryCall& call);
  Outcome run(const RunLimits& limits);
  void run_until_over(Outcome& outcome);
  bool handle_exit(Outcome& outcome);
  bool handle_port(uint16_t port, Outcome& outcome);
  bool handle_import(size_t index, Outcome& outcome);
  HostCallAction call_native(size_t index, Outcome& outcome);
  HostCallAction call_script(size_t index);
  HostCallAction observed(size_t index, std::span<bc_slot> slots, Waiter& waiter, const std::function<HostCallAction()>& serve);
  void handle_grow();
  HostCallAction take_output();
  void give_input() noexcept;
  void take_input_back() noexcept;
  uint8_t* input_bytes() noexcept;
  void take_registers(Outcome& outcome) const;
  void take_exception(uint32_t vector, Outcome& outcome);
  void give_fuel(int64_t fuel) noexcept;
  bc_mailbox* mailbox() noexcept;
  kvm_run* run_page() noexcept { return reinterpret_cast<kvm_run*>(run_mapping_.base()); }

  std::shared_ptr<Kvm> kvm_;
  std::shared_ptr<const Image> image_;
  VmOptions options_;
  Timeline timeline_;
  GuestMemory memory_;
  GuestAnswers answers_;
  GuestStart start_;
  GuestOutput output_;
  GuestInput input_;
  // Order matters: the vCPU goes before the VM, and both before the memory they use.
  UniqueFd vm_;
  UniqueFd vcpu_;
  Mapping run_mapping_;
  StopControl stop_;
  ExitCounts exits_;
  // Others read while this thread counts: std::atomic_ref.
  std::span<uint64_t> counts_;
  std::shared_ptr<void> counts_owner_;  // of their memory
  RunUsage usage_;
  uint64_t host_calls_left_ = 0;
  int64_t fuel_ = 0;
  bool in_ring3_ = false;
  bool entered_ = false;
  // For reset(): reset.cc says what they mean.
  std::shared_ptr<const PristinePages> pristine_;
  bool took_output_ = false;
  bool after_reset_ = false;
  bool ended_rough_ = false;
  bool needs_rebuild_ = false;
};

}  // namespace barecell
