/*
 * dispatch: calls through function pointers with targets that are hard to predict: call_indirect, whose table
 * and signature checks are WebAssembly's own cost.
 *
 * Of our own. Each of n steps picks one of sixteen functions by the state that the last one left.
 */
#include <stdint.h>

typedef uint32_t (*operation)(uint32_t state, uint32_t step);

static uint32_t add(uint32_t state, uint32_t step) {
  return state + step;
}
static uint32_t subtract(uint32_t state, uint32_t step) {
  return state - step * 3;
}
static uint32_t xor_step(uint32_t state, uint32_t step) {
  return state ^ step;
}
static uint32_t multiply(uint32_t state, uint32_t step) {
  return state * (step | 1);
}
static uint32_t rotate_5(uint32_t state, uint32_t step) {
  return (state << 5 | state >> 27) + step;
}
static uint32_t rotate_11(uint32_t state, uint32_t step) {
  return (state << 11 | state >> 21) ^ step;
}
static uint32_t shift_left(uint32_t state, uint32_t step) {
  return state ^ (state << 7) ^ step;
}
static uint32_t shift_right(uint32_t state, uint32_t step) {
  return state ^ (state >> 9) ^ step;
}
static uint32_t invert(uint32_t state, uint32_t step) {
  return ~state + step;
}
static uint32_t larger(uint32_t state, uint32_t step) {
  return (state > step ? state : step) * 69069u;
}
static uint32_t smaller(uint32_t state, uint32_t step) {
  return (state < step ? state : ~step) * 69069u;
}
static uint32_t swap_halves(uint32_t state, uint32_t step) {
  return (state << 16 | state >> 16) - step;
}
static uint32_t mask_odd(uint32_t state, uint32_t step) {
  return (state & 0x55555555u) + (step << 1);
}
static uint32_t mask_even(uint32_t state, uint32_t step) {
  return (state | 0xAAAAAAAAu) - step;
}
static uint32_t square(uint32_t state, uint32_t step) {
  return state * state + step;
}
static uint32_t restart(uint32_t state, uint32_t step) {
  return step * 2654435761u + (state & 15);
}

static const operation operations[16] = {
    add,    subtract, xor_step, multiply,    rotate_5, rotate_11, shift_left, shift_right,
    invert, larger,   smaller,  swap_halves, mask_odd, mask_even, square,     restart,
};

uint32_t kernel_run(uint32_t n) {
  uint32_t state = 1;
  for (uint32_t step = 0; step < n; step++) {
    /* The multiplication spreads the state over the choice: the low bits alone would soon repeat a short
     * pattern. */
    uint32_t choice = ((state + step) * 2654435761u) >> 28;
    state = operations[choice](state, step);
  }
  return state;
}
