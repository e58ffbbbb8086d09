#include "wasi_binding.h"

#include <limits>

#include "environment.h"
#include "napi_values.h"
#include "pipe_binding.h"

namespace barecell {
namespace {

int as_descriptor(const Napi::Value& value, const char* name) {
  uint64_t fd = as_u64(value, name);
  require(fd <= static_cast<uint64_t>(std::numeric_limits<int>::max()), name);
  return static_cast<int>(fd);
}

wasi::StreamConfig read_stream(const Napi::Object& config, const char* name) {
  wasi::StreamConfig stream{};
  stream.kind = wasi::StreamConfig::Kind::None;
  stream.fd = -1;
  Napi::Object object = as_object(config.Get(name), name);
  std::string kind = get_string(object, "kind");
  if (kind == "fd") {
    stream.kind = wasi::StreamConfig::Kind::Fd;
    stream.fd = as_descriptor(object.Get("fd"), "fd");
  } else if (kind == "capture") {
    stream.kind = wasi::StreamConfig::Kind::Capture;
  } else if (kind == "bytes") {
    stream.kind = wasi::StreamConfig::Kind::Bytes;
    Napi::Value bytes = object.Get("bytes");
    require(bytes.IsTypedArray() && bytes.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "bytes");
    auto array = bytes.As<Napi::Uint8Array>();
    stream.bytes.assign(array.Data(), array.Data() + array.ByteLength());
  } else if (kind == "pipe") {
    stream.kind = wasi::StreamConfig::Kind::Pipe;
    Napi::Object pipe = as_object(object.Get("pipe"), "pipe");
    require(pipe.InstanceOf(Environment::of(config.Env()).pipe_constructor.Value()), "pipe");
    stream.pipe = PipeBinding::Unwrap(pipe)->guest_end();
  } else {
    require(kind == "none", "stream kind");
  }
  return stream;
}

uint32_t get_u32(const Napi::Object& object, const char* name) {
  uint64_t value = get_u64(object, name);
  require(value <= std::numeric_limits<uint32_t>::max(), name);
  return static_cast<uint32_t>(value);
}

std::vector<wasi::PreopenConfig> read_preopens(const Napi::Object& config) {
  Napi::Array list = get_array(config, "preopens");
  std::vector<wasi::PreopenConfig> preopens;
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Object entry = as_object(list.Get(i), "preopens");
    wasi::PreopenConfig preopen{get_string(entry, "guest"), get_string(entry, "host"), !get_bool(entry, "writable"), get_u64(entry, "memoryBytes"), {}};
    if (!entry.Get("bundleRoot").IsNull()) preopen.bundle_root = get_u32(entry, "bundleRoot");
    preopens.push_back(std::move(preopen));
  }
  return preopens;
}

std::vector<int> read_sockets(const Napi::Object& config) {
  Napi::Array list = get_array(config, "sockets");
  std::vector<int> sockets;
  for (uint32_t i = 0; i < list.Length(); i++) sockets.push_back(as_descriptor(list.Get(i), "sockets"));
  return sockets;
}

}  // namespace

wasi::Config read_wasi_config(const Napi::Value& value, std::shared_ptr<const wasi::Bundle> bundle) {
  wasi::Config result;
  // Reading all the rest takes longer than anything else that is done for a VM before it is made.
  if (value.IsUndefined()) return result;
  Napi::Object config = as_object(value, "wasi");
  result.bundle = std::move(bundle);
  result.args = get_strings(config, "args");
  result.env = get_strings(config, "env");
  result.stdin_ = read_stream(config, "stdin");
  result.stdout_ = read_stream(config, "stdout");
  result.stderr_ = read_stream(config, "stderr");
  result.max_output_bytes = get_u64(config, "maxOutputBytes");
  result.preopens = read_preopens(config);
  result.sockets = read_sockets(config);
  result.limits.max_open_files = get_u32(config, "maxOpenFiles");
  result.limits.max_write_bytes = get_u64(config, "maxWriteBytes");
  result.limits.max_directory_depth = get_u32(config, "maxDirectoryDepth");
  result.fixed_clock = get_bool(config, "fixedClock");
  uint64_t clock_start_ms = get_u64(config, "clockStartMs");
  require(clock_start_ms <= uint64_t{1} << 43, "clockStartMs");
  result.clock_start_ns = clock_start_ms * 1'000'000;
  result.random_seed = get_u64(config, "randomSeed");
  result.fixed_random = get_bool(config, "fixedRandom");
  result.elapsed_ns = get_u64(config, "elapsedNs");
  return result;
}

}  // namespace barecell
