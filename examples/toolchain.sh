# Finds the compilers that examples are built with. Meant to be read (`. ../toolchain.sh`) by the build.sh of an example, from its own
# folder. What is missing is said, with the cure, and ends the build with status 77, as a test that is skipped.

missing() {
  echo "missing: $1" >&2
  exit 77
}

# Sets `clang`. CLANG names another than the one in PATH.
need_wasi_libc() {
  clang=${CLANG:-clang}
  cure="apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32"
  command -v "$clang" >/dev/null || missing "clang; $cure"
  command -v wasm-ld >/dev/null || missing "wasm-ld; $cure"
  printf '#include <stdlib.h>\nint main(void) { return 0; }\n' |
    "$clang" --target=wasm32-wasi ${WASI_SYSROOT:+--sysroot="$WASI_SYSROOT"} -x c -o /dev/null - 2>/dev/null ||
    missing "wasi-libc or the compiler's runtime for it (WASI_SYSROOT names another place than /usr); $cure"
}

# Sets `rustc` and `target`. RUSTC names another than the one in PATH.
# $@: names of the target, old and new
need_rust() {
  cure="apt-get install rustc libstd-rust-dev-wasm32 lld, or rustup target add $*"
  for rustc in ${RUSTC:-rustc /usr/bin/rustc}; do
    command -v "$rustc" >/dev/null || continue
    for target; do
      if [ -e "$("$rustc" --print target-libdir --target "$target" 2>/dev/null)" ]; then return 0; fi
    done
  done
  missing "Rust's standard library for $*; $cure"
}


# Flags for a small file, in which no path of this machine stands.
rust_flags() {
  echo "--edition 2021 -C opt-level=s -C lto -C panic=abort -C strip=symbols -C codegen-units=1 --remap-path-prefix $PWD=."
}

# Sets `asc`. ASC names another than the one in PATH.
need_assemblyscript() {
  asc=${ASC:-asc}
  command -v "$asc" >/dev/null || missing "asc; npm install --global assemblyscript"
}
