;; The state that an instance of its own shows: called with a wrong instance, it would read another global.
(module
  (global $state (mut i32) (i32.const 42))
  (func (export "first") (result i32) (global.get $state))
  (func (export "second") (param i32) (result i32)
    (global.set $state (i32.add (global.get $state) (local.get 0)))
    (global.get $state)))
