/*
 * Operators on floating point, in place of those of wasm2c's output, which ask in C what the processor answers by itself. Included behind them, since the rare
 * cases are still theirs (src/compiler/adapt.ts).
 */
#ifndef BARECELL_NUMERIC_H
#define BARECELL_NUMERIC_H

#include "math.h"

/* Arithmetic, roundings and conversions of SSE make quiet NaNs of signaling ones (Intel SDM vol. 1, 4.8.3.5), so nobody need look first. */
#define wasm_floor floor
#define wasm_floorf floorf
#define wasm_ceil ceil
#define wasm_ceilf ceilf
#define wasm_trunc trunc
#define wasm_truncf truncf
#define wasm_nearbyint nearbyint
#define wasm_nearbyintf nearbyintf
#define wasm_sqrt sqrt
#define wasm_sqrtf sqrtf
/* Of promote and demote. To the C compiler one after the other is nothing, whatever NaN it is; so it is not to see where the number comes from. */
static inline f64 bc_converted(f64 x) {
  __asm__("" : "+x"(x));
  return x;
}
static inline f32 bc_convertedf(f32 x) {
  __asm__("" : "+x"(x));
  return x;
}
#define wasm_quiet bc_converted
#define wasm_quietf bc_convertedf
/* They take the sign's bit away, whatever the number is. */
#define wasm_fabs fabs
#define wasm_fabsf fabsf

/* Of two zeros MINSD and MAXSD return the second (SDM vol. 2B), so both orders are asked: OR keeps a zero's sign, AND drops it, and other equals are the same bits. */
#define BC_EXTREME(name, type, instruction, join)         \
  static inline type name(type x, type y) {               \
    if (UNLIKELY(__builtin_isunordered(x, y))) return NAN; \
    type one, other;                                      \
    BC_SSE2(instruction, one, x, y);                      \
    BC_SSE2(instruction, other, y, x);                    \
    BC_SSE2(join, one, one, other);                       \
    return one;                                           \
  }
BC_EXTREME(bc_min_f64, f64, "minsd ", "orps ")
BC_EXTREME(bc_min_f32, f32, "minss ", "orps ")
BC_EXTREME(bc_max_f64, f64, "maxsd ", "andps ")
BC_EXTREME(bc_max_f32, f32, "maxss ", "andps ")
#undef BC_EXTREME
#undef FMIN
#undef FMAX
#define FMIN(x, y) _Generic((x), f32: bc_min_f32, f64: bc_min_f64)(x, y)
#define FMAX(x, y) _Generic((x), f32: bc_max_f32, f64: bc_max_f64)(x, y)

/*
 * What cannot be converted becomes the "integer indefinite", of whose bits only the highest is set (SDM vol. 2A, CVTTSD2SI). So one look at the result tells whether it is
 * the answer; if it is not, or is -2^31 or -2^63 itself, wasm2c's own way tells what there is to tell.
 */
#define BC_CONVERSION(name, type, from, instruction, raw_type, fits, otherwise) \
  static inline type name(from x) {                                             \
    raw_type raw;                                                               \
    BC_SSE_TO_INTEGER(instruction, raw, x);                                     \
    return LIKELY(fits) ? (type)raw : (type)(otherwise);                        \
  }
