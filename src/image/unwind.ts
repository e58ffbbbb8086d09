/**
 * Walks a guest's stack after a trap, by the call frame information in `.eh_frame`: the guest's code has no frame
 * pointers, but gcc and clang describe the frame at every instruction (-fasynchronous-unwind-tables).
 * Sources: DWARF 5, 6.4 (call frame information) and 2.5 (expressions); Linux Standard Base Core 5.0, chapter 10
 * (`.eh_frame`); System V ABI, AMD64 supplement, figure 3.36 (register numbers).
 *
 * Registers and stack are the guest's, so hostile, and the tables come from a file that may be damaged.
 */

export interface Frame {
  /** The instruction that trapped; in other frames a return address: look up `rip - 1n`, it may follow the function. */
  readonly rip: bigint;
  /** Canonical frame address: `rsp` before the call of this frame's function pushed its return address. */
  readonly cfa: bigint;
}

/** Memory as it was at the trap: best from 128 bytes below `rsp`, the red zone, where epilogues leave what they popped. */
export type StackBytes = { readonly address: bigint; readonly bytes: Uint8Array };

export interface TrapState {
  readonly rip: bigint;
  readonly rsp: bigint;
  /** DWARF order: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp (`rsp` above is taken instead), r8 to r15. */
  readonly registers: readonly bigint[];
}

const RSP = 7;
const RA = 16; // The return address, and the last column that is tracked: vector registers follow.
const MAX_DEPTH = 64; // Of remembered states and of an expression's stack. Compilers need one and three.

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const s64 = (value: bigint): bigint => BigInt.asIntN(64, value);

/** Thrown inside this file only: the information is damaged or of a kind that is not known. */
class Stop extends Error {}
function stop(): never {
  throw new Stop();
}
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Stop) return undefined;
    throw error;
  }
}

/**
 * Where the caller's value of a register is (DWARF 5, 6.4.1): in another register, or CFA + `offset` or the result of
 * the expression is the value, or if `saved` its address. No rule: it is as the caller left it, or lost.
 */
type Rule =
  | { readonly register: number }
  | { readonly offset: bigint; readonly saved: boolean }
  | { readonly expression: Reader; readonly saved: boolean };

interface Row {
  cfa: { readonly register: number; readonly offset: bigint } | { readonly expression: Reader } | undefined;
  rules: (Rule | undefined)[];
}

interface Cie {
  readonly codeAlign: bigint;
  readonly dataAlign: bigint;
  readonly returnColumn: number;
  readonly pointerEncoding: number;
  /** The frame was made by an exception, so its "return address" is the address of an instruction that did not run. */
  readonly signal: boolean;
  readonly instructions: Reader;
}

type Fde = { readonly start: bigint; readonly end: bigint; readonly cie: Cie; readonly instructions: Reader };

/** A bounded reader of `.eh_frame`; `base` is the address of byte 0. */
class Reader {
  private readonly view: DataView;
  private readonly base: bigint;
  at: number;
  readonly end: number;

  constructor(view: DataView, base: bigint, at: number, end: number) {
    if (at < 0 || at > end || end > view.byteLength) stop();
    this.view = view;
    this.base = base;
    this.at = at;
    this.end = end;
  }

  /** A reader of the next `length` bytes. */
  part(length: number): Reader {
    return new Reader(this.view, this.base, this.take(length), this.at);
  }
  again(): Reader {
    return new Reader(this.view, this.base, this.at, this.end);
  }
  /** Goes on by `length` bytes and returns where they started. */
  take(length: number): number {
    if (length > this.end - this.at) stop();
    this.at += length;
    return this.at - length;
  }
  u8(): number {
    return this.view.getUint8(this.take(1));
  }
  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }
  /** A little-endian integer of 1, 2, 4 or 8 bytes. */
  fixed(size: number, signed: boolean): bigint {
    const at = this.take(size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.view.getUint8(at + i));
    return signed ? BigInt.asIntN(8 * size, value) : value;
  }
  private leb(signed: boolean): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return signed ? s64(byte & 0x40 ? value - (128n << shift) : value) : u64(value);
    }
    stop();
  }
  uleb(): bigint {
    return this.leb(false);
  }
  sleb(): bigint {
    return this.leb(true);
  }
  /** An unsigned LEB128 that is a count, a size or a register number. */
  small(): number {
    const value = this.uleb();
    if (value > 0xffff_ffffn) stop();
    return Number(value);
  }
  /** A pointer (LSB Core 5.0, 10.5.1): the low bits of `encoding` are its format, the high bits what it is relative to. */
  pointer(encoding: number): bigint {
    const address = this.base + BigInt(this.at);
    const format = encoding & 0x0f;
    let value: bigint;
    if (format === 0x01) value = this.uleb();
    else if (format === 0x09) value = this.sleb();
    else if (format === 0x00 || (format & 7) === 4) value = this.fixed(8, false);
    else if ((format & 7) === 2) value = this.fixed(2, format > 8);
    else if ((format & 7) === 3) value = this.fixed(4, format > 8);
    else stop();
    if ((encoding & 0xf0) === 0x10) value += address;
    else if ((encoding & 0xf0) !== 0) stop();
    return u64(value);
  }
}

