/*
 * What a module needs so that the host can pass bytes to its functions and get bytes back (docs/guest-convention.md):
 *
 *   BARECELL_EXPORT(greet) { return barecell_text("hello"); }
 *   BARECELL_EXPORT(echo) { return barecell_copy(input, length); }
 *
 * For one source file of a module, over a libc with malloc.
 */
#ifndef BARECELL_H
#define BARECELL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes for the host: address in the high half, count in the low one. The host frees them. */
typedef uint64_t barecell_bytes;

/* A function under this name, to which the host passes `input` of `length` bytes. They stay the host's, which frees them after the call. */
#define BARECELL_EXPORT(name)                                                                                        \
  __attribute__((export_name(#name))) barecell_bytes barecell_export_##name(const uint8_t *input, size_t length);    \
  barecell_bytes barecell_export_##name(__attribute__((unused)) const uint8_t *input,                                \
                                        __attribute__((unused)) size_t length)

/* 0 if there is no memory. */
__attribute__((export_name("barecell_alloc"))) void *barecell_alloc(size_t length);
void *barecell_alloc(size_t length) { return malloc(length > 0 ? length : 1); }

__attribute__((export_name("barecell_free"))) void barecell_free(void *bytes, size_t length);
void barecell_free(void *bytes, size_t length) {
  (void)length; /* malloc knows it; other allocators want it told */
  free(bytes);
}

/* Gives the host bytes that barecell_alloc made. */
static inline barecell_bytes barecell_give(void *bytes, size_t length) {
  return (barecell_bytes)(uintptr_t)bytes << 32 | length;
}

/* Gives the host a copy of bytes. Without memory for it the call traps. */
static inline barecell_bytes barecell_copy(const void *bytes, size_t length) {
  if (length == 0) return 0;
  void *copy = barecell_alloc(length);
  if (copy == NULL) __builtin_trap();
  memcpy(copy, bytes, length);
  return barecell_give(copy, length);
}

static inline barecell_bytes barecell_text(const char *text) { return barecell_copy(text, strlen(text)); }

#endif
