#!/bin/sh
# Builds markdown.wasm, here or as the file that is named. The result is committed, so only a change needs this.
set -eu
cd "$(dirname "$0")"
. ../toolchain.sh
need_rust wasm32-wasip1 wasm32-wasi
# shellcheck disable=SC2046 # several words
"$rustc" --target "$target" $(rust_flags) -o "${1:-markdown.wasm}" markdown.rs
