/** Room for the arguments and results of calls, 16 bytes each. */
import { BC_SLOT_BYTES } from "../abi.ts";

export interface Slots {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** More than most functions need. */
const KEPT = 8;

let kept: Slots | undefined;

/**
 * Room of zeros: nothing of an earlier call's is left in it. It is the caller's alone until it is given back, which it need not be. A small one is kept for
 * the thread's next call, since making one takes longer than the rest of what a call does in JavaScript.
 */
export function takeSlots(count: number): Slots {
  if (count > KEPT) return newSlots(count);
  const slots = kept;
  if (slots === undefined) return newSlots(KEPT);
  // Calls nest, and user code can run between any two steps of one: who takes it, has it.
  kept = undefined;
  slots.bytes.fill(0);
  return slots;
}

export function giveBackSlots(slots: Slots): void {
  if (slots.bytes.length === KEPT * BC_SLOT_BYTES) kept = slots;
}

export function newSlots(count: number): Slots {
  const bytes = new Uint8Array(count * BC_SLOT_BYTES);
  return { bytes, view: new DataView(bytes.buffer) };
}

export const NO_SLOTS: Slots = newSlots(0);
