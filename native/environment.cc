#include "environment.h"

#include "failure.h"

namespace barecell {

struct Environment::Job {
  std::function<void()> work;
  std::function<void(Napi::Env)> finish;
};

Environment::Environment(Napi::Env env) {
  napi_value name = Napi::String::New(env, "barecell");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, on_done, &done_) != napi_ok) {
    throw Napi::Error::New(env, "cannot create a thread-safe function");
  }
  napi_unref_threadsafe_function(env, done_);
}

// The environment ends: by process.exit(), by the end of the program, or by worker.terminate(), with VMs alive and calls running.
Environment::~Environment() {
  for (const std::shared_ptr<Vm>& vm : live_) vm->stop().cancel(0);
  // Joins: every running call has been told to stop, so this takes no longer than an exit from the guest.
  threads_.reset();
  live_.clear();
  napi_release_threadsafe_function(done_, napi_tsfn_abort);
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void Environment::run_async(Napi::Env env, std::function<void()> work, std::function<void(Napi::Env)> finish) {
  auto job = std::make_shared<Job>(Job{std::move(work), std::move(finish)});
  threads_->run([this, job]() {
    job->work();
    job->work = nullptr;
    auto* handed_over = new std::shared_ptr<Job>(job);
    // Fails only while the environment ends; then nobody waits for the answer.
    if (napi_call_threadsafe_function(done_, handed_over, napi_tsfn_nonblocking) != napi_ok) delete handed_over;
  });
  if (pending_++ == 0) napi_ref_threadsafe_function(env, done_);
}

void Environment::on_done(napi_env raw_env, napi_value, void* context, void* data) {
  std::unique_ptr<std::shared_ptr<Job>> job(static_cast<std::shared_ptr<Job>*>(data));
  if (raw_env == nullptr) return;  // the environment is gone; the queue is only being emptied
  auto* self = static_cast<Environment*>(context);
  Napi::Env env(raw_env);
  Napi::HandleScope scope(env);
  if (--self->pending_ == 0) napi_unref_threadsafe_function(raw_env, self->done_);
  try {
    (*job)->finish(env);
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  }
}

void Environment::add(const std::shared_ptr<Vm>& vm) { live_.insert(vm); }

void Environment::remove(const std::shared_ptr<Vm>& vm) noexcept { live_.erase(vm); }

}  // namespace barecell
