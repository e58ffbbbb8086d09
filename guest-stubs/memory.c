/*
 * The four memory functions that compilers call and wasm2c's bulk operations use. Compiled with -fno-builtin and without loop
 * pattern recognition, or they would call themselves. Strings instructions for long runs (fast on every x86-64-v2 processor of
 * the last decade), 16-byte moves for short ones, where their start-up would dominate.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint8_t block __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t word __attribute__((aligned(1), may_alias));
typedef uint32_t half __attribute__((aligned(1), may_alias));
typedef uint16_t quarter __attribute__((aligned(1), may_alias));

#define STRING_INSTRUCTION_FROM 1024

/* Both ends are loaded before anything is stored, so the ranges may overlap. */
static inline void move_up_to_32(uint8_t* to, const uint8_t* from, size_t count) {
  if (count >= 16) {
    block first = *(const block*)from, last = *(const block*)(from + count - 16);
    *(block*)to = first;
    *(block*)(to + count - 16) = last;
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

/* All four are loaded before any is stored, so the ranges may overlap. */
static inline void move_64(uint8_t* to, const uint8_t* from) {
  block a = *(const block*)from, b = *(const block*)(from + 16), c = *(const block*)(from + 32), d = *(const block*)(from + 48);
  *(block*)to = a;
  *(block*)(to + 16) = b;
  *(block*)(to + 32) = c;
  *(block*)(to + 48) = d;
}

static inline void copy_forward(uint8_t* to, const uint8_t* from, size_t count) {
  block last = *(const block*)(from + count - 16);
  uint8_t* end = to + count - 16;
  for (; end - to >= 64; to += 64, from += 64) move_64(to, from);
  for (; to < end; to += 16, from += 16) *(block*)to = *(const block*)from;
  *(block*)end = last;
}

static inline void copy_backward(uint8_t* to, const uint8_t* from, size_t count) {
  block first = *(const block*)from, last = *(const block*)(from + count - 16);
  uint8_t* last_at = to + count - 16;
  /* What is left of the last 16 bytes is stored at the end, so that all stores between are aligned. */
  count -= (uintptr_t)(to + count) % 16;
  while (count > 64) {
    count -= 64;
    move_64(to + count, from + count);
  }
  while (count > 16) {
    count -= 16;
    *(block*)(to + count) = *(const block*)(from + count);
  }
  *(block*)to = first;
  *(block*)last_at = last;
}

/* From the first byte to the last: right for ranges that do not overlap, and for those whose target starts below the source. */
static inline void move_forward(void* to, const void* from, size_t count) {
  if (count <= 32) {
    move_up_to_32(to, from, count);
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
  } else if (count < STRING_INSTRUCTION_FROM) {
    uint8_t byte = (uint8_t)value;
    block fill = {byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte};
    for (size_t at = 0; at + 16 <= count; at += 16) *(block*)(bytes + at) = fill;
    *(block*)(bytes + count - 16) = fill;
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
