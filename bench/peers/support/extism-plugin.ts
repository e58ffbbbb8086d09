/**
 * Makes an Extism plug-in of a workload's module. A plug-in has no parameters and no results: it gets and gives blocks of bytes by functions of its host
 * (`extism:host/env`), which the makers' plug-in kits call for their users. The same is added here, as text: the function itself stays as it is.
 */
import { rewriteModule } from "../../wasm-text.ts";

/** What the plug-in exports, for Extism to call. */
export const ENTRY = "plugin_run";

const HOST = [
  ["input_length", "(result i64)"],
  ["input_load_u8", "(param i64) (result i32)"],
  ["input_load_u64", "(param i64) (result i64)"],
  ["alloc", "(param i64) (result i64)"],
  ["store_u8", "(param i64 i32)"],
  ["store_u64", "(param i64 i64)"],
  ["output_set", "(param i64 i64)"],
] as const;

const imports = HOST.map(
  ([name, type]) => `(import "extism:host/env" "${name}" (func $extism.${name} ${type}))`,
).join("\n");

/** Input: the argument as 8 bytes. Output: the result as 8 bytes. */
const forNumber = `
  (func (export "${ENTRY}") (result i32) (local $to i64)
    (local.set $to (call $extism.alloc (i64.const 8)))
    (call $extism.store_u64 (local.get $to)
      (i64.extend_i32_u (call $kernel_run (i32.wrap_i64 (call $extism.input_load_u64 (i64.const 0))))))
    (call $extism.output_set (local.get $to) (i64.const 8))
    (i32.const 0))`;

/** Input and output are what is at `kernel_data`; copied as the makers' kits do, 8 bytes at a time and then the rest. */
const forBytes = `
  (func (export "${ENTRY}") (result i32) (local $length i32) (local $at i32) (local $to i64)
    (local.set $length (i32.wrap_i64 (call $extism.input_length)))
    (loop $words
      (if (i32.le_u (i32.add (local.get $at) (i32.const 8)) (local.get $length)) (then
        (i64.store (i32.add (global.get $kernel_data) (local.get $at))
          (call $extism.input_load_u64 (i64.extend_i32_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $words))))
    (loop $bytes
      (if (i32.lt_u (local.get $at) (local.get $length)) (then
        (i32.store8 (i32.add (global.get $kernel_data) (local.get $at))
          (call $extism.input_load_u8 (i64.extend_i32_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $bytes))))
    (local.set $length (call $kernel_run (local.get $length)))
    (local.set $to (call $extism.alloc (i64.extend_i32_u (local.get $length))))
    (local.set $at (i32.const 0))
    (loop $words
      (if (i32.le_u (i32.add (local.get $at) (i32.const 8)) (local.get $length)) (then
        (call $extism.store_u64 (i64.add (local.get $to) (i64.extend_i32_u (local.get $at)))
          (i64.load (i32.add (global.get $kernel_data) (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $words))))
    (loop $bytes
      (if (i32.lt_u (local.get $at) (local.get $length)) (then
        (call $extism.store_u8 (i64.add (local.get $to) (i64.extend_i32_u (local.get $at)))
          (i32.load8_u (i32.add (global.get $kernel_data) (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $bytes))))
    (call $extism.output_set (local.get $to) (i64.extend_i32_u (local.get $length)))
    (i32.const 0))`;

/** @param takesInput whether input and output are bytes, or one number each */
export function makePlugin(wasm: Uint8Array, takesInput: boolean): Promise<Uint8Array> {
  return rewriteModule(wasm, (text) => {
    const end = text.lastIndexOf(")");
    const begin = text.indexOf("(module") + "(module".length;
    const body = text.slice(begin, end);
    return `(module\n${imports}\n${body}\n${takesInput ? forBytes : forNumber})`;
  });
}
