/*
 * Fuel. In images compiled with metering what is left of it stands in r15, which no compiler touches (-ffixed-r15): a payment is one subtraction, and whatever
 * ends a call (its return, a trap, an exception, a kick), the host finds the count in the registers. Below zero there is none left.
 */
#ifndef BARECELL_FUEL_H
#define BARECELL_FUEL_H

#ifdef BC_METERING

#include "wasm-rt.h"

/*
 * Volatile, and so in order with the loads and stores of linear memory, which may trap: what was paid until then does not depend on the compiler's
 * optimisation.
 */
#define BC_PAY(cost) __asm__ volatile("subq %0, %%r15" : : "er"((int64_t)(cost)) : "cc")

#define BC_PAY_CHECKED(cost)                                                                                       \
  do {                                                                                                             \
    bool bc_empty;                                                                                                 \
    __asm__ volatile("subq %1, %%r15" : "=@ccs"(bc_empty) : "er"((int64_t)(cost)) : "cc");                         \
    if (UNLIKELY(bc_empty)) wasm_rt_trap(BC_TRAP_FUEL_EXHAUSTED);                                                  \
  } while (0)

#else

#define BC_PAY(cost) ((void)0)
#define BC_PAY_CHECKED(cost) ((void)0)

#endif

#endif
