// Reading JavaScript values with checks. What the TypeScript side passes is already checked; this is the second fence, so that a mistake there is
// an error and not a crash.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "failure.h"

namespace barecell {

inline void require(bool condition, const char* what) {
  if (!condition) throw Failure("BARECELL_INTERNAL", std::string("bad argument to the addon: ") + what);
}

inline Napi::Object as_object(const Napi::Value& value, const char* name) {
  require(value.IsObject(), name);
  return value.As<Napi::Object>();
}

// A whole number of up to 53 bits.
inline uint64_t as_u64(const Napi::Value& value, const char* name) {
  require(value.IsNumber(), name);
  double number = value.As<Napi::Number>().DoubleValue();
  require(number >= 0 && number <= 9007199254740991.0 && number == static_cast<double>(static_cast<uint64_t>(number)), name);
  return static_cast<uint64_t>(number);
}

inline uint64_t get_u64(const Napi::Object& object, const char* name) { return as_u64(object.Get(name), name); }

inline bool get_bool(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  require(value.IsBoolean(), name);
  return value.As<Napi::Boolean>().Value();
}

inline std::string get_string(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  require(value.IsString(), name);
  return value.As<Napi::String>().Utf8Value();
}

inline Napi::Array get_array(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  require(value.IsArray(), name);
  return value.As<Napi::Array>();
}

inline std::vector<std::string> get_strings(const Napi::Object& object, const char* name) {
  Napi::Array array = get_array(object, name);
  std::vector<std::string> strings;
  for (uint32_t i = 0; i < array.Length(); i++) {
    Napi::Value value = array.Get(i);
    require(value.IsString(), name);
    strings.push_back(value.As<Napi::String>().Utf8Value());
  }
  return strings;
}

inline Napi::Error to_js_error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

// No C++ exception crosses into Node: each entry point runs inside this.
template <typename Body>
auto guarded(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Failure& failure) {
    throw to_js_error(env, failure.code(), failure.what());
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw to_js_error(env, "BARECELL_KVM_FAILED", "out of memory");
  } catch (const std::exception& error) {
    throw to_js_error(env, "BARECELL_INTERNAL", error.what());
  }
}

}  // namespace barecell
