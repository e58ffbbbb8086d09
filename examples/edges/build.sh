#!/bin/sh
# Builds edges.wasm, here or as the file that is named. The result is committed, so only a change needs this.
set -eu
cd "$(dirname "$0")"
. ../toolchain.sh
need_assemblyscript
# `abort` is imported from the host by default; without it a failed check traps.
"$asc" edges.ts --optimizeLevel 3 --shrinkLevel 1 --runtime incremental --use abort= --outFile "${1:-edges.wasm}"
