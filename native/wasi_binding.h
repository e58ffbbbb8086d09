// What a program is granted of WASI, as JavaScript says it.
#pragma once

#include <napi.h>

#include "wasi/instance.h"

namespace barecell {

// { args, env, stdin, stdout, stderr, maxOutputBytes, preopens: [{ guest, host, writable, memoryBytes }], sockets, fixedClock, fixedRandom,
// maxOpenFiles, maxWriteBytes, maxDirectoryDepth }
wasi::Config read_wasi_config(const Napi::Object& config);

}  // namespace barecell
