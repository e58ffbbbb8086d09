#!/bin/sh
# Builds words.wasm, here or as the file that is named. The result is committed, so only a change needs this.
set -eu
cd "$(dirname "$0")"
. ../toolchain.sh
need_wasi_libc
# Without bulk memory, with which Debian's clang keeps wasi-libc's errno in thread-local storage and then cannot compile it. The stack
# comes first, so that running out of it traps instead of eating data.
"$clang" --target=wasm32-wasi ${WASI_SYSROOT:+--sysroot="$WASI_SYSROOT"} -std=c11 -D_GNU_SOURCE -Os -Wall -Wextra -Werror \
  -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=65536 -o "${1:-words.wasm}" words.c
