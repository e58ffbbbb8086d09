/*
 * host_calls: asks the host n times for the resolution of a clock, and counts the answers that make sense. As WebAssembly that is
 * an import of WASI preview 1; natively a system call, made for real and not answered by the vDSO.
 */
#ifndef __wasm__
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif
#include <stdint.h>

#ifdef __wasm__
__attribute__((import_module("wasi_snapshot_preview1"), import_name("clock_res_get"))) uint32_t clock_res_get(
    uint32_t id, uint64_t *nanoseconds);

static uint32_t ask(void) {
  uint64_t nanoseconds = 0;
  return clock_res_get(1, &nanoseconds) == 0 && nanoseconds != 0;
}
#else
static uint32_t ask(void) {
  struct timespec resolution = {0};
  return syscall(SYS_clock_getres, CLOCK_MONOTONIC, &resolution) == 0 && resolution.tv_nsec != 0;
}
#endif

uint32_t kernel_run(uint32_t n) {
  uint32_t answers = 0;
  for (uint32_t i = 0; i < n; i++) answers += ask();
  return answers;
}
