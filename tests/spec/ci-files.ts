/**
 * A choice of the official scripts, as names below their folder, that has a bit of everything and takes less than 4 minutes on 2 processors: every
 * instruction group, all kinds of assertions, each proposal that is refused, and modules that nobody wrote a script for.
 */
const VERSION_2 = `
  address align binary-leb128 block br_table bulk call call_indirect comments conversions custom data elem endianness
  exports f32_bitwise f64 f64_cmp fac float_exprs float_literals float_memory float_misc func func_ptrs global i32 i64 if
  imports inline-module int_exprs left-to-right linking load local_tee memory memory_grow memory_init
  memory_redundancy memory_trap names obsolete-keywords ref_is_null ref_null return select stack start store switch
  table-sub table_get table_set table_size traps type unreachable unreached-invalid unreached-valid unwind
  utf8-import-module utf8-invalid-encoding`;

const SIMD = `
  simd_address simd_boolean simd_conversions simd_f32x4 simd_f32x4_rounding simd_f64x2 simd_f64x2_cmp simd_i16x8_cmp
  simd_i16x8_q15mulr_sat_s simd_i32x4_arith2 simd_i32x4_trunc_sat_f64x2 simd_i64x2_arith2 simd_i64x2_extmul_i32x4
  simd_i8x16_sat_arith simd_int_to_int_extend simd_lane simd_load_extend simd_load_zero simd_select simd_splat simd_store
  simd_store8_lane`;

const LATER = `
  call_ref exceptions/throw exceptions/try_table gc/array gc/struct memory64/memory64 memory64/table64
  multi-memory/imports2 multi-memory/linking0 relaxed-simd/relaxed_min_max return_call threads/atomic`;

const MODULES = `
  wamr-issues/issue-2963/i64.ge_u_17 wamr-issues/issue-3027/wamr_jit_memory_oob2 wazero-fuzzcases/699 wazero-fuzzcases/873
  wazero-fuzzcases/1797d wazero-fuzzcases/2137`;

const names = (list: string, folder: string, extension: string): string[] =>
  list
    .trim()
    .split(/\s+/)
    .map((name) => `${folder}/${name}.${extension}`);

export const CI_FILES: readonly string[] = [
  ...names(VERSION_2, "wasm-2.0", "wast"),
  ...names(SIMD, "wasm-2.0/simd", "wast"),
  "wasm-2.0-draft1-fallback/comments.wast",
  ...names(LATER, "later", "wast"),
  ...names(MODULES, "robustness", "wasm"),
];