#define BC_FITS_S32 raw != INT32_MIN
#define BC_FITS_S64 raw != INT64_MIN
/* By way of 64 bits. */
#define BC_FITS_U32 (u64)raw <= UINT32_MAX
/* The lower half of what there is. */
#define BC_FITS_U64 raw >= 0
BC_CONVERSION(bc_i32_trunc_s_f32, u32, f32, "cvttss2si ", s32, BC_FITS_S32, I32_TRUNC_S_F32(x))
BC_CONVERSION(bc_i32_trunc_s_f64, u32, f64, "cvttsd2si ", s32, BC_FITS_S32, I32_TRUNC_S_F64(x))
BC_CONVERSION(bc_i32_trunc_u_f32, u32, f32, "cvttss2si ", s64, BC_FITS_U32, I32_TRUNC_U_F32(x))
BC_CONVERSION(bc_i32_trunc_u_f64, u32, f64, "cvttsd2si ", s64, BC_FITS_U32, I32_TRUNC_U_F64(x))
BC_CONVERSION(bc_i64_trunc_s_f32, u64, f32, "cvttss2si ", s64, BC_FITS_S64, I64_TRUNC_S_F32(x))
BC_CONVERSION(bc_i64_trunc_s_f64, u64, f64, "cvttsd2si ", s64, BC_FITS_S64, I64_TRUNC_S_F64(x))
BC_CONVERSION(bc_i64_trunc_u_f32, u64, f32, "cvttss2si ", s64, BC_FITS_U64, I64_TRUNC_U_F32(x))
BC_CONVERSION(bc_i64_trunc_u_f64, u64, f64, "cvttsd2si ", s64, BC_FITS_U64, I64_TRUNC_U_F64(x))
BC_CONVERSION(bc_i32_trunc_sat_s_f32, u32, f32, "cvttss2si ", s32, BC_FITS_S32, I32_TRUNC_SAT_S_F32(x))
BC_CONVERSION(bc_i32_trunc_sat_s_f64, u32, f64, "cvttsd2si ", s32, BC_FITS_S32, I32_TRUNC_SAT_S_F64(x))
BC_CONVERSION(bc_i32_trunc_sat_u_f32, u32, f32, "cvttss2si ", s64, BC_FITS_U32, I32_TRUNC_SAT_U_F32(x))
BC_CONVERSION(bc_i32_trunc_sat_u_f64, u32, f64, "cvttsd2si ", s64, BC_FITS_U32, I32_TRUNC_SAT_U_F64(x))
BC_CONVERSION(bc_i64_trunc_sat_s_f32, u64, f32, "cvttss2si ", s64, BC_FITS_S64, I64_TRUNC_SAT_S_F32(x))
BC_CONVERSION(bc_i64_trunc_sat_s_f64, u64, f64, "cvttsd2si ", s64, BC_FITS_S64, I64_TRUNC_SAT_S_F64(x))
BC_CONVERSION(bc_i64_trunc_sat_u_f32, u64, f32, "cvttss2si ", s64, BC_FITS_U64, I64_TRUNC_SAT_U_F32(x))
BC_CONVERSION(bc_i64_trunc_sat_u_f64, u64, f64, "cvttsd2si ", s64, BC_FITS_U64, I64_TRUNC_SAT_U_F64(x))
#undef BC_CONVERSION
#undef BC_FITS_S32
#undef BC_FITS_S64
#undef BC_FITS_U32
#undef BC_FITS_U64
#undef I32_TRUNC_S_F32
#undef I32_TRUNC_S_F64
#undef I32_TRUNC_U_F32
#undef I32_TRUNC_U_F64
#undef I64_TRUNC_S_F32
#undef I64_TRUNC_S_F64
#undef I64_TRUNC_U_F32
#undef I64_TRUNC_U_F64
#undef I32_TRUNC_SAT_S_F32
#undef I32_TRUNC_SAT_S_F64
#undef I32_TRUNC_SAT_U_F32
#undef I32_TRUNC_SAT_U_F64
#undef I64_TRUNC_SAT_S_F32
#undef I64_TRUNC_SAT_S_F64
#undef I64_TRUNC_SAT_U_F32
#undef I64_TRUNC_SAT_U_F64
#define I32_TRUNC_S_F32 bc_i32_trunc_s_f32
#define I32_TRUNC_S_F64 bc_i32_trunc_s_f64
#define I32_TRUNC_U_F32 bc_i32_trunc_u_f32
#define I32_TRUNC_U_F64 bc_i32_trunc_u_f64
#define I64_TRUNC_S_F32 bc_i64_trunc_s_f32
#define I64_TRUNC_S_F64 bc_i64_trunc_s_f64
#define I64_TRUNC_U_F32 bc_i64_trunc_u_f32
#define I64_TRUNC_U_F64 bc_i64_trunc_u_f64
#define I32_TRUNC_SAT_S_F32 bc_i32_trunc_sat_s_f32
#define I32_TRUNC_SAT_S_F64 bc_i32_trunc_sat_s_f64
#define I32_TRUNC_SAT_U_F32 bc_i32_trunc_sat_u_f32
#define I32_TRUNC_SAT_U_F64 bc_i32_trunc_sat_u_f64
#define I64_TRUNC_SAT_S_F32 bc_i64_trunc_sat_s_f32
#define I64_TRUNC_SAT_S_F64 bc_i64_trunc_sat_s_f64
#define I64_TRUNC_SAT_U_F32 bc_i64_trunc_sat_u_f32
#define I64_TRUNC_SAT_U_F64 bc_i64_trunc_sat_u_f64

#endif
