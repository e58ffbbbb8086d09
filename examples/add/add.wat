;; Plain exports for `barecell run --invoke` and for `vm.call`: each number type, several results, and a trap.
;; Built with wat2wasm of the npm package wabt:
;;   npx wat2wasm --debug-names add.wat -o add.wasm
(module
  (func $add (export "add") (param $a i32) (param $b i32) (result i32)
    (i32.add (local.get $a) (local.get $b)))

  ;; i64 is a bigint in JavaScript.
  (func $add64 (export "add64") (param $a i64) (param $b i64) (result i64)
    (i64.add (local.get $a) (local.get $b)))

  ;; Traps when $b is 0 (divide by zero), and for -2147483648 / -1 (overflow).
  (func $divide (export "divide") (param $a i32) (param $b i32) (result i32)
    (i32.div_s (local.get $a) (local.get $b)))

  (func $swap (export "swap") (param $a i32) (param $b i64) (result i64 i32)
    (local.get $b)
    (local.get $a))

  ;; The length of the vector (x, y).
  (func $norm (export "norm") (param $x f64) (param $y f64) (result f64)
    (f64.sqrt
      (f64.add
        (f64.mul (local.get $x) (local.get $x))
        (f64.mul (local.get $y) (local.get $y))))))
