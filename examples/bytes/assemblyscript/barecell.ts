/**
 * What a module needs so that the host can pass bytes to its functions and get bytes back (docs/guest-convention.md). Export
 * `barecell_alloc` and `barecell_free` from the entry file too:
 *
 *   export { barecell_alloc, barecell_free } from "./barecell";
 *   export function echo(input: usize, length: i32): u64 { return give(take(input, length)); }
 */

/** Outside the garbage collector, which does not know what the host holds. Traps if there is no memory. */
export function barecell_alloc(length: i32): usize {
  return heap.alloc(length);
}

export function barecell_free(bytes: usize, length: i32): void {
  if (bytes != 0) heap.free(bytes);
}

/** A copy of the host's bytes, which stay the host's. */
export function take(input: usize, length: i32): Uint8Array {
  const bytes = new Uint8Array(length);
  memory.copy(bytes.dataStart, input, length);
  return bytes;
}

/** A copy of bytes for the host, which frees it: address in the high half, count in the low one. */
export function give(bytes: Uint8Array): u64 {
  return giveCopy(bytes.dataStart, bytes.length);
}

/** The host's bytes as text. What is not UTF-8 becomes U+FFFD. */
export function takeText(input: usize, length: i32): string {
  return String.UTF8.decodeUnsafe(input, length);
}

export function giveText(text: string): u64 {
  const utf8 = String.UTF8.encode(text);
  return giveCopy(changetype<usize>(utf8), utf8.byteLength);
}

function giveCopy(from: usize, length: i32): u64 {
  if (length == 0) return 0;
  const copy = heap.alloc(length);
  memory.copy(copy, from, length);
  return ((<u64>copy) << 32) | (<u64>length);
}
