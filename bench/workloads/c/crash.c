/* crash: writes where nothing is. WebAssembly traps there, native code gets SIGSEGV. */
#include <stdint.h>

uint32_t kernel_run(uint32_t n) {
  volatile uint32_t *nowhere = (volatile uint32_t *)(uintptr_t)(0xfffffff0u - n);
  *nowhere = n;
  return *nowhere;
}
