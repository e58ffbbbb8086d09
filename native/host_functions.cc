#include "host_functions.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "failure.h"

namespace barecell {
namespace {

// Waits for the event, the deadline or a cancel; false: the run is to end. Other limits do not count while the host's function runs, and other threads may run
// the vCPU meanwhile, so of StopControl only is_cancelled() may be asked here.
bool wait_for_event(int event, StopControl& stop, int64_t deadline_ns) noexcept {
  // Window W5 of kick.h: the kick is blocked from before the look at the flags until ppoll lets it in.
  sigset_t kick, before;
  sigemptyset(&kick);
  sigaddset(&kick, kick_signal());
  pthread_sigmask(SIG_BLOCK, &kick, &before);
  sigset_t during = before;
  sigdelset(&during, kick_signal());
  bool go_on = true;
  for (;;) {
    if (stop.is_cancelled() || (deadline_ns != 0 && monotonic_ns() >= deadline_ns)) {
      go_on = false;
      break;
    }
    // The thread's timer kicks when the deadline comes.
    pollfd entry{event, POLLIN, 0};
    if (ppoll(&entry, 1, nullptr, &during) > 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  uint64_t count = 0;
  [[maybe_unused]] ssize_t got = read(event, &count, sizeof count);
  return go_on;
}

}  // namespace

void CallAnswer::attempt(const std::function<Outcome()>& run) {
  try {
    outcome = run();
  } catch (const Failure& failure) {
    failure_code = failure.code();
    failure_message = failure.what();
  } catch (const std::exception& error) {
    failure_code = "BARECELL_INTERNAL";
    failure_message = error.what();
  }
}

HostFunctions::HostFunctions(Environment& environment, Napi::Function dispatch, Napi::Uint8Array slots)
    : environment_(environment), dispatch_(Napi::Weak(dispatch)), slots_(Napi::Persistent(slots)), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!event_) fail_errno("BARECELL_KVM_FAILED", "cannot make a descriptor for the answers of host functions (eventfd)");
}

HostCallAction HostFunctions::call(uint32_t import, Vm& vm, std::span<bc_slot> slots) {
  return environment_.is_this_thread() ? call_here(import, vm, slots) : call_there(import, vm, slots);
}

int HostFunctions::dispatch(Napi::Env env, uint32_t import, uint64_t token, std::span<bc_slot> slots) {
  try {
    Napi::HandleScope scope(env);
    Napi::Value function = dispatch_.Value();
    if (!function.IsFunction()) return 0;
    Napi::Uint8Array shared = slots_.Value();
    if (shared.ByteLength() < slots.size_bytes()) return 0;
    copy_bytes(shared.Data(), slots.data(), slots.size_bytes());
    napi_value arguments[] = {Napi::Number::New(env, import), Napi::Number::New(env, static_cast<double>(token))};
    Napi::Value result = function.As<Napi::Function>().Call(2, arguments);
    if (!result.IsBoolean()) return -1;
    if (!result.As<Napi::Boolean>().Value()) return 0;
    copy_bytes(slots.data(), shared.Data(), std::min(slots.size_bytes(), shared.ByteLength()));
    return 1;
  } catch (...) {
    // It never throws by itself; a thread that is being terminated does.
    return 0;
  }
}

HostCallAction HostFunctions::call_here(uint32_t import, Vm& vm, std::span<bc_slot> slots) {
  PausedRun paused(vm.stop(), false);
  calls_here_++;
  int result = dispatch(dispatch_.Env(), import, 0, slots);
  calls_here_--;
  return result == 1 ? HostCallAction::Continue : HostCallAction::Failed;
}

HostCallAction HostFunctions::call_there(uint32_t import, Vm& vm, std::span<bc_slot> slots) {
  PausedRun paused(vm.stop(), true);
  Wait wait;
  wait.slots.assign(slots.begin(), slots.end());
  {
    std::lock_guard lock(mutex_);
    wait.token = ++last_token_;
    waits_.push_back(&wait);
  }
  environment_.post([self = shared_from_this(), import, token = wait.token](Napi::Env env) { self->ask(env, import, token); });
  HostCallAction action = wait_for_answer(wait, vm);
  if (action == HostCallAction::Continue) std::copy(wait.slots.begin(), wait.slots.end(), slots.begin());
  return action;
}

HostCallAction HostFunctions::wait_for_answer(Wait& wait, Vm& vm) {
  const int64_t deadline_ns = vm.stop().deadline_ns();
  std::unique_lock lock(mutex_);
  bool go_on = true;
  while (go_on && !wait.answered) {
    if (wait.inner) {
      run_inner_of(wait, vm, lock);
      continue;
    }
    lock.unlock();
    go_on = wait_for_event(event_.get(), vm.stop(), deadline_ns);
    lock.lock();
  }
  // A stop ends the JavaScript thread's run of the vCPU as well.
  ran_elsewhere_.wait(lock, [&wait] { return !wait.runs_elsewhere; });
  waits_.pop_back();
  if (wait.inner) {
    // Asked for, and never begun.
    wait.inner->answer.outcome.kind = OutcomeKind::Cancelled;
    post_inner_done(wait.inner_number);
  }
  if (!go_on) return HostCallAction::Interrupted;
  return wait.succeeded ? HostCallAction::Continue : HostCallAction::Failed;
}

void HostFunctions::run_inner_of(Wait& wait, Vm& vm, std::unique_lock<std::mutex>& lock) {
  std::shared_ptr<InnerCall> inner = std::move(wait.inner);
  wait.inner = nullptr;
  uint64_t number = wait.inner_number;
  lock.unlock();
  inner->answer.attempt([&]() {
    int64_t deadline_ns = inner->timeout_ms > 0 ? monotonic_ns() + static_cast<int64_t>(inner->timeout_ms * 1e6) : 0;
    return vm.call_inner({inner->function, inner->answer.slots, inner->argument_count, inner->result_count}, deadline_ns);
  });
  post_inner_done(number);
  lock.lock();
}

void HostFunctions::post_inner_done(uint64_t number) {
  environment_.post([self = shared_from_this(), number](Napi::Env env) {
    auto place = self->inner_done_.find(number);
    if (place == self->inner_done_.end()) return;
    auto done = std::move(place->second);
    self->inner_done_.erase(place);
    done(env);
  });
}

void HostFunctions::ask(Napi::Env env, uint32_t import, uint64_t token) {
  std::vector<bc_slot> slots;
  {
    std::lock_guard lock(mutex_);
    Wait* wait = find(token);
    // It gave up before it was heard: a stop came first.
    if (wait == nullptr) return;
    slots = wait->slots;
  }
  int result = dispatch(env, import, token, slots);
  if (result >= 0) answer(token, result == 1, slots);
}

HostFunctions::Wait* HostFunctions::find(uint64_t token) {
  auto found = std::ranges::find(waits_, token, &Wait::token);
  return found == waits_.end() ? nullptr : *found;
}

void HostFunctions::answer(uint64_t token, bool succeeded, std::span<const bc_slot> slots) {
  std::lock_guard lock(mutex_);
  Wait* wait = find(token);
  if (wait == nullptr || wait->answered) return;
  wait->answered = true;
  wait->succeeded = succeeded;
  std::copy_n(slots.begin(), std::min(slots.size(), wait->slots.size()), wait->slots.begin());
  wake();
}

bool HostFunctions::is_waiting(uint64_t token) {
  if (token == 0) return calls_here_ > 0;
  std::lock_guard lock(mutex_);
  return find(token) != nullptr;
}

Outcome HostFunctions::run_inner_here(uint64_t token, Vm& vm, const EntryCall& call, int64_t deadline_ns) {
  Wait* wait = nullptr;
  if (token != 0) {
    std::lock_guard lock(mutex_);
    wait = waits_.empty() ? nullptr : waits_.back();
    if (wait == nullptr || wait->token != token || wait->answered || wait->inner || wait->runs_elsewhere) {
      throw Failure("BARECELL_BUSY", "the guest does not wait for this host function");
    }
    wait->runs_elsewhere = true;
  } else if (calls_here_ == 0) {
    throw Failure("BARECELL_BUSY", "the guest does not wait for a host function");
  }
  auto over = [&] {
    if (wait == nullptr) return;
    std::lock_guard lock(mutex_);
    wait->runs_elsewhere = false;
    ran_elsewhere_.notify_all();
  };
  try {
    Outcome outcome = vm.call_inner(call, deadline_ns);
    over();
    return outcome;
  } catch (...) {
    over();
    throw;
  }
}

void HostFunctions::run_inner_there(uint64_t token, std::shared_ptr<InnerCall> call, std::function<void(Napi::Env)> done) {
  std::lock_guard lock(mutex_);
  Wait* wait = waits_.empty() ? nullptr : waits_.back();
  if (wait == nullptr || wait->token != token || wait->answered || wait->inner || wait->runs_elsewhere) {
    throw Failure("BARECELL_BUSY", "the guest does not wait for this host function");
  }
  wait->inner = std::move(call);
  wait->inner_number = ++last_inner_;
  inner_done_.emplace(wait->inner_number, std::move(done));
  wake();
}

void HostFunctions::wake() noexcept {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t done = write(event_.get(), &one, sizeof one);
}

}  // namespace barecell
