/**
 * Cuts a function's body into stretches that run from their first instruction to their last: they begin where the function begins, at the head of a loop,
 * behind a conditional branch, at each arm of an `if`, and where branches meet. What a stretch costs can be paid at its beginning.
 */
import { type Instruction, type InstructionReader, OP } from "./instructions.ts";

/** What costs more than 1. Stated for users in docs/limits.md. */
export const COSTS = {
  /** A call of a function of the host's, however it is reached; besides the 1 of the calling instruction. */
  hostCall: 1000,
  /** `memory.grow`, granted or not; besides its own 1. */
  memoryGrow: 1000,
  /** memory.fill, memory.copy, memory.init: 1 for each whole group of so many bytes; besides their own 1. */
  bulkBytes: 8,
} as const;
const BULK_BYTES_SHIFT = Math.log2(COSTS.bulkBytes);

/** Instructions whose last operand is a number of bytes, or of table elements, by how far it is to be shifted to make its cost. */
const BULK: ReadonlyMap<number, number> = new Map([
  [OP.memoryInit, BULK_BYTES_SHIFT],
  [OP.memoryCopy, BULK_BYTES_SHIFT],
  [OP.memoryFill, BULK_BYTES_SHIFT],
  [OP.tableInit, 0],
  [OP.tableCopy, 0],
  [OP.tableFill, 0],
  [OP.tableGrow, 0],
]);

/** They only say where others are. */
const FREE: ReadonlySet<number> = new Set([OP.block, OP.loop, OP.else, OP.end]);

export interface Stretch {
  /** Where it begins: a place in the file. */
  readonly at: number;
  cost: number;
  /** Whether fuel has to be looked at when it is paid: in every cycle there is one such stretch. */
  isChecked: boolean;
}

/** An instruction that pays by its last operand, an i32. */
export interface Bulk {
  readonly at: number;
  readonly shift: number;
}

export interface BodyCosts {
  /** Those that cost anything, in the order of the file. */
  readonly stretches: readonly Stretch[];
  readonly bulks: readonly Bulk[];
}

/** A block around the instruction that is being looked at. */
interface Frame {
  readonly kind: "body" | "block" | "loop" | "if";
  /** Whether it can be reached. */
  readonly isReached: boolean;
  /** Whether a branch leads to its end. */
  isTarget: boolean;
}

/**
 * @param reader at the first instruction of a valid body
 * @throws UnknownInstruction
 */
export function costsOfBody(reader: InstructionReader): BodyCosts {
  return new BodyWalk(reader).run();
}

class BodyWalk {
  readonly #reader: InstructionReader;
  readonly #stretches: Stretch[] = [];
  readonly #bulks: Bulk[] = [];
  readonly #frames: Frame[] = [{ kind: "body", isReached: true, isTarget: false }];
  /** Undefined behind an instruction that never goes on; wasm2c leaves out what comes there. */
  #current: Stretch | undefined;
  #hasCalls = false;

  constructor(reader: InstructionReader) {
    this.#reader = reader;
  }

  run(): BodyCosts {
    const first = this.#begin(this.#reader.at, false);
    while (this.#frames.length > 0) this.#step(this.#reader.next());
    // Recursion is a cycle of calls.
    first.isChecked = this.#hasCalls;
    return { stretches: this.#stretches.filter(({ cost }) => cost > 0), bulks: this.#bulks };
  }

  #begin(at: number, isChecked: boolean): Stretch {
    const stretch = { at, cost: 0, isChecked };
    this.#stretches.push(stretch);
    this.#current = stretch;
    return stretch;
  }

  #step({ opcode, start, end, labels }: Instruction): void {
    if (this.#current && !FREE.has(opcode)) this.#pay(this.#current, opcode, start);
    for (const label of labels) {
      const target = this.#frames[this.#frames.length - 1 - label];
      if (target) target.isTarget = true;
    }
    switch (opcode) {
      case OP.block:
        this.#enter("block");
        return;
      case OP.loop:
        this.#enter("loop");
        if (this.#current) this.#begin(end, true);
        return;
      case OP.if:
        this.#enter("if");
        if (this.#current) this.#begin(end, false);
        return;
      case OP.else:
        if (this.#frames.at(-1)?.isReached) this.#begin(end, false);
        return;
      case OP.end:
        this.#leave(end);
        return;
      case OP.brIf:
        if (this.#current) this.#begin(end, false);
        return;
      case OP.br:
      case OP.brTable:
      case OP.return:
      case OP.unreachable:
        this.#current = undefined;
        return;
      default:
    }
  }

  #pay(stretch: Stretch, opcode: number, at: number): void {
    stretch.cost += opcode === OP.memoryGrow ? 1 + COSTS.memoryGrow : 1;
    if (opcode === OP.call || opcode === OP.callIndirect) this.#hasCalls = true;
    const shift = BULK.get(opcode);
    if (shift !== undefined) this.#bulks.push({ at, shift });
  }

  #enter(kind: Frame["kind"]): void {
    this.#frames.push({ kind, isReached: this.#current !== undefined, isTarget: false });
  }

  #leave(end: number): void {
    const frame = this.#frames.pop();
    if (!frame?.isReached || frame.kind === "body") return;
    // A loop's own label is at its head, so no branch leads to its end.
    const waysMeet = frame.kind === "if" || (frame.kind === "block" && frame.isTarget);
    if (waysMeet || !this.#current) this.#begin(end, false);
  }
}
