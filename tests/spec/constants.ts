/**
 * The bits of the numbers in a script. They are encoded by wabt, all of a file in one module, as the modules themselves are: no second reader
 * of hexadecimal floats and NaN payloads is needed, nor trusted.
 */
import type { Constant, NumberType, Pattern } from "./values.ts";
import type { TextError, Wat } from "./wabt.ts";

/** Every parameter and result takes one of these in the mailbox; small values stand at its beginning, little-endian. */
export const SLOT_BYTES = 16;

export class ConstantPool {
  readonly #slots = new Map<string, Uint8Array | string>();

  /** @returns the slot, or what is wrong with the constant */
  slot(constant: Constant): Uint8Array | string {
    const slot = this.#slots.get(constant.text);
    if (slot === undefined) throw new RangeError(`the constant '${constant.text}' was not collected`);
    return slot;
  }

  static async encode(constants: Iterable<Constant>, wat: Wat): Promise<ConstantPool> {
    const pool = new ConstantPool();
    const rest = new Map<string, Constant>();
    for (const constant of constants) {
      if (constant.type === "i32" || constant.type === "i64") {
        pool.#slots.set(constant.text, wholeSlot(constant));
      } else {
        rest.set(constant.text, constant);
      }
    }
    await pool.#encode([...rest.values()], wat);
    return pool;
  }

  /** A constant that wabt does not take spoils the whole module, so it is looked for by halves. */
  async #encode(constants: readonly Constant[], wat: Wat): Promise<void> {
    if (constants.length === 0) return;
    const globals = constants.map(({ type, text }) => `(global ${type} (${text}))\n`);
    try {
      const binary = await wat.toBinary(Buffer.from(`(module\n${globals.join("")})`, "latin1"), "2.0");
      const slots = readGlobals(
        binary,
        constants.map(({ type }) => type),
      );
      constants.forEach(({ text }, i) => {
        this.#slots.set(text, slots[i] as Uint8Array);
      });
    } catch (error) {
      const [only] = constants;
      if (constants.length === 1 && only !== undefined) {
        this.#slots.set(
          only.text,
          `'${only.text}': ${(error as TextError).message.replace(/ \(line.*/, "")}`,
        );
        return;
      }
      const half = constants.length >> 1;
      await this.#encode(constants.slice(0, half), wat);
      await this.#encode(constants.slice(half), wat);
    }
  }
}

function wholeSlot(constant: Constant): Uint8Array {
  const slot = new Uint8Array(SLOT_BYTES);
  const value = BigInt(constant.text.slice("i32.const ".length));
  if (constant.type === "i32") new DataView(slot.buffer).setUint32(0, Number(value), true);
  else new DataView(slot.buffer).setBigUint64(0, value, true);
  return slot;
}

/** Opcodes of the constant instructions (WebAssembly 5.4.6, 5.4.8) and the bytes that follow them. */
const ENCODINGS: Readonly<Record<NumberType, readonly [opcode: readonly number[], bytes: number]>> = {
  i32: [[0x41], 0],
  i64: [[0x42], 0],
  f32: [[0x43], 4],
  f64: [[0x44], 8],
  v128: [[0xfd, 0x0c], 16],
};
const SECTION_GLOBAL = 6;

/** Reads the initial values from the global section: type, mutability, instruction, `end` for each. */
function readGlobals(binary: Uint8Array, types: readonly NumberType[]): Uint8Array[] {
  const leb = (at: number): readonly [value: number, next: number] => {
    let value = 0;
    for (let shift = 0, next = at; ; shift += 7) {
      const byte = binary[next++] as number;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return [value, next];
    }
  };
  let at = 8;
  while (binary[at] !== SECTION_GLOBAL) {
    const [size, body] = leb(at + 1);
    at = body + size;
    if (at >= binary.length) throw new RangeError("the module of constants has no globals");
  }
  [, at] = leb(at + 1);
  [, at] = leb(at);
  return types.map((type) => {
    const [opcode, bytes] = ENCODINGS[type];
    const value = at + 2 + opcode.length;
    if (opcode.some((byte, i) => binary[at + 2 + i] !== byte) || binary[value + bytes] !== 0x0b) {
      throw new RangeError(`the module of constants is not as expected at byte ${at}`);
    }
    at = value + bytes + 1;
    const slot = new Uint8Array(SLOT_BYTES);
    slot.set(binary.subarray(value, value + bytes));
    return slot;
  });
}

/** The constants in patterns. */
export function* constantsOf(patterns: Iterable<Pattern>): Generator<Constant> {
  for (const pattern of patterns) {
    if (pattern.kind === "constant") yield pattern;
    else if (pattern.kind === "lanes") yield pattern.bits;
    else if (pattern.kind === "either") yield* constantsOf(pattern.options);
  }
}