/** DWARF 5, 2.5.1.4 and 2.5.1.5; comparisons are signed. */
const BINARY = new Map<number, (a: bigint, b: bigint) => bigint>([
  [0x1a, (a, b) => a & b],
  [0x1c, (a, b) => a - b],
  [0x21, (a, b) => a | b],
  [0x22, (a, b) => a + b],
  [0x24, (a, b) => (b < 64n ? a << b : 0n)],
  [0x2a, (a, b) => (s64(a) >= s64(b) ? 1n : 0n)],
]);

/** The registers and memory of a frame. Reads outside the dumped stack stop the walk. */
class Machine {
  registers: bigint[];
  private readonly stack: StackBytes;
  private readonly view: DataView;

  constructor(start: TrapState, stack: StackBytes) {
    this.registers = Array.from({ length: 16 }, (_, i) => u64(start.registers[i] ?? 0n));
    this.registers[RSP] = u64(start.rsp);
    this.stack = stack;
    this.view = viewOf(stack.bytes);
  }
  register(column: number): bigint {
    return this.registers[column] ?? stop();
  }
  load(address: bigint): bigint {
    const offset = address - this.stack.address;
    if (offset < 0n || offset > BigInt(this.view.byteLength - 8)) stop();
    return this.view.getBigUint64(Number(offset), true);
  }

  /**
   * Evaluates a DWARF expression (DWARF 5, 2.5) on a stack that starts with `initial`. It has the operations that occur
   * in frame information: of gcc for realigned stacks, of linkers for PLT entries. None of them jumps.
   */
  evaluate(expression: Reader, initial: readonly bigint[]): bigint {
    const code = expression.again();
    const stack = [...initial];
    const pop = (): bigint => stack.pop() ?? stop();
    while (code.at < code.end) {
      if (stack.length > MAX_DEPTH) stop();
      const op = code.u8();
      let value: bigint;
      if (op >= 0x30 && op <= 0x4f) value = BigInt(op - 0x30);
      else if (op >= 0x70 && op <= 0x8f) value = this.register(op - 0x70) + code.sleb();
      else if (op >= 0x08 && op <= 0x0f) value = code.fixed(1 << ((op - 8) >> 1), (op & 1) === 1);
      else if (op === 0x10) value = code.uleb();
      else if (op === 0x11) value = code.sleb();
      else if (op === 0x06) value = this.load(pop());
      else if (op === 0x23) value = pop() + code.uleb();
      else {
        const operation = BINARY.get(op) ?? stop();
        const right = pop();
        value = operation(pop(), right);
      }
      stack.push(u64(value));
    }
    return pop();
  }
}

