/**
 * Steps over the instructions of a function's body. Which bytes belong to one: WebAssembly 2.0, 5.4. The body is one that V8 has validated, so that what
 * is asked here is only where an instruction ends; whether it is one of WebAssembly 2.0, wasm2c decides.
 */

/** One instruction: where it starts and ends in the file, bytes. */
export interface Instruction {
  /** A prefixed opcode is prefix << 8 | number. */
  readonly opcode: number;
  readonly start: number;
  readonly end: number;
  /** Labels of a branch, outermost count last; the default of `br_table` is one of them. */
  readonly labels: readonly number[];
}

export const OP = {
  unreachable: 0x00,
  nop: 0x01,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  localGet: 0x20,
  localTee: 0x22,
  globalSet: 0x24,
  memoryGrow: 0x40,
  i64Const: 0x42,
  i64ShrU: 0x88,
  i64ExtendI32U: 0xad,
  memoryInit: 0xfc08,
  memoryCopy: 0xfc0a,
  memoryFill: 0xfc0b,
  tableInit: 0xfc0c,
  tableCopy: 0xfc0e,
  tableGrow: 0xfc0f,
  tableFill: 0xfc11,
} as const;

/** An instruction beyond WebAssembly 2.0: nobody here knows how long it is. */
export class UnknownInstruction extends Error {
  override readonly name = "UnknownInstruction";
  constructor(opcode: number, at: number) {
    super(`the instruction 0x${opcode.toString(16)} at byte ${at}`);
  }
}

const NO_LABELS: readonly number[] = [];

/** A place in a function's body, moved on by reading. */
export class InstructionReader {
  readonly #bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  /** @throws UnknownInstruction */
  next(): Instruction {
    const start = this.at;
    const first = this.#byte();
    const opcode = first < 0xfc ? first : (first << 8) | this.u32();
    const labels = this.#immediates(opcode, start);
    return { opcode, start, end: this.at, labels };
  }

  /** Unsigned LEB128 of up to 32 bits (5.2.2). */
  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  #byte(): number {
    const byte = this.#bytes[this.at++];
    if (byte === undefined) throw new RangeError("a body ends too early in a module that was validated");
    return byte;
  }

  /** A LEB128 number of any kind ends with the first byte below 0x80. */
  #skipLeb(): void {
    while (this.#byte() >= 0x80);
  }

  #skipLebs(count: number): readonly number[] {
    for (let i = 0; i < count; i++) this.#skipLeb();
    return NO_LABELS;
  }

  #skipBytes(count: number): readonly number[] {
    this.at += count;
    return NO_LABELS;
  }

  /** Moves behind what follows the opcode. */
  #immediates(opcode: number, start: number): readonly number[] {
    if (opcode >= 0xfd00) return this.#vectorImmediates(opcode, start);
    if (opcode >= 0xfc00) return this.#bulkImmediates(opcode, start);
    // Numeric instructions, and the loads and stores before them.
    if (opcode >= 0x45 && opcode <= 0xc4) return NO_LABELS;
    if (opcode >= 0x28 && opcode <= 0x3e) return this.#skipLebs(2);
    switch (opcode) {
      case OP.br:
      case OP.brIf:
        return [this.u32()];
      case OP.brTable: {
        const count = this.u32() + 1;
        // Counted by what is there: the number alone makes no room.
        const labels: number[] = [];
        for (let i = 0; i < count; i++) labels.push(this.u32());
        return labels;
      }
      case OP.unreachable:
      case OP.nop:
      case OP.else:
      case OP.end:
      case OP.return:
      case 0x1a: // drop
      case 0x1b: // select
      case 0xd1: // ref.is_null
        return NO_LABELS;
      // A block's type is a negative byte or the index of a type; either way one LEB128 number.
      case OP.block:
      case OP.loop:
      case OP.if:
      case OP.call:
      case 0x20: // local.get, local.set, local.tee
      case 0x21:
      case 0x22:
      case 0x23: // global.get, global.set
      case 0x24:
      case 0x25: // table.get, table.set
      case 0x26:
      case 0x3f: // memory.size
      case OP.memoryGrow:
      case 0x41: // i32.const
      case OP.i64Const:
      case 0xd0: // ref.null
      case 0xd2: // ref.func
        return this.#skipLebs(1);
      case OP.callIndirect:
        return this.#skipLebs(2);
      case 0x1c: // select with types
        return this.#skipBytes(this.u32());
      case 0x43: // f32.const
        return this.#skipBytes(4);
      case 0x44: // f64.const
        return this.#skipBytes(8);
      default:
        throw new UnknownInstruction(opcode, start);
    }
  }

  /** 0xfc: saturating truncation, bulk memory and tables. */
  #bulkImmediates(opcode: number, start: number): readonly number[] {
    if (opcode <= 0xfc07) return NO_LABELS;
    if (opcode > OP.tableFill) throw new UnknownInstruction(opcode, start);
    const two: readonly number[] = [OP.memoryInit, OP.memoryCopy, OP.tableInit, OP.tableCopy];
    return this.#skipLebs(two.includes(opcode) ? 2 : 1);
  }

  /** 0xfd: vectors. */
  #vectorImmediates(opcode: number, start: number): readonly number[] {
    const number = opcode - 0xfd00;
    if (opcode > 0xfdff) throw new UnknownInstruction(opcode, start);
    // Loads and stores of whole vectors, splats and zero-extended ones.
    if (number <= 0x0b || number === 0x5c || number === 0x5d) return this.#skipLebs(2);
    // v128.const, i8x16.shuffle.
    if (number === 0x0c || number === 0x0d) return this.#skipBytes(16);
    // Lanes.
    if (number >= 0x15 && number <= 0x22) return this.#skipBytes(1);
    // Loads and stores of a lane.
    if (number >= 0x54 && number <= 0x5b) {
      this.#skipLebs(2);
      return this.#skipBytes(1);
    }
    return NO_LABELS;
  }
}
