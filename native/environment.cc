#include "environment.h"

#include "failure.h"

namespace barecell {

Environment::Environment(Napi::Env env) : wakers_(std::make_shared<Wakers>(env)) {
  napi_value name = Napi::String::New(env, "barecell");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, on_done, &done_) != napi_ok) {
    throw Napi::Error::New(env, "cannot create a thread-safe function");
  }
  napi_unref_threadsafe_function(env, done_);
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
  posted_.clear();
  wakers_->shut_down();
  napi_release_threadsafe_function(done_, napi_tsfn_abort);
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

VcpuThreads::Number Environment::run_async(Napi::Env env, VcpuThreads::Number before, std::function<void()> work,
                                           std::function<void(Napi::Env)> finish) {
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
    // Cannot fail before shut_down() has joined this thread; if it could, the job would be dropped there.
    auto tell = [this, job]() { napi_call_threadsafe_function(done_, job, napi_tsfn_nonblocking); };
    thread = threads_->run(run, tell, before);
  } catch (...) {
    jobs_.erase(job);
    throw;
  }
  if (jobs_.size() == 1) napi_ref_threadsafe_function(env, done_);
  return thread;
}

void Environment::post(std::function<void(Napi::Env)> task) {
  {
    std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  // As in run_async: it cannot fail before shut_down() has joined the thread that posts.
  napi_call_threadsafe_function(done_, nullptr, napi_tsfn_nonblocking);
}

void Environment::on_done(napi_env env, napi_value, void* context, void* data) {
  // Without an environment the queue is only being emptied, and shut_down() has dropped the jobs.
  if (env == nullptr) return;
  auto* self = static_cast<Environment*>(context);
  // A worker that is being terminated still gets here, and can no longer make values, resolve promises or even throw: nobody waits for the answer
  // then. Whatever happens, no exception may leave this function, for C calls it.
  try {
    Napi::HandleScope scope(env);
    try {
      // What a run posted comes before the run's end.
      self->run_posted(Napi::Env(env));
      if (data != nullptr) self->finish_job(env, static_cast<Job*>(data));
    } catch (const Napi::Error& error) {
      error.ThrowAsJavaScriptException();
    }
  } catch (...) {
  }
}

void Environment::run_posted(Napi::Env env) {
  std::vector<std::function<void(Napi::Env)>> tasks;
  {
    std::lock_guard lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) task(env);
}

void Environment::finish_job(napi_env env, Job* finished) {
  auto place = jobs_.find(finished);
  if (place == jobs_.end()) return;
  std::unique_ptr<Job> job = std::move(place->second);
  jobs_.erase(place);
  if (jobs_.empty()) napi_unref_threadsafe_function(env, done_);
  job->finish(Napi::Env(env));
}

}  // namespace barecell
