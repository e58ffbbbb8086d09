/* WASI calls that may need no exit; see guest-stubs/answers.c. */
#ifndef BARECELL_ANSWERS_H
#define BARECELL_ANSWERS_H

#include "wasm-rt.h"

/* No errno of WASI is as large. */
#define BC_NO_ANSWER 0xffffffffu

uint32_t bc_clock_time_get(const wasm_rt_memory_t* memory, uint32_t clock, uint32_t result_at);
uint32_t bc_random_get(const wasm_rt_memory_t* memory, uint32_t at, uint32_t count);

#endif
