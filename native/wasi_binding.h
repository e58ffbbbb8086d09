// What a program is granted of WASI, as JavaScript says it; undefined for nothing.
#pragma once

#include <napi.h>

#include "wasi/instance.h"

namespace barecell {

// { args, env, stdin, stdout, stderr, maxOutputBytes, preopens: [{ guest, host, writable, memoryBytes, bundleRoot }], sockets, fixedClock,
// clockStartMs, fixedRandom, randomSeed, maxOpenFiles, maxWriteBytes, maxDirectoryDepth }
// `bundle` of the image, in which bundleRoot is a place; may be null.
wasi::Config read_wasi_config(const Napi::Value& config, std::shared_ptr<const wasi::Bundle> bundle);

}  // namespace barecell
