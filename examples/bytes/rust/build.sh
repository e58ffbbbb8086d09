#!/bin/sh
# Builds bytes.wasm, here or as the file that is named. The result is committed, so only a change needs this.
set -eu
cd "$(dirname "$0")"
. ../../toolchain.sh
# Without WASI: nothing is imported.
need_rust wasm32-unknown-unknown
# shellcheck disable=SC2046 # several words
"$rustc" --target "$target" --crate-type cdylib $(rust_flags) -o "${1:-bytes.wasm}" bytes.rs
