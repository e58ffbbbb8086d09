/*
 * interp: an indirect jump for every few instructions of work: the shape of every interpreter in a sandbox.
 *
 * A stack machine of our own with one-byte operations and a switch. Its program sums the lengths of the Collatz
 * sequences of 1 to n, for n up to 100,000: some larger ones leave 32 bits.
 */
#include <stdint.h>

enum {
  PUSH, /* PUSH value: a byte as number */
  GET,  /* GET slot: push a variable */
  SET,  /* SET slot: pop into a variable */
  ADD,
  MUL,
  HALVE,
  ODD,   /* top := top & 1 */
  EQUAL, /* compare the two topmost */
  BELOW_OR_EQUAL,
  JUMP,      /* JUMP target */
  JUMP_ZERO, /* JUMP_ZERO target: pop, jump when zero */
  STOP,
};

/* Variables: 0 the limit, 1 the number, 2 the walk, 3 the sum of lengths. */
static const uint8_t program[] = {
    /*  0 */ PUSH, 1, SET, 1,
    /*  4 */ GET, 1, GET, 0, BELOW_OR_EQUAL, JUMP_ZERO, 55, /* all numbers done */
    /* 11 */ GET, 1, SET, 2,
    /* 15 */ GET, 2, PUSH, 1, EQUAL, JUMP_ZERO, 31, /* the walk has not reached 1 */
    /* 22 */ GET, 1, PUSH, 1, ADD, SET, 1, JUMP, 4,
    /* 31 */ GET, 3, PUSH, 1, ADD, SET, 3, GET, 2, ODD, JUMP_ZERO, 56, /* even */
    /* 43 */ GET, 2, PUSH, 3, MUL, PUSH, 1, ADD, SET, 2, JUMP, 15,
    /* 55 */ STOP,
    /* 56 */ GET, 2, HALVE, SET, 2, JUMP, 15,
};

static uint32_t run(uint32_t limit) {
  uint32_t stack[16], variables[4] = {limit, 0, 0, 0};
  uint32_t sp = 0, pc = 0;
  for (;;) {
    switch (program[pc++]) {
      case PUSH:
        stack[sp++] = program[pc++];
        break;
      case GET:
        stack[sp++] = variables[program[pc++]];
        break;
      case SET:
        variables[program[pc++]] = stack[--sp];
        break;
      case ADD:
        sp--;
        stack[sp - 1] += stack[sp];
        break;
      case MUL:
        sp--;
        stack[sp - 1] *= stack[sp];
        break;
      case HALVE:
        stack[sp - 1] >>= 1;
        break;
      case ODD:
        stack[sp - 1] &= 1;
        break;
      case EQUAL:
        sp--;
        stack[sp - 1] = stack[sp - 1] == stack[sp];
        break;
      case BELOW_OR_EQUAL:
        sp--;
        stack[sp - 1] = stack[sp - 1] <= stack[sp];
        break;
      case JUMP:
        pc = program[pc];
        break;
      case JUMP_ZERO:
        pc = stack[--sp] == 0 ? program[pc] : pc + 1;
        break;
      default:
        return variables[3];
    }
  }
}

uint32_t kernel_run(uint32_t n) {
  return run(n);
}
