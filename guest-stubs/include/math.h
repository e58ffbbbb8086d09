/* The <math.h> that generated code sees: exact, inline, no libm. */
#ifndef BARECELL_MATH_H
#define BARECELL_MATH_H

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
/* Comparing is one instruction; with -fsignaling-nans the builtin would take the bits apart. */
#define isnan(x) ((x) != (x))
#define isinf(x) __builtin_isinf(x)
#define signbit(x) __builtin_signbit(x)

/*
 * One scalar instruction: its result, of nothing but its operands. SSE's own encodings leave the upper bits of the result's register as they are, and so wait for
 * whoever wrote that last; and some processors take long over them while AVX state is in use (Intel's Optimization Reference Manual, 15.3).
 */
#ifdef __AVX__
#define BC_SSE1(instruction, result, x) __asm__("v" instruction "%1, %1, %0" : "=x"(result) : "x"(x))
#define BC_SSE2(instruction, result, x, y) __asm__("v" instruction "%2, %1, %0" : "=x"(result) : "x"(x), "x"(y))
#define BC_SSE_TO_INTEGER(instruction, result, x) __asm__("v" instruction "%1, %0" : "=r"(result) : "x"(x))
#else
#define BC_SSE1(instruction, result, x) __asm__(instruction "%0, %0" : "=x"(result) : "0"(x))
#define BC_SSE2(instruction, result, x, y) __asm__(instruction "%2, %0" : "=x"(result) : "0"(x), "x"(y))
#define BC_SSE_TO_INTEGER(instruction, result, x) __asm__(instruction "%1, %0" : "=r"(result) : "x"(x))
#endif

#define BC_FUNCTION(name, type, instruction) \
  static inline type name(type x) {          \
    type result;                             \
    BC_SSE1(instruction, result, x);         \
    return result;                           \
  }
/* The immediate names the direction; bit 3 leaves the inexact flag alone (SSE4.1). Written out because gcc calls libm for these under -frounding-math. */
BC_FUNCTION(nearbyint, double, "roundsd $8, ")
BC_FUNCTION(nearbyintf, float, "roundss $8, ")
BC_FUNCTION(floor, double, "roundsd $9, ")
BC_FUNCTION(floorf, float, "roundss $9, ")
BC_FUNCTION(ceil, double, "roundsd $10, ")
BC_FUNCTION(ceilf, float, "roundss $10, ")
BC_FUNCTION(trunc, double, "roundsd $11, ")
BC_FUNCTION(truncf, float, "roundss $11, ")
BC_FUNCTION(sqrt, double, "sqrtsd ")
BC_FUNCTION(sqrtf, float, "sqrtss ")
#undef BC_FUNCTION

#define fabs __builtin_fabs
#define fabsf __builtin_fabsf
#define copysign __builtin_copysign
#define copysignf __builtin_copysignf

#endif
