/** The guest of these tests: it reads, writes, copies and floods, and says with what error. */
import type { Image } from "../support/barecell.ts";
import { imageOf } from "../support/modules.ts";

/** `errno.pipe` of WASI. */
export const EPIPE = 64;

/** Where the guest's data lies; what is below belongs to its calls. */
export const DATA = 1024;

const ONE_MIB = 2 ** 20;

export const image: Image = await imageOf(
  "streams",
  `(module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 32)
    (global $mark (export "mark") (mut i32) (i32.const 7))
    (data (i32.const ${DATA}) "0123456789abcdef")
    (func $vector (param i32 i32) (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)))
    ;; errno
    (func $write (export "write") (param $fd i32) (param $at i32) (param $size i32) (result i32)
      (call $vector (local.get $at) (local.get $size))
      (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    ;; bytes, or -1
    (func $read (export "read") (param $at i32) (param $size i32) (result i32)
      (call $vector (local.get $at) (local.get $size))
      (if (result i32) (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (i32.const -1)) (else (i32.load (i32.const 8)))))
    ;; Reads until the end, in pieces of the given size; the number of bytes. The sum of each byte times its place is then in "sum".
    (global $sum (export "sum") (mut i64) (i64.const 0))
    (func (export "read_all") (param $size i32) (result i64) (local $total i64) (local $count i32) (local $i i32)
      (global.set $sum (i64.const 0))
      (block $end (loop $more
        (br_if $end (i32.le_s (local.tee $count (call $read (i32.const ${DATA}) (local.get $size))) (i32.const 0)))
        (local.set $i (i32.const 0))
        (loop $byte
          (local.set $total (i64.add (local.get $total) (i64.const 1)))
          (global.set $sum (i64.add (global.get $sum)
            (i64.mul (local.get $total) (i64.load8_u (i32.add (i32.const ${DATA}) (local.get $i))))))
          (br_if $byte (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count))))
        (br $more)))
      (local.get $total))
    ;; Writes so many times the same bytes; the error that ended it.
    (func $flood (export "flood") (param $fd i32) (param $size i32) (param $times i32) (result i32) (local $error i32)
      (block $end (loop $more
        (br_if $end (i32.eqz (local.get $times)))
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (br_if $end (local.tee $error (call $write (local.get $fd) (i32.const ${DATA}) (local.get $size))))
        (br $more)))
      (local.get $error))
    ;; A digit to stdout, a letter to stderr, and so on.
    (func (export "alternate") (param $times i32) (local $i i32)
      (loop $more
        (drop (call $write (i32.const 1) (i32.add (i32.const ${DATA}) (i32.rem_u (local.get $i) (i32.const 8))) (i32.const 1)))
        (drop (call $write (i32.const 2) (i32.add (i32.const ${DATA + 10}) (i32.rem_u (local.get $i) (i32.const 6))) (i32.const 1)))
        (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $times)))))
    (func (export "write_and_exit") (param $size i32) (param $status i32)
      (drop (call $write (i32.const 1) (i32.const ${DATA}) (local.get $size)))
      (call $proc_exit (local.get $status)))
    (func (export "write_and_trap") (param $size i32)
      (drop (call $write (i32.const 1) (i32.const ${DATA}) (local.get $size))) unreachable)
    (func (export "write_and_loop") (param $size i32)
      (drop (call $write (i32.const 1) (i32.const ${DATA}) (local.get $size))) (loop $l (br $l)))
    ;; cat: ends with the error of a write
    (func (export "_start") (local $count i32) (local $error i32)
      (block $end (loop $more
        (br_if $end (i32.le_s (local.tee $count (call $read (i32.const ${DATA}) (i32.const 5000))) (i32.const 0)))
        (br_if $end (local.tee $error (call $write (i32.const 1) (i32.const ${DATA}) (local.get $count))))
        (br $more)))
      (if (local.get $error) (then (call $proc_exit (local.get $error)))))
    (func (export "idle")))`,
);

export { ONE_MIB };

export const text = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString();

/** What "flood" and the other writers have written after so many bytes of one piece. */
export function pattern(size: number): string {
  return "0123456789abcdef".slice(0, size).padEnd(size, "\0");
}
