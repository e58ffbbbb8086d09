/**
 * What a call costs, counted another way than the compiler does: every instruction by itself, just before it is executed, in V8. Reads and writes modules by
 * the fuzzer's code, which shares nothing with the compiler's.
 */

import { Writer } from "../fuzz/wasm/bytes.ts";
import { decodeModule } from "../fuzz/wasm/decode.ts";
import { instructions } from "../fuzz/wasm/instructions.ts";
import { encodeModule, importedCount } from "../fuzz/wasm/module.ts";
import { opNamed } from "../fuzz/wasm/opcodes.ts";

/** The export that counts, an i64. */
export const COUNT = "what was executed";

/** As docs/limits.md states them. */
const FREE = new Set(["block", "loop", "else", "end"]);
const BYTES_BY_8 = new Set(["memory.fill", "memory.copy", "memory.init"]);
const ELEMENTS = new Set(["table.fill", "table.copy", "table.init", "table.grow"]);
export const HOST_CALL = 1000n;
const MEMORY_GROW = 1000n;

/** @returns the same module, which counts in the global that it exports as COUNT */
export function countingModule(bytes: Uint8Array): Uint8Array {
  const module = decodeModule(bytes);
  const count = importedCount(module, "global") + module.globals.length;
  const kept = count + 1;
  const zero = (type: "i32" | "i64"): Uint8Array => {
    return new Writer()
      .u8(opNamed(`${type}.const`).code)
      .s64(0n)
      .u8(opNamed("end").code)
      .finish();
  };
  module.globals.push({ type: { type: "i64", mutable: true }, init: zero("i64") });
  module.globals.push({ type: { type: "i32", mutable: true }, init: zero("i32") });
  module.exports.push({ name: COUNT, kind: "global", index: count });
  for (const func of module.functions) {
    const code = new Writer();
    const op = (name: string, ...immediates: number[]): void => {
      code.u8(opNamed(name).code);
      for (const immediate of immediates) code.u32(immediate);
    };
    const constant = (value: bigint): void => {
      code.u8(opNamed("i64.const").code).s64(value);
    };
    for (const {
      op: { name },
      from,
      to,
    } of instructions(func.code)) {
      if (!FREE.has(name)) {
        op("global.get", count);
        constant(name === "memory.grow" ? 1n + MEMORY_GROW : 1n);
        op("i64.add");
        op("global.set", count);
      }
      if (BYTES_BY_8.has(name) || ELEMENTS.has(name)) {
        op("global.set", kept);
        op("global.get", kept);
        op("global.get", count);
        op("global.get", kept);
        op("i64.extend_i32_u");
        constant(BYTES_BY_8.has(name) ? 8n : 1n);
        op("i64.div_u");
        op("i64.add");
        op("global.set", count);
      }
      code.raw(func.code.subarray(from, to));
    }
    func.code = code.finish();
  }
  return encodeModule(module);
}
