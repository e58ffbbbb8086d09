/** What the pools of these tests run, and how they are made. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type Image, WorkerPool, type WorkerPoolOptions } from "../support/barecell.ts";
import { slowness, soon } from "../support/environment.ts";
import { imageOf } from "../support/modules.ts";

export const HOST_MODULE: URL = new URL("host.mjs", import.meta.url);

const text = (answer: number): string => `(module
  (import "env" "wait" (func $wait (param i32)))
  (import "env" "fail" (func $fail))
  (import "env" "block" (func $block))
  (import "env" "die" (func $die))
  (memory (export "memory") 1 16)
  (global $count (mut i32) (i32.const 0))
  (func (export "count") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
    (i32.add (global.get $count) (i32.mul (i32.const 100) (i32.load (i32.const 64)))))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "same") (param i32 i64 f32 f64 v128) (result i32 i64 f32 f64 v128)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4))
  (func (export "wait") (param i32) (result i32) (call $wait (local.get 0)) (i32.const ${answer}))
  (func (export "fail") (call $fail))
  (func (export "block") (call $block))
  (func (export "die") (call $die))
  (func (export "answer") (result i32) (i32.const ${answer}))
  (func (export "trap") (i32.store (i32.const 64) (i32.const 77)) unreachable)
  (func (export "spin") (loop $l (br $l)))
  (func (export "isNull") (param externref) (result i32) (ref.is_null (local.get 0)))
  (func (export "reference") (param externref) (result externref) (local.get 0))
  (func (export "barecell_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "barecell_free") (param i32 i32))
  (func (export "echo") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))`;

export const one: Image = await imageOf("workers-one", text(1));
export const two: Image = await imageOf("workers-two", text(2));

/** A pool for the length of a test. */
export async function withWorkers<T>(
  images: ConstructorParameters<typeof WorkerPool>[0],
  options: WorkerPoolOptions,
  body: (pool: WorkerPool) => Promise<T>,
): Promise<T> {
  const pool = new WorkerPool(images, { hostModule: HOST_MODULE, ...options });
  try {
    return await body(pool);
  } finally {
    await soon("closing the pool", pool.close());
  }
}

/** Whether a process is there, and not only its remains for a parent to look at. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Waits until something holds; what never comes is an error with a name. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 20_000 * slowness;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what}: did not come`);
    await sleep(5);
  }
}
