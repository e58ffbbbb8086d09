;; Vectors only in types that no import or export has: a type that nothing uses, a block, a function that is not exported.
(module
  (type (func (param v128) (result i32 v128)))
  (func $inner (param v128) (result v128 v128) (local.get 0) (local.get 0))
  (func (export "block") (result i32)
    (block (result i32 v128) (i32.const 7) (v128.const i32x4 1 2 3 4))
    (i32x4.extract_lane 2)
    (i32.add))
  (func (export "call") (result i64)
    (call $inner (v128.const i64x2 5 6))
    (i64x2.add)
    (i64x2.extract_lane 1)))
