import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { imageFiles, parseSmaps, sizesByKind } from "../../bench/smaps.ts";

const mapping = (header: string, fields: Record<string, number>): string =>
  [header, ...Object.entries(fields).map(([name, kib]) => `${`${name}:`.padEnd(16)}${kib} kB`)].join("\n");

const SMAPS = [
  mapping("55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0                          [heap]", {
    ...{ Rss: 8, Pss: 8, Anonymous: 8 },
  }),
  mapping("7f0000000000-7f0000001000 ---p 00000000 00:00 0 ", { Rss: 0, Pss: 0 }),
  mapping(
    "7f0000001000-7f0000013000 rw-p 00001000 00:01 77                         /memfd:barecell-image (deleted)",
    {
      ...{ Rss: 68, Pss: 5, Shared_Clean: 1, Shared_Dirty: 63, Private_Dirty: 4, Anonymous: 4 },
    },
  ),
  "VmFlags: rd wr mr mw me ac nr",
  mapping("7f0000013000-7f0000119000 rw-p 00000000 00:00 0 ", { Rss: 8, Pss: 8, Anonymous: 8 }),
  mapping("7f0000200000-7f0000203000 rw-s 00000000 00:0f 1061                       anon_inode:kvm-vcpu:0", {
    ...{ Rss: 8, Pss: 8 },
  }),
  mapping("7f0000300000-7f0000400000 rw-p 00000000 00:00 0 ", { Rss: 40, Pss: 40, Anonymous: 40 }),
  mapping("7f0000500000-7f0000600000 r-xp 00000000 fe:00 12                         /usr/bin/a program", {
    ...{ Rss: 100, Pss: 50 },
  }),
].join("\n");

describe("smaps", () => {
  it("are sorted by what the memory is for", () => {
    const sizes = sizesByKind(parseSmaps(`${SMAPS}\n`));
    const kib = 1024;
    expect(sizes["image pages"]).toEqual({
      ...{ mappings: 1, resident: 68 * kib, proportional: 5 * kib, shared: 64 * kib, own: 4 * kib },
    });
    // What lies directly behind the image; another mapping without a name is somebody's heap.
    expect(sizes["guest memory without a file"]).toMatchObject({ mappings: 2, resident: 8 * kib });
    expect(sizes["heap and stacks"]).toMatchObject({ mappings: 2, resident: 48 * kib });
    expect(sizes.kvm_run).toMatchObject({ mappings: 1, proportional: 8 * kib });
    expect(sizes["programs and files"]).toMatchObject({ mappings: 1, proportional: 50 * kib });
    expect(imageFiles(parseSmaps(SMAPS))).toEqual(["77"]);
  });

  it("of a real process come to what the kernel sums up", () => {
    const sizes = sizesByKind(parseSmaps(readFileSync("/proc/self/smaps", "utf8")));
    const sum = Object.values(sizes).reduce((total, { resident }) => total + resident, 0);
    const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
    const whole = Number(/^Rss: +(\d+) kB$/m.exec(rollup)?.[1]) * 1024;
    // Another moment.
    expect(sum / whole).toBeGreaterThan(0.9);
    expect(sum / whole).toBeLessThan(1.1);
    expect(sizes["image pages"]).toBeUndefined();
  });
});
