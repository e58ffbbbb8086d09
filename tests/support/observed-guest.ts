/** A guest for what watches guests: it calls WASI and the host as it is told, with any numbers. */
import type { Image } from "./barecell.ts";
import { imageOf } from "./modules.ts";

export const observedGuest: Image = await imageOf(
  "observed",
  `(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "env" "host" (func $host (param i32 i64 f64) (result i64)))
    (memory (export "memory") 1 4)
    (data (i32.const 0) "\\10\\00\\00\\00\\06\\00\\00\\00\\20\\00\\00\\00\\04\\00\\00\\00")
    (data (i32.const 16) "hello\\0a")
    (data (i32.const 32) "\\1b[2J")
    (data (i32.const 64) "/no/such\\1b]0;file")
    (func (export "write") (result i32) (local i32)
      (local.set 0 (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 256)))
      (memory.fill (i32.const 16) (i32.const 88) (i32.const 20))
      (local.get 0))
    (func (export "raw_write") (param i32 i32 i32 i32) (result i32)
      (call $fd_write (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
    (func (export "read") (result i32)
      (i32.store (i32.const 128) (i32.const 512)) (i32.store (i32.const 132) (i32.const 100))
      (call $fd_read (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256)))
    (func (export "open") (param i32 i32) (result i32)
      (call $path_open (i32.const 3) (i32.const 1) (local.get 0) (local.get 1) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 256)))
    (func (export "clock") (result i32) (call $clock (i32.const 1) (i64.const 1) (i32.const 256)))
    (func (export "yield") (param i32)
      (loop $again
        (drop (call $yield))
        (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "yield_forever") (loop $again (drop (call $yield)) (br $again)))
    (func (export "sleep") (param i64) (result i32)
      (memory.fill (i32.const 1024) (i32.const 0) (i32.const 48))
      (i32.store (i32.const 1040) (i32.const 1))
      (i64.store (i32.const 1048) (local.get 0))
      (call $poll (i32.const 1024) (i32.const 1100) (i32.const 1) (i32.const 256)))
    (func (export "exit") (param i32) (call $exit (local.get 0)))
    (func (export "host") (param i32 i64 f64) (result i64) (call $host (local.get 0) (local.get 1) (local.get 2)))
    (func (export "host_times") (param i32) (result i64)
      (loop $again
        (drop (call $host (local.get 0) (i64.const 0) (f64.const 0)))
        (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
      (i64.const 0))
    (func (export "seven") (result i32) (i32.const 7))
    (func (export "trap") (unreachable))
    (func (export "loop") (loop $again (br $again)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))`,
);

export const echo = { env: { host: (_context: unknown, _a: number, b: bigint): bigint => b } };
