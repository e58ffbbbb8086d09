/** Small pieces of code that the harness adds to modules, by the names of instructions. */
import { Writer } from "../wasm/bytes.ts";
import { opNamed, TYPE_CODE, type ValueType } from "../wasm/opcodes.ts";

export class Code {
  readonly #out = new Writer();

  /** Immediates that are indices, or offsets and alignments. */
  op(name: string, ...indices: number[]): this {
    const { code } = opNamed(name);
    if (code > 0xff) this.#out.u8(code >> 8).u32(code & 0xff);
    else this.#out.u8(code);
    for (const index of indices) this.#out.u32(index);
    return this;
  }

  i32(value: number): this {
    this.op("i32.const");
    this.#out.s32(value);
    return this;
  }

  i64(value: bigint): this {
    this.op("i64.const");
    this.#out.s64(value);
    return this;
  }

  /** Zero, or a null reference. */
  zero(type: ValueType): this {
    if (type === "i32") return this.i32(0);
    if (type === "i64") return this.i64(0n);
    if (type === "funcref" || type === "externref") {
      this.op("ref.null");
      this.#out.u8(TYPE_CODE[type]);
      return this;
    }
    this.op(`${type}.const`);
    this.#out.bits(0n, type === "f32" ? 4 : type === "f64" ? 8 : 16);
    return this;
  }

  constant(type: "f32" | "f64" | "v128", bits: bigint): this {
    this.op(`${type}.const`);
    this.#out.bits(bits, type === "f32" ? 4 : type === "f64" ? 8 : 16);
    return this;
  }

  block(kind: "block" | "loop" | "if", result?: ValueType): this {
    this.op(kind);
    this.#out.u8(result === undefined ? 0x40 : TYPE_CODE[result]);
    return this;
  }

  /** With the final `end`. */
  finish(): Uint8Array {
    return this.op("end").#out.finish();
  }
}
