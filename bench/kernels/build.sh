#!/bin/sh
# Builds bench/kernels/wasm/NAME.wasm from every bench/kernels/NAME.c, or from the kernels named as arguments.
# For maintainers only: the results are committed, so that neither users nor CI need clang. Needs clang and lld
# (Debian: apt-get install clang lld); CLANG names another clang.
set -eu
cd "$(dirname "$0")"
mkdir -p wasm
if [ $# -eq 0 ]; then set -- *.c; fi
for source; do
  name=$(basename "$source" .c)
  # Features are spelled out, because their defaults differ between clang's versions. Bulk memory gives memory.fill and
  # memory.copy; without it clang would call memset and memcpy, and there is no libc here.
  # The stack comes first, so that running out of it goes below address 0 and traps instead of eating data.
  # Names stay in the file: backtraces and the code in an image show them.
  "${CLANG:-clang}" --target=wasm32 -mcpu=mvp -mbulk-memory -msign-ext -mmutable-globals -mnontrapping-fptoint \
    -std=c11 -O2 -ffp-contract=off -Wall -Wextra -Werror -nostdlib \
    -Wl,--no-entry -Wl,--export=kernel_run -Wl,--stack-first -Wl,-z,stack-size=65536 \
    -o "wasm/$name.wasm" "$name.c"
  echo "wasm/$name.wasm: $(wc -c <"wasm/$name.wasm") bytes"
done