/** Runs call frame instructions (DWARF 5, 6.4.2) until they pass `pc`. `initial` are the rules of the CIE. */
function execute(code: Reader, cie: Cie, row: Row, start: bigint, pc: bigint, initial: Row["rules"]): void {
  let location = start;
  const saved: Row[] = [];
  const set = (column: number, rule: Rule | undefined): void => {
    if (column <= RA) row.rules[column] = rule;
  };
  const restore = (column: number): void => set(column, initial[column]);
  const rule = (factored: bigint, saved: boolean): Rule => ({ offset: factored * cie.dataAlign, saved });
  const cfa = () => (row.cfa !== undefined && "register" in row.cfa ? row.cfa : stop());
  while (code.at < code.end) {
    const op = code.u8();
    if (op >= 0x40 && op < 0x80) location += BigInt(op & 0x3f) * cie.codeAlign;
    else if (op >= 0x80 && op < 0xc0) set(op & 0x3f, rule(code.uleb(), true));
    else if (op >= 0xc0) restore(op & 0x3f);
    else if (op === 0x01) location = code.pointer(cie.pointerEncoding);
    else if (op >= 0x02 && op <= 0x04) location += code.fixed(1 << (op - 2), false) * cie.codeAlign;
    else if (op === 0x05) set(code.small(), rule(code.uleb(), true));
    else if (op === 0x06) restore(code.small());
    else if (op === 0x07 || op === 0x08) set(code.small(), undefined);
    else if (op === 0x09) set(code.small(), { register: code.small() });
    else if (op === 0x0a) {
      if (saved.push({ cfa: row.cfa, rules: [...row.rules] }) > MAX_DEPTH) stop();
    }
    // The CFA too, as gcc means it, though DWARF says "the set of rules" only.
    else if (op === 0x0b) Object.assign(row, saved.pop() ?? stop());
    else if (op === 0x0c) row.cfa = { register: code.small(), offset: code.uleb() };
    else if (op === 0x12) row.cfa = { register: code.small(), offset: code.sleb() * cie.dataAlign };
    else if (op === 0x0d) row.cfa = { ...cfa(), register: code.small() };
    else if (op === 0x0e) row.cfa = { ...cfa(), offset: code.uleb() };
    else if (op === 0x13) row.cfa = { ...cfa(), offset: code.sleb() * cie.dataAlign };
    else if (op === 0x0f) row.cfa = { expression: code.part(code.small()) };
    else if (op === 0x10) set(code.small(), { expression: code.part(code.small()), saved: true });
    else if (op === 0x16) set(code.small(), { expression: code.part(code.small()), saved: false });
    else if (op === 0x11) set(code.small(), rule(code.sleb(), true));
    else if (op === 0x14) set(code.small(), rule(code.uleb(), false));
    else if (op === 0x15) set(code.small(), rule(code.sleb(), false));
    else if (op === 0x2f) set(code.small(), rule(-code.uleb(), true));
    else if (op === 0x2e)
      code.uleb(); // DW_CFA_GNU_args_size: for exception handlers only.
    else if (op !== 0x00) stop(); // DW_CFA_nop.
    if (location > pc) return;
  }
}

/** The rules for the caller of the function at `pc`. */
function rowAt(fde: Fde, pc: bigint): Row {
  const row: Row = { cfa: undefined, rules: [] };
  execute(fde.cie.instructions.again(), fde.cie, row, fde.start, pc, []);
  execute(fde.instructions.again(), fde.cie, row, fde.start, pc, [...row.rules]);
  return row;
}

function cfaOf(row: Row, machine: Machine): bigint {
  if (row.cfa === undefined) stop();
  if ("expression" in row.cfa) return machine.evaluate(row.cfa.expression, []);
  return u64(machine.register(row.cfa.register) + row.cfa.offset);
}

/** Turns `machine` into the caller's; returns the return address, or undefined where the stack ends. */
function leave(machine: Machine, row: Row, cfa: bigint, returnColumn: number): bigint | undefined {
  const value = (rule: Rule): bigint => {
    if ("register" in rule) return machine.register(rule.register);
    const result = "offset" in rule ? u64(cfa + rule.offset) : machine.evaluate(rule.expression, [cfa]);
    return rule.saved ? machine.load(result) : result;
  };
  const found = Array.from(row.rules, (rule) => rule && attempt(() => value(rule)));
  // Without a rule a register is as the caller left it, and `rsp` is the CFA (AMD64 supplement, 3.7). The same where
  // a rule cannot be followed: gcc keeps rules of registers that were restored already, of memory below `rsp`.
  machine.registers = machine.registers.map((old, i) => found[i] ?? (i === RSP ? cfa : old));
  return found[returnColumn];
}

export class Unwinder {
  private readonly view: DataView;
  private readonly base: bigint;
  private sorted: readonly Fde[] | undefined;

  /** @param ehFrame the whole `.eh_frame` section and its virtual address; it is parsed at the first walk */
  constructor(ehFrame: { readonly address: number | bigint; readonly bytes: Uint8Array }) {
    this.base = BigInt(ehFrame.address);
    this.view = viewOf(ehFrame.bytes);
  }

