/*
 * The type of vectors. wasm2c's output brings it in where an instruction or an import or export has a vector, but not where only another type or a block
 * has one.
 */
#ifndef BARECELL_VECTOR_H
#define BARECELL_VECTOR_H

#include <simde/wasm/simd128.h>

/* wasm2c's own guard and name. */
#ifndef WASM_RT_SIMD_TYPE_DEFINED
#define WASM_RT_SIMD_TYPE_DEFINED
typedef simde_v128_t v128;
#endif

#endif
