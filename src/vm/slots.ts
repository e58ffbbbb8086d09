/** Room for the arguments and results of calls, 16 bytes each. */
import { BC_SLOT_BYTES } from "../abi.ts";

export interface Slots {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Slots of one VM that are kept for its next call: more than most functions need. */
const KEPT = 8;

/** Keeps one small room for the next call, since making one takes longer than the rest of what a call does in JavaScript. */
export class SlotRooms {
  #kept: Slots | undefined;

  /** Room of zeros: nothing of an earlier call's is left in it. It is the caller's alone until it is given back, which it need not be. */
  take(count: number): Slots {
    if (count > KEPT) return newSlots(count);
    const kept = this.#kept;
    if (kept === undefined) return newSlots(KEPT);
    // Calls nest, and user code can run between any two steps of one: who takes it, has it.
    this.#kept = undefined;
    kept.bytes.fill(0);
    return kept;
  }

  giveBack(slots: Slots): void {
    if (slots.bytes.length === KEPT * BC_SLOT_BYTES) this.#kept = slots;
  }
}

function newSlots(count: number): Slots {
  const bytes = new Uint8Array(count * BC_SLOT_BYTES);
  return { bytes, view: new DataView(bytes.buffer) };
}
