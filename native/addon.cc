// What the addon exports: `Image`, `Vm`, `Pipe`, `probe`, `wasiSignatures`, `endWithParent`.
#include <napi.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>

#include "abi.h"
#include "environment.h"
#include "image_binding.h"
#include "napi_values.h"
#include "pipe_binding.h"
#include "vm_binding.h"

namespace barecell {
namespace {

// What KVM offers here. Throws the reason, with its cure, if a VM cannot be run.
Napi::Value probe(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    std::shared_ptr<Kvm> kvm = Kvm::shared();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("apiVersion", KVM_API_VERSION);
    object.Set("memorySlots", kvm->check_extension(KVM_CAP_NR_MEMSLOTS));
    object.Set("maxVcpus", kvm->check_extension(KVM_CAP_MAX_VCPUS));
    object.Set("syncRegs", kvm->check_extension(KVM_CAP_SYNC_REGS));
    object.Set("hasXsave", kvm->has_xsave());
    object.Set("cr4", static_cast<double>(kvm->cr4()));
    object.Set("efer", static_cast<double>(kvm->efer()));
    object.Set("emulatedSvm", kvm->is_emulated_svm());
    return object;
  });
}

// [{ name, params: "iijf", results }]: the types of the WASI functions, so that imports can be checked before anything runs.
Napi::Value wasi_signatures(const Napi::CallbackInfo& info) {
  Napi::Array array = Napi::Array::New(info.Env());
  uint32_t i = 0;
  for (const wasi::Signature& signature : wasi::signatures()) {
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("name", std::string(signature.name));
    object.Set("params", std::string(signature.params));
    object.Set("results", std::string(signature.results));
    array.Set(i++, object);
  }
  return array;
}

// endWithParent(pid): the kernel kills this process when the thread that started it ends, whatever either does at that time. False if that process, by its
// number, is not the parent any more: then there is nobody to end with.
Napi::Value end_with_parent(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    uint64_t parent = as_u64(info[0], "pid");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail_errno("BARECELL_INTERNAL", "prctl(PR_SET_PDEATHSIG)");
    return Napi::Boolean::New(info.Env(), static_cast<uint64_t>(getppid()) == parent);
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto environment = std::make_unique<Environment>(env);
  Napi::Function image = ImageBinding::define(env);
  environment->image_constructor = Napi::Persistent(image);
  exports.Set("Image", image);
  Napi::Function pipe = PipeBinding::define(env);
  environment->pipe_constructor = Napi::Persistent(pipe);
  exports.Set("Pipe", pipe);
  exports.Set("Vm", VmBinding::define(env));
  exports.Set("probe", Napi::Function::New<probe>(env, "probe"));
  exports.Set("wasiSignatures", Napi::Function::New<wasi_signatures>(env, "wasiSignatures"));
  exports.Set("endWithParent", Napi::Function::New<end_with_parent>(env, "endWithParent"));
  exports.Set("abiVersion", BC_ABI_VERSION);
  env.SetInstanceData(environment.release());
  return exports;
}

}  // namespace
}  // namespace barecell

static Napi::Object Init(Napi::Env env, Napi::Object exports) { return barecell::init(env, exports); }
NODE_API_MODULE(barecell, Init)
