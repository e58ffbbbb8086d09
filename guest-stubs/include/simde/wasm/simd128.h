/*
 * SIMDe's header, and in place of some of its functions our own: those of Debian's version 0.7.4 take an instruction of x86 that does not do what
 * WebAssembly says (SIMD section of the 2.0 specification, 4.3.2 and 4.3.3). Found by the official tests and by
 * tests/programs/simd.test.ts.
 */
#ifndef BARECELL_SIMD128_H
#define BARECELL_SIMD128_H

/* Of what goes beyond SSE4.2 SIMDe takes next to nothing for vectors of 128 bits, and the header that it includes for it takes 0.2 s to read, for each unit. The C
 * compiler encodes for AVX by itself. */
#define SIMDE_X86_AVX_NO_NATIVE
#define SIMDE_X86_AVX2_NO_NATIVE
#define SIMDE_X86_FMA_NO_NATIVE
#define SIMDE_X86_F16C_NO_NATIVE

#include_next <simde/wasm/simd128.h>

static inline __m128i bc_to_m128i(simde_v128_t value) {
  __m128i result;
  __builtin_memcpy(&result, &value, sizeof result);
  return result;
}

static inline simde_v128_t bc_from_m128i(__m128i value) {
  simde_v128_t result;
  __builtin_memcpy(&result, &value, sizeof result);
  return result;
}

/*
 * min and max: `minps` gives its second operand where both are zeros or one is a NaN. Equal operands differ at most in the sign of zero: the union of
 * their bits is the lesser, the intersection the greater. The sum of a NaN and anything is that NaN, quiet.
 */
#define BC_DEFINE_MIN_MAX(shape, letters, vector, pick, merge)                                            \
  static inline simde_v128_t bc_##shape##_##pick(simde_v128_t left, simde_v128_t right) {                 \
    vector a = _mm_cast##letters(bc_to_m128i(left)), b = _mm_cast##letters(bc_to_m128i(right)); \
    BC_MIN_MAX_BODY_##shape(pick, merge)                                                                  \
  }
#define BC_MIN_MAX_BODY_f32x4(pick, merge)                                                 \
  __m128 result = _mm_##pick##_ps(a, b);                                                   \
  result = _mm_blendv_ps(result, _mm_##merge##_ps(a, b), _mm_cmpeq_ps(a, b));              \
  result = _mm_blendv_ps(result, _mm_add_ps(a, b), _mm_cmpunord_ps(a, b));                 \
  return bc_from_m128i(_mm_castps_si128(result));
#define BC_MIN_MAX_BODY_f64x2(pick, merge)                                                 \
  __m128d result = _mm_##pick##_pd(a, b);                                                  \
  result = _mm_blendv_pd(result, _mm_##merge##_pd(a, b), _mm_cmpeq_pd(a, b));              \
  result = _mm_blendv_pd(result, _mm_add_pd(a, b), _mm_cmpunord_pd(a, b));                 \
  return bc_from_m128i(_mm_castpd_si128(result));

BC_DEFINE_MIN_MAX(f32x4, si128_ps, __m128, min, or)
BC_DEFINE_MIN_MAX(f32x4, si128_ps, __m128, max, and)
BC_DEFINE_MIN_MAX(f64x2, si128_pd, __m128d, min, or)
BC_DEFINE_MIN_MAX(f64x2, si128_pd, __m128d, max, and)
#define simde_wasm_f32x4_min bc_f32x4_min
#define simde_wasm_f32x4_max bc_f32x4_max
#define simde_wasm_f64x2_min bc_f64x2_min
#define simde_wasm_f64x2_max bc_f64x2_max

/* -1 times -1 is the one product that does not fit: `pmulhrsw` makes -1 of it, saturated it is the greatest value below 1. */
static inline simde_v128_t bc_i16x8_q15mulr_sat(simde_v128_t left, simde_v128_t right) {
  __m128i product = _mm_mulhrs_epi16(bc_to_m128i(left), bc_to_m128i(right));
  __m128i overflow = _mm_cmpeq_epi16(product, _mm_set1_epi16((short)0x8000));
  return bc_from_m128i(_mm_xor_si128(product, overflow));
}
#define simde_wasm_i16x8_q15mulr_sat bc_i16x8_q15mulr_sat

/* `cvttps2dq` knows signed numbers only: what is 2^31 or more is converted less 2^31, which is then put back as the sign bit. */
static inline simde_v128_t bc_u32x4_trunc_sat_f32x4(simde_v128_t value) {
  const __m128 half = _mm_set1_ps(2147483648.0f), limit = _mm_set1_ps(4294967296.0f);
  /* Of a NaN and 0 maxps gives its second operand. */
  __m128 positive = _mm_max_ps(_mm_castsi128_ps(bc_to_m128i(value)), _mm_setzero_ps());
  __m128 is_large = _mm_cmpge_ps(positive, half);
  __m128i low = _mm_cvttps_epi32(_mm_sub_ps(positive, _mm_and_ps(is_large, half)));
  __m128i sum = _mm_xor_si128(low, _mm_slli_epi32(_mm_castps_si128(is_large), 31));
  return bc_from_m128i(_mm_or_si128(sum, _mm_castps_si128(_mm_cmpge_ps(positive, limit))));
}
#define simde_wasm_u32x4_trunc_sat_f32x4 bc_u32x4_trunc_sat_f32x4

/*
 * Rounding: SIMDe's loops over the lanes become single instructions only where gcc makes vectors of them, and calls of libm, which a guest does not
 * have, where it does not: with some constants, as `npm run fuzz:diff -- --seed 2129966664` has them. The immediate is that of math.h.
 */
#define BC_DEFINE_ROUND(shape, letters, to, from, name, mode)                               \
  static inline simde_v128_t bc_##shape##_##name(simde_v128_t value) {                      \
    return bc_from_m128i(from(_mm_round_##letters(to(bc_to_m128i(value)), mode)));          \
  }
#define BC_DEFINE_ROUNDS(name, mode)                                                        \
  BC_DEFINE_ROUND(f32x4, ps, _mm_castsi128_ps, _mm_castps_si128, name, mode)                \
  BC_DEFINE_ROUND(f64x2, pd, _mm_castsi128_pd, _mm_castpd_si128, name, mode)
BC_DEFINE_ROUNDS(nearest, 8)
BC_DEFINE_ROUNDS(floor, 9)
BC_DEFINE_ROUNDS(ceil, 10)
BC_DEFINE_ROUNDS(trunc, 11)
#define simde_wasm_f32x4_nearest bc_f32x4_nearest
#define simde_wasm_f32x4_floor bc_f32x4_floor
#define simde_wasm_f32x4_ceil bc_f32x4_ceil
#define simde_wasm_f32x4_trunc bc_f32x4_trunc
#define simde_wasm_f64x2_nearest bc_f64x2_nearest
#define simde_wasm_f64x2_floor bc_f64x2_floor
#define simde_wasm_f64x2_ceil bc_f64x2_ceil
#define simde_wasm_f64x2_trunc bc_f64x2_trunc

#endif
