/*
 * The four memory functions that compilers call and wasm2c's bulk operations use. Compiled with -fno-builtin and without loop
 * pattern recognition, or they would call themselves. String instructions for long runs (fast on every x86-64-v2 processor of
 * the last decade), moves of whole vectors for short ones, where their start-up would dominate.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint8_t half_block __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t word __attribute__((aligned(1), may_alias));
typedef uint32_t half __attribute__((aligned(1), may_alias));
typedef uint16_t quarter __attribute__((aligned(1), may_alias));

/* Where string instructions begin to be as fast, measured on Zen 5 with what is copied in the nearest cache: on x86-64-v2 at 1 KiB, and with AVX, which
 * copies twice as much at once, between 8 and 16 KiB; the C library of the host takes 4 to 8 KiB. */
#ifdef __AVX__
typedef uint8_t block __attribute__((vector_size(32), aligned(1), may_alias));
#define STRING_INSTRUCTION_FROM 8192
#else
typedef half_block block;
#define STRING_INSTRUCTION_FROM 1024
#endif
#define BLOCK sizeof(block)

/* Both ends are loaded before anything is stored, so the ranges may overlap. Most copies are this short, and do not wait for wide registers. */
static inline void move_up_to_32(uint8_t* to, const uint8_t* from, size_t count) {
  if (count >= 16) {
    half_block first = *(const half_block*)from, last = *(const half_block*)(from + count - 16);
    *(half_block*)to = first;
    *(half_block*)(to + count - 16) = last;
  } else if (count >= 8) {
    uint64_t first = *(const word*)from, last = *(const word*)(from + count - 8);
    *(word*)to = first;
    *(word*)(to + count - 8) = last;
  } else if (count >= 4) {
    uint32_t first = *(const half*)from, last = *(const half*)(from + count - 4);
    *(half*)to = first;
    *(half*)(to + count - 4) = last;
  } else if (count >= 2) {
    uint16_t first = *(const quarter*)from, last = *(const quarter*)(from + count - 2);
    *(quarter*)to = first;
    *(quarter*)(to + count - 2) = last;
  } else if (count) {
    *to = *from;
  }
}

/* As above, from a block on. */
static inline void move_up_to_two_blocks(uint8_t* to, const uint8_t* from, size_t count) {
  block first = *(const block*)from, last = *(const block*)(from + count - BLOCK);
  *(block*)to = first;
  *(block*)(to + count - BLOCK) = last;
}

/* All four are loaded before any is stored, so the ranges may overlap. */
static inline void move_four_blocks(uint8_t* to, const uint8_t* from) {
  block a = *(const block*)from, b = *(const block*)(from + BLOCK), c = *(const block*)(from + 2 * BLOCK), d = *(const block*)(from + 3 * BLOCK);
  *(block*)to = a;
  *(block*)(to + BLOCK) = b;
  *(block*)(to + 2 * BLOCK) = c;
  *(block*)(to + 3 * BLOCK) = d;
}

/* The ends, which need not be aligned, are loaded before anything is stored and stored last; so all stores between are aligned, and the ranges may overlap
 * where the target starts below the source. */
static inline void copy_forward(uint8_t* to, const uint8_t* from, size_t count) {
  block first = *(const block*)from, last = *(const block*)(from + count - BLOCK);
  uint8_t *start = to, *end = to + count - BLOCK;
  size_t unaligned = BLOCK - (uintptr_t)to % BLOCK;
  to += unaligned;
  from += unaligned;
  for (; end - to >= (ptrdiff_t)(4 * BLOCK); to += 4 * BLOCK, from += 4 * BLOCK) move_four_blocks(to, from);
  for (; to < end; to += BLOCK, from += BLOCK) *(block*)to = *(const block*)from;
  *(block*)start = first;
  *(block*)end = last;
}

/* As copy_forward(), where the target starts inside the source. */
static inline void copy_backward(uint8_t* to, const uint8_t* from, size_t count) {
  block first = *(const block*)from, last = *(const block*)(from + count - BLOCK);
  uint8_t* last_at = to + count - BLOCK;
  count -= (uintptr_t)(to + count) % BLOCK;
  while (count > 4 * BLOCK) {
    count -= 4 * BLOCK;
    move_four_blocks(to + count, from + count);
  }
  while (count > BLOCK) {
    count -= BLOCK;
    *(block*)(to + count) = *(const block*)(from + count);
  }
  *(block*)to = first;
  *(block*)last_at = last;
}

/* From the first byte to the last: right for ranges that do not overlap, and for those whose target starts below the source. */
static inline void move_forward(void* to, const void* from, size_t count) {
  if (count <= 32) {
    move_up_to_32(to, from, count);
  } else if (count <= 2 * BLOCK) {
    move_up_to_two_blocks(to, from, count);
  } else if (count < STRING_INSTRUCTION_FROM) {
    copy_forward(to, from, count);
  } else {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  }
}

void* memcpy(void* restrict to, const void* restrict from, size_t count) {
  move_forward(to, from, count);
  return to;
}

void* memmove(void* to, const void* from, size_t count) {
  if (count <= 32) {
    move_up_to_32(to, from, count);
  } else if (count <= 2 * BLOCK) {
    move_up_to_two_blocks(to, from, count);
  } else if ((uintptr_t)to - (uintptr_t)from >= count) {
    move_forward(to, from, count); /* the target does not start inside the source */
  } else {
    copy_backward(to, from, count);
  }
  return to;
}

void* memset(void* to, int value, size_t count) {
  uint8_t* bytes = to;
  if (count < 16) {
    while (count) bytes[--count] = (uint8_t)value;
  } else if (count < BLOCK) {
    half_block fill = (half_block){0} + (uint8_t)value;
    *(half_block*)bytes = fill;
    *(half_block*)(bytes + count - 16) = fill;
  } else if (count < STRING_INSTRUCTION_FROM) {
    block fill = (block){0} + (uint8_t)value;
    uint8_t *at = bytes, *end = bytes + count - BLOCK;
    for (; at < end; at += BLOCK) *(block*)at = fill;
    *(block*)end = fill;
  } else {
    void* at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(value) : "memory");
  }
  return to;
}

int memcmp(const void* a, const void* b, size_t count) {
  const uint8_t *left = a, *right = b;
  for (size_t i = 0; i < count; i++) {
    if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
  }
  return 0;
}
