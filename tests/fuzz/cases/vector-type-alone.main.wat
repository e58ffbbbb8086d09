;; One vector in one type, and no SIMD at all in the code.
(module
  (type (func (result v128)))
  (func (export "f") (result i32) (i32.const 1)))
