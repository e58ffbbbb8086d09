#include "environment.h"

#include "failure.h"

namespace barecell {

Environment::Environment(Napi::Env env) {
  napi_value name = Napi::String::New(env, "barecell");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, on_done, &done_) != napi_ok) {
    throw Napi::Error::New(env, "cannot create a thread-safe function");
  }
  napi_unref_threadsafe_function(env, done_);
  // Hooks run last in, first out: this one before the thread-safe function's own, so that no vCPU thread calls a function that is gone.
  env.AddCleanupHook([](Environment* self) { self->shut_down(); }, this);
}

// The environment ends: at the end of the program, by process.exit(), or by worker.terminate(); with VMs alive and calls running.
void Environment::shut_down() {
  for (const std::shared_ptr<Vm>& vm : *live_) vm->stop().cancel(0);
  // Joins: every running call has been told to stop, so this takes no longer than an exit from the guest.
  threads_.reset();
  live_->clear();
  jobs_.clear();
  napi_release_threadsafe_function(done_, napi_tsfn_abort);
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void Environment::run_async(Napi::Env env, std::function<void()> work, std::function<void(Napi::Env)> finish) {
  if (threads_ == nullptr) throw Failure("BARECELL_INTERNAL", "the environment is ending");
  auto owned = std::make_unique<Job>(Job{std::move(work), std::move(finish)});
  Job* job = owned.get();
  jobs_.emplace(job, std::move(owned));
  try {
    threads_->run([this, job]() {
      job->work();
      job->work = nullptr;
      // Cannot fail before shut_down() has joined this thread; if it could, the job would be dropped there.
      napi_call_threadsafe_function(done_, job, napi_tsfn_nonblocking);
    });
  } catch (...) {
    jobs_.erase(job);
    throw;
  }
  if (jobs_.size() == 1) napi_ref_threadsafe_function(env, done_);
}

void Environment::on_done(napi_env raw_env, napi_value, void* context, void* data) {
  // Without an environment the queue is only being emptied, and shut_down() has dropped the jobs.
  if (raw_env == nullptr) return;
  auto* self = static_cast<Environment*>(context);
  auto place = self->jobs_.find(static_cast<Job*>(data));
  if (place == self->jobs_.end()) return;
  std::unique_ptr<Job> job = std::move(place->second);
  self->jobs_.erase(place);
  if (self->jobs_.empty()) napi_unref_threadsafe_function(raw_env, self->done_);
  // A worker that is being terminated still gets here, and can no longer make values, resolve promises or even throw: nobody waits for the answer
  // then. Whatever happens, no exception may leave this function, for C calls it.
  try {
    Napi::Env env(raw_env);
    Napi::HandleScope scope(env);
    try {
      job->finish(env);
    } catch (const Napi::Error& error) {
      error.ThrowAsJavaScriptException();
    }
  } catch (...) {
  }
}

}  // namespace barecell
