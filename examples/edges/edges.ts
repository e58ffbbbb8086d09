/**
 * edges: finds the edges in a picture. AssemblyScript; the host puts pixels into this module's memory, calls a function, and takes
 * pixels out again.
 *
 * Pixels are RGBA, four bytes each, row by row. `resize` gives place for a picture and one for the result, of the same size; where they
 * are say `input` and `output`.
 */

let width: i32 = 0;
let height: i32 = 0;
let pixels: StaticArray<u8> = new StaticArray<u8>(0);
let grey: StaticArray<u8> = new StaticArray<u8>(0);
let result: StaticArray<u8> = new StaticArray<u8>(0);

const MAX_SIDE: i32 = 16384;
const MAX_PIXELS: i32 = 1 << 26;

/** @returns 1, or 0 if there is no such picture; what was in the last one is gone then too */
export function resize(newWidth: i32, newHeight: i32): i32 {
  if (newWidth < 1 || newHeight < 1 || newWidth > MAX_SIDE || newHeight > MAX_SIDE) return 0;
  if (newWidth * newHeight > MAX_PIXELS) return 0;
  width = newWidth;
  height = newHeight;
  pixels = new StaticArray<u8>(width * height * 4);
  grey = new StaticArray<u8>(width * height);
  result = new StaticArray<u8>(width * height * 4);
  return 1;
}

export function input(): usize {
  return changetype<usize>(pixels);
}

export function output(): usize {
  return changetype<usize>(result);
}

/** Brightness by ITU-R BT.601, in whole numbers. */
function makeGrey(): void {
  for (let i = 0; i < width * height; i++) {
    const at = i * 4;
    const r: i32 = pixels[at];
    const g: i32 = pixels[at + 1];
    const b: i32 = pixels[at + 2];
    grey[i] = <u8>((r * 299 + g * 587 + b * 114 + 500) / 1000);
  }
}

/** Beyond its edge the picture goes on as it is there. */
function at(x: i32, y: i32): i32 {
  return grey[max(0, min(height - 1, y)) * width + max(0, min(width - 1, x))];
}

/** The Sobel operator: how much brightness changes, from left to right and from top to bottom. @returns the number of pixels above `threshold` */
export function edges(threshold: i32): i32 {
  makeGrey();
  let count = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const dx =
        at(x + 1, y - 1) +
        2 * at(x + 1, y) +
        at(x + 1, y + 1) -
        at(x - 1, y - 1) -
        2 * at(x - 1, y) -
        at(x - 1, y + 1);
      const dy =
        at(x - 1, y + 1) +
        2 * at(x, y + 1) +
        at(x + 1, y + 1) -
        at(x - 1, y - 1) -
        2 * at(x, y - 1) -
        at(x + 1, y - 1);
      const strength = min(255, abs(dx) + abs(dy));
      if (strength > threshold) count++;
      const to = (y * width + x) * 4;
      result[to] = result[to + 1] = result[to + 2] = <u8>strength;
      result[to + 3] = 255;
    }
  }
  return count;
}