  /**
   * The frames of a stack, innermost first; the first is always there, with `rsp` for its CFA if nothing is known of it.
   * Never throws: ends where tables or stack do, where a frame is not above the one before, and after `maxFrames`.
   */
  walk(start: TrapState, stack: StackBytes, maxFrames = 64): Frame[] {
    const frames: Frame[] = [];
    const top = stack.address + BigInt(stack.bytes.byteLength);
    const machine = new Machine(start, stack);
    try {
      let rip = u64(start.rip);
      let pc = rip;
      while (frames.length < maxFrames) {
        const fde = this.find(pc);
        if (fde === undefined) break;
        const row = rowAt(fde, pc);
        const cfa = cfaOf(row, machine);
        if (cfa < stack.address || cfa > top || cfa <= (frames.at(-1)?.cfa ?? -1n)) break;
        frames.push({ rip, cfa });
        rip = leave(machine, row, cfa, fde.cie.returnColumn) ?? 0n;
        if (rip === 0n) break;
        // The instruction before a return address is the call; it may be the last of its function.
        pc = fde.cie.signal ? rip : rip - 1n;
      }
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
    }
    return frames.length > 0 ? frames : [{ rip: u64(start.rip), cfa: u64(start.rsp) }];
  }

  private find(pc: bigint): Fde | undefined {
    this.sorted ??= this.parse();
    let low = 0;
    let high = this.sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.sorted[middle] as Fde).start <= pc) low = middle + 1;
      else high = middle;
    }
    const fde = this.sorted[low - 1];
    return fde && pc < fde.end ? fde : undefined;
  }

  /** All FDEs by address. An entry that is broken is left out; after a broken length nothing can be found. */
  private parse(): Fde[] {
    const fdes: Fde[] = [];
    const cies = new Map<number, Cie>();
    const section = new Reader(this.view, this.base, 0, this.view.byteLength);
    while (section.end - section.at >= 4) {
      const length = section.u32();
      if (length > section.end - section.at) break;
      const entry = section.part(length);
      const fde = length === 0 ? undefined : attempt(() => this.readFde(entry, cies));
      if (fde !== undefined && fde.start < fde.end) fdes.push(fde);
    }
    return fdes.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  }

  /** LSB Core 5.0, 10.6.1.2; undefined for a CIE. */
  private readFde(entry: Reader, cies: Map<number, Cie>): Fde | undefined {
    const here = entry.at;
    const cieAt = here - entry.u32();
    if (cieAt === here) return undefined;
    const cie = cies.get(cieAt) ?? this.readCie(cieAt);
    cies.set(cieAt, cie);
    const start = entry.pointer(cie.pointerEncoding);
    const size = entry.pointer(cie.pointerEncoding & 0x07);
    entry.take(entry.small());
    return { start, end: start + size, cie, instructions: entry.again() };
  }

  /** LSB Core 5.0, 10.6.1.1; `at` is where its length field stands. */
  private readCie(at: number): Cie {
    const section = new Reader(this.view, this.base, at, this.view.byteLength);
    const entry = section.part(section.u32());
    if (entry.u32() !== 0) stop();
    const version = entry.u8();
    if (version !== 1 && version !== 3) stop();
    let augmentation = "";
    for (let byte = entry.u8(); byte !== 0; byte = entry.u8()) {
      // The letters that exist are eight; the bound keeps many FDEs from reading one long string.
      if (augmentation.length >= 8) stop();
      augmentation += String.fromCharCode(byte);
    }
    const codeAlign = entry.uleb();
    const dataAlign = entry.sleb();
    const returnColumn = version === 1 ? entry.u8() : entry.small();
    if (returnColumn > RA) stop();
    let pointerEncoding = 0;
    let signal = false;
    // gcc and clang always write the "z": a length, after which unknown data could be skipped.
    if (!augmentation.startsWith("z")) stop();
    const data = entry.part(entry.small());
    for (const letter of augmentation.slice(1)) {
      if (letter === "R") pointerEncoding = data.u8();
      else if (letter === "P") data.pointer(data.u8() & 0x7f);
      else if (letter === "L") data.u8();
      else if (letter === "S") signal = true;
      else stop();
    }
    return { codeAlign, dataAlign, returnColumn, pointerEncoding, signal, instructions: entry.again() };
  }
}
