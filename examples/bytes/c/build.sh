#!/bin/sh
# Builds bytes.wasm, here or as the file that is named. The result is committed, so only a change needs this.
set -eu
cd "$(dirname "$0")"
. ../../toolchain.sh
need_wasi_libc
# A reactor: a module whose functions are called, instead of a program that ends.
"$clang" --target=wasm32-wasi ${WASI_SYSROOT:+--sysroot="$WASI_SYSROOT"} -mexec-model=reactor -std=c11 -Os -Wall -Wextra -Werror \
  -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=65536 -o "${1:-bytes.wasm}" bytes.c
