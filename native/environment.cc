#include "environment.h"

#include <utility>

#include "failure.h"

namespace barecell {

Environment::Environment(Napi::Env env) : wakers_(std::make_shared<Wakers>(env)) {
  context_ = std::make_unique<Napi::AsyncContext>(env, "barecell");
  signal_ = LoopSignal::open(env, [this](Napi::Env env) { run_tasks(env); });
  // Hooks run last in, first out: this one before those of the thread-safe functions, so that no vCPU thread calls a function that is gone.
  env.AddCleanupHook([](Environment* self) { self->shut_down(); }, this);
}

// The environment ends: at the end of the program, by process.exit(), or by worker.terminate(); with VMs alive and calls running.
void Environment::shut_down() {
  for (const std::shared_ptr<Vm>& vm : *live_) vm->stop().cancel(0);
  // Joins: every running call has been told to stop, so this takes no longer than an exit from the guest.
  threads_.reset();
  live_->clear();
  jobs_.clear();
  tasks_.clear();
  wakers_->shut_down();
  std::exchange(signal_, nullptr)->close();
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

VcpuThreads::Number Environment::run_async(VcpuThreads::Number before, std::function<void()> work, std::function<void(Napi::Env)> finish) {
  if (threads_ == nullptr) throw Failure("BARECELL_INTERNAL", "the environment is ending");
  auto owned = std::make_unique<Job>(Job{std::move(work), std::move(finish)});
  Job* job = owned.get();
  jobs_.emplace(job, std::move(owned));
  VcpuThreads::Number thread = 0;
  try {
    auto run = [job]() {
      job->work();
      job->work = nullptr;
    };
    auto tell = [this, job]() {
      enqueue([this, job](Napi::Env env) { finish_job(env, job); });
    };
    thread = threads_->run(run, tell, before);
  } catch (...) {
    jobs_.erase(job);
    throw;
  }
  if (jobs_.size() == 1) signal_->keep_alive(true);
  return thread;
}

void Environment::post(std::function<void(Napi::Env)> task) { enqueue(std::move(task)); }

// From a vCPU thread, of which shut_down() leaves none: the signal is open.
void Environment::enqueue(std::function<void(Napi::Env)> task) {
  bool is_first = false;
  {
    std::lock_guard lock(tasks_mutex_);
    is_first = tasks_.empty();
    tasks_.push_back(std::move(task));
  }
  // Whoever finds others waiting knows that the loop was told.
  if (is_first) signal_->send();
}

void Environment::run_tasks(Napi::Env env) {
  std::vector<std::function<void(Napi::Env)>> tasks;
  {
    std::lock_guard lock(tasks_mutex_);
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) {
    // Each is a turn of its own for promises. A worker that is being terminated still gets here, and can no longer make values, resolve promises or even throw:
    // nobody waits for the answer then.
    Napi::HandleScope handles(env);
    try {
      Napi::CallbackScope turn(env, *context_);
      try {
        task(env);
      } catch (const Napi::Error& error) {
        napi_fatal_exception(env, error.Value());
      }
    } catch (...) {
    }
  }
}

void Environment::finish_job(Napi::Env env, Job* finished) {
  auto place = jobs_.find(finished);
  if (place == jobs_.end()) return;
  std::unique_ptr<Job> job = std::move(place->second);
  jobs_.erase(place);
  if (jobs_.empty() && signal_ != nullptr) signal_->keep_alive(false);
  job->finish(env);
}

}  // namespace barecell
