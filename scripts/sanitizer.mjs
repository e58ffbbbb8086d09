// The environment in which Node runs the sanitizer build of the addon: the runtimes must be loaded before everything else.
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";

function runtime(name) {
  return spawnSync("g++", [`-print-file-name=${name}`], { encoding: "utf8" }).stdout.trim();
}

export function sanitizerEnvironment() {
  return {
    LD_PRELOAD: `${runtime("libasan.so")} ${runtime("libubsan.so")}`,
    // Node leaks by design at exit, so leaks are looked for by tests that count descriptors, threads and mappings instead.
    ASAN_OPTIONS: "detect_leaks=0:handle_segv=0:allocator_may_return_null=1",
    UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
    BARECELL_ADDON: resolve("build/sanitize/Release/barecell.node"),
    // For tests that cannot hold there.
    BARECELL_SANITIZED: "1",
  };
}
