/** A function body while it grows: its code, its locals, the labels that a branch can reach, and how much it may still grow. */
import { Writer } from "../wasm/bytes.ts";
import type { FuncType } from "../wasm/module.ts";
import { type Op, opNamed, TYPE_CODE, type ValueType } from "../wasm/opcodes.ts";
import type { Choices } from "./choices.ts";
import type { Shape } from "./shape.ts";

export interface Label {
  /** What a branch to it takes along. */
  readonly types: readonly ValueType[];
}

/** What entering a function and another round of a loop take from the fuel. With FUEL units this bounds recursion and time. */
export const ENTRY_COST = 8;
export const ROUND_COST = 1;
export const FUEL = 1000;

export class Body {
  readonly shape: Shape;
  readonly choices: Choices;
  readonly type: FuncType;
  /** Parameters first. */
  readonly locals: ValueType[];
  /** Locals that only their loop may write. */
  readonly reserved = new Set<number>();
  /** Innermost last; the first is the function itself. */
  readonly labels: Label[];
  readonly #out = new Writer();
  /** Nodes that may still be made. */
  budget: number;
  /** How deep the expressions of the present statement may nest: a few deep ones would use up the budget, and statements matter more. */
  expressionDepth = 3;
  /** Avoids traps, so that the code behind is reached. */
  readonly calm: boolean;

  constructor(shape: Shape, choices: Choices, type: FuncType, budget: number) {
    this.shape = shape;
    this.choices = choices;
    this.type = type;
    this.locals = [...type.params];
    this.labels = [{ types: type.results }];
    this.budget = budget;
    this.calm = !choices.oneIn(4);
  }

  get code(): Uint8Array {
    return this.#out.finish();
  }

  /** Writes an instruction with the immediates that are indices. */
  op(name: string, ...indices: number[]): this {
    this.opcode(opNamed(name));
    for (const index of indices) this.#out.u32(index);
    return this;
  }

  opcode(op: Op): this {
    if (op.code > 0xff) this.#out.u8(op.code >> 8).u32(op.code & 0xff);
    else this.#out.u8(op.code);
    return this;
  }

  u32(value: number): this {
    this.#out.u32(value);
    return this;
  }

  byte(value: number): this {
    this.#out.u8(value);
    return this;
  }

  bytes(values: readonly number[]): this {
    this.#out.raw(values);
    return this;
  }

  i32(value: number): this {
    this.op("i32.const");
    this.#out.s32(value);
    return this;
  }

  constant(type: ValueType, bits: bigint): this {
    switch (type) {
      case "i32":
        return this.i32(Number(BigInt.asIntN(32, bits)));
      case "i64":
        this.op("i64.const");
        this.#out.s64(bits);
        return this;
      case "f32":
      case "f64":
        this.op(`${type}.const`);
        this.#out.bits(bits, type === "f32" ? 4 : 8);
        return this;
      case "v128":
        this.op("v128.const");
        this.#out.bits(bits, 16);
        return this;
      default:
        return this.op("ref.null").byte(TYPE_CODE[type]);
    }
  }

  zero(type: ValueType): this {
    return this.constant(type, 0n);
  }

  /** Opens `block`, `loop` or `if`. */
  open(kind: "block" | "loop" | "if", type: FuncType): void {
    this.op(kind);
    const [only] = type.results;
    if (type.params.length > 0 || type.results.length > 1) this.#out.s64(BigInt(this.shape.typeIndex(type)));
    else this.#out.u8(only === undefined ? 0x40 : TYPE_CODE[only]);
    this.labels.push({ types: kind === "loop" ? type.params : type.results });
  }

  /** `else` of the innermost `if`. */
  otherwise(): void {
    this.op("else");
  }

  close(): void {
    this.op("end");
    this.labels.pop();
  }

  /** The relative index of a label by its place in `labels`. */
  depthOf(label: number): number {
    return this.labels.length - 1 - label;
  }

  addLocal(type: ValueType): number {
    return this.locals.push(type) - 1;
  }

  /** Locals of a type. */
  localsOf(type: ValueType, writable: boolean): number[] {
    return this.locals.flatMap((local, index) =>
      local === type && !(writable && this.reserved.has(index)) ? [index] : [],
    );
  }

  /** A local of the type that may be written; a new one if there is none. */
  localFor(type: ValueType): number {
    const found = this.localsOf(type, true);
    return found.length > 0 ? this.choices.pick(found) : this.addLocal(type);
  }

  /** Ends the function when its fuel is used up: by a trap, or by returning zeros. */
  burn(cost: number): void {
    const { fuelGlobal } = this.shape;
    this.op("global.get", fuelGlobal).i32(cost).op("i32.lt_s");
    this.open("if", { params: [], results: [] });
    if (this.choices.oneIn(4)) {
      this.op("unreachable");
    } else {
      for (const type of this.type.results) this.zero(type);
      this.op("return");
    }
    this.close();
    this.op("global.get", fuelGlobal).i32(cost).op("i32.sub").op("global.set", fuelGlobal);
  }
}
