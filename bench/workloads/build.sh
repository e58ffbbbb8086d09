#!/bin/sh
# Builds bench/workloads/wasm/*.wasm from the C sources beside it. For maintainers only: the results are committed, so that neither users
# nor CI need clang. Needs clang and lld (Debian: apt-get install clang lld); CLANG names another clang. Flags: see ../kernels/build.sh.
set -eu
cd "$(dirname "$0")"
mkdir -p wasm

build() { # NAME SOURCE [OPTION…]
  name=$1 source=$2
  shift 2
  "${CLANG:-clang}" --target=wasm32 -mcpu=mvp -mbulk-memory -msign-ext -mmutable-globals -mnontrapping-fptoint \
    -std=c11 -O2 -ffp-contract=off -Wall -Wextra -Werror -nostdlib "$@" \
    -Wl,--no-entry -Wl,--export=kernel_run -Wl,--export-if-defined=kernel_data -Wl,--stack-first -Wl,-z,stack-size=65536 \
    -o "wasm/$name.wasm" "c/$source.c"
  echo "wasm/$name.wasm: $(wc -c <"wasm/$name.wasm") bytes"
}

for name in nothing fib long echo crash spin; do build "$name" "$name"; done
build host-calls host_calls
for mib in 1 16 64; do build "memory-$mib" memory "-DMIB=${mib}u"; done
