/** memory.copy and memory.fill at the lengths and distances where the guest's own functions (guest-stubs/memory.c) change from one way to the next. */
import { describe, expect, it } from "vitest";
import { missingFlags, TARGET_CPUS } from "../../src/image/target-cpu.ts";
import { announceSkip } from "../support/environment.ts";
import { imageOf, withVm } from "../support/modules.ts";

const TEXT = `(module (memory (export "memory") 1)
    (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2))))`;
/** Their vectors are of 16 and of 32 bytes. */
const LEVELS = TARGET_CPUS.filter((level) => missingFlags(level).length === 0);
if (LEVELS.length < TARGET_CPUS.length)
  announceSkip("memory.copy for x86-64-v3", "this processor has no AVX2");
const BYTES = 40_960;
const PATTERN = Uint8Array.from({ length: BYTES }, (_, i) => (i * 167 + (i >> 8) * 31 + 1) & 0xff);
const LENGTHS = [
  ...Array.from({ length: 40 }, (_, i) => i),
  ...[47, 48, 49, 63, 64, 65, 79, 80, 81, 95, 96, 127, 128, 129, 130, 143, 144, 145, 191, 193, 255, 257],
  ...[1007, 1023, 1024, 1025, 1040, 3000, 8159, 8160, 8191, 8192, 8193, 9000],
];
const DISTANCES = [
  -10_000, -3500, -1024, -129, -128, -127, -65, -64, -63, -33, -32, -31, -17, -16, -15, -8, -3, -1, 0, 1, 2,
  7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000, 3500, 10_000,
];

describe.each(LEVELS)("for %s", (targetCpu) => {
  const image = imageOf("memory-copy", TEXT, { targetCpu });

  it.each([12_288, 12_291, 12_303, 12_319])(
    "memory.copy: every length at every distance, from %d",
    async (from) =>
      withVm(await image, {}, (vm) => {
        for (const length of LENGTHS) {
          for (const distance of DISTANCES) {
            vm.memory.write(0, PATTERN);
            vm.callSync("copy", from + distance, from, length);
            const expected = PATTERN.slice().copyWithin(from + distance, from, from + length);
            const same = Buffer.from(vm.memory.read(0, BYTES)).equals(expected);
            if (!same) expect.fail(`${length} bytes by ${distance}`);
          }
        }
      }),
  );

  it("memory.fill: every length", async () =>
    withVm(await image, {}, (vm) => {
      for (const length of LENGTHS) {
        for (const at of [12_288, 12_289, 12_302, 12_319]) {
          vm.memory.write(0, PATTERN);
          vm.callSync("fill", at, 0x1a5, length);
          const expected = PATTERN.slice().fill(0xa5, at, at + length);
          const same = Buffer.from(vm.memory.read(0, BYTES)).equals(expected);
          if (!same) expect.fail(`${length} bytes at ${at}`);
        }
      }
    }));
});
