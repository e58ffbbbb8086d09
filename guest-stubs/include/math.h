/* The <math.h> that generated code sees: exact, inline, no libm. */
#ifndef BARECELL_MATH_H
#define BARECELL_MATH_H

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
/* Comparing is one instruction; with -fsignaling-nans the builtin would take the bits apart. */
#define isnan(x) ((x) != (x))
#define isinf(x) __builtin_isinf(x)
#define signbit(x) __builtin_signbit(x)

/* ROUNDSS/ROUNDSD (SSE4.1): the immediate names the direction; bit 3 leaves the inexact flag alone. Written out because gcc calls
 * libm for these under -frounding-math. */
#define BC_ROUND(name, type, suffix, mode)                             \
  static inline type name(type x) {                                    \
    type result;                                                       \
    __asm__("round" suffix " $" mode ", %1, %0" : "=x"(result) : "x"(x)); \
    return result;                                                     \
  }
BC_ROUND(nearbyint, double, "sd", "8")
BC_ROUND(nearbyintf, float, "ss", "8")
BC_ROUND(floor, double, "sd", "9")
BC_ROUND(floorf, float, "ss", "9")
BC_ROUND(ceil, double, "sd", "10")
BC_ROUND(ceilf, float, "ss", "10")
BC_ROUND(trunc, double, "sd", "11")
BC_ROUND(truncf, float, "ss", "11")
#undef BC_ROUND

static inline double sqrt(double x) {
  double result;
  __asm__("sqrtsd %1, %0" : "=x"(result) : "x"(x));
  return result;
}
static inline float sqrtf(float x) {
  float result;
  __asm__("sqrtss %1, %0" : "=x"(result) : "x"(x));
  return result;
}

#define fabs __builtin_fabs
#define fabsf __builtin_fabsf
#define copysign __builtin_copysign
#define copysignf __builtin_copysignf

#endif
