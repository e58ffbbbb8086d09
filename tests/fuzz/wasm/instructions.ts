/** Walks the instructions of a function's body without understanding more of them than their immediates. */
import { Reader } from "./bytes.ts";
import { type Op, opOfCode } from "./opcodes.ts";

export interface Instruction {
  readonly op: Op;
  /** Where it begins and ends in the code. */
  readonly from: number;
  readonly to: number;
}

export function* instructions(code: Uint8Array): Generator<Instruction> {
  const reader = new Reader(code);
  while (!reader.done) {
    const from = reader.at;
    const op = readInstruction(reader);
    yield { op, from, to: reader.at };
  }
}

/** Skips a constant expression with its `end`. */
export function skipExpression(reader: Reader): Uint8Array {
  const from = reader.at;
  while (readInstruction(reader).name !== "end");
  return reader.bytes.subarray(from, reader.at);
}

function readInstruction(reader: Reader): Op {
  const first = reader.u8();
  const op = opOfCode(first >= 0xfb ? (first << 8) | reader.u32() : first);
  skipImmediates(reader, op);
  return op;
}

function skipImmediates(reader: Reader, op: Op): void {
  switch (op.immediates) {
    case "none":
      return;
    case "block":
      reader.s33();
      return;
    case "labels":
      reader.vector(() => reader.u32());
      reader.u32();
      return;
    case "indirect":
    case "memarg":
    case "two":
      reader.u32();
      reader.u32();
      return;
    case "i32":
    case "i64":
      reader.s64();
      return;
    case "f32":
      reader.take(4);
      return;
    case "f64":
      reader.take(8);
      return;
    case "v128":
      reader.take(16);
      return;
    case "lane":
    case "type":
      reader.u8();
      return;
    case "memarg lane":
      reader.u32();
      reader.u32();
      reader.u8();
      return;
    case "types":
      reader.vector(() => reader.u8());
      return;
    default:
      reader.u32();
  }
}
