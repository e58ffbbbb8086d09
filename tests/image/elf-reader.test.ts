import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ElfFormatError, readElf } from "../../src/image/elf-reader.ts";

const directory = mkdtempSync(join(tmpdir(), "barecell-elf-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const SOURCE = `
static int hidden(int x) { return x * 3; }
int table[5] = { 1, 2, 3, 4, 5 };
long zeros[100];
__attribute__((weak)) int feeble(void) { return hidden(table[1]); }
extern int elsewhere(void);
int elsewhere_too(void) { return zeros[3]; }
const char text[] __attribute__((section(".odd.name"))) = "hello";
int _start(void) { return feeble() + elsewhere_too(); }
__asm__(".pushsection .note.barecell,\\"a\\",@note\\n"
        ".long 9, 5, 7\\n.asciz \\"barecell\\"\\n.balign 4\\n.ascii \\"12345\\"\\n.balign 4\\n"
        ".long 4, 0, 8\\n.asciz \\"two\\"\\n.popsection\\n");
`;

function build(output: string, ...flags: string[]): Uint8Array {
  writeFileSync(join(directory, "test.c"), SOURCE);
  const path = join(directory, output);
  execFileSync("cc", ["-O1", "-fno-inline", ...flags, join(directory, "test.c"), "-o", path], {
    stdio: "pipe",
  });
  return new Uint8Array(readFileSync(path));
}

/** At 12 GiB, as images are. */
const link = ["-nostdlib", "-static", "-no-pie", "-Wl,-Ttext-segment=0x300000000", "-Wl,--build-id=sha1"];
const EXECUTABLE = build("test", ...link);
const OBJECT = build("test.o", "-c", "-ffunction-sections");

const tool = (name: string, ...args: string[]): string =>
  execFileSync(name, args, { cwd: directory, encoding: "utf8", env: { ...process.env, LC_ALL: "C" } });

function refusal(bytes: Uint8Array, read: (elf: ReturnType<typeof readElf>) => unknown = () => 0): string {
  try {
    read(readElf(bytes));
  } catch (error) {
    if (error instanceof ElfFormatError) return error.message;
    throw error;
  }
  throw new Error("was not refused");
}

/** Reads all there is, or throws an ElfFormatError; anything else fails the test. */
function attempt(bytes: Uint8Array): void {
  try {
    const elf = readElf(bytes);
    for (const region of [...elf.segments, ...elf.sections]) {
      if (region.type === ("fileSize" in region ? 4 : 7)) elf.notes(region);
    }
    elf.symbols();
  } catch (error) {
    if (!(error instanceof ElfFormatError)) throw error;
  }
}

/** A copy with a little-endian field changed. */
function patched(bytes: Uint8Array, at: number, size: number, value: bigint): Uint8Array {
  const copy = bytes.slice();
  for (let i = 0; i < size; i++) copy[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return copy;
}

/** mulberry32: the same numbers on every run. */
function random(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe("readElf", () => {
  it.each([
    ["executable", "test", EXECUTABLE],
    ["object", "test.o", OBJECT],
  ])("sees the sections and symbols of an %s as binutils do", (_, file, bytes) => {
    const elf = readElf(bytes);
    const lines = tool("readelf", "-SW", file).matchAll(
      /^ *\[ *(\d+)\] (\S*) +(\S+) +([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+) /gm,
    );
    let count = 0;
    for (const [, index, name, , address, offset, size] of lines) {
      const section = elf.sections[Number(index)];
      expect(section?.name).toBe(name);
      expect([section?.address, section?.offset, section?.size]).toEqual(
        [address, offset, size].map((text) => Number.parseInt(text ?? "", 16)),
      );
      count++;
    }
    expect(count).toBeGreaterThan(5);
    expect(count).toBe(elf.sections.length);

    const wanted = [
      ...tool("nm", "-S", file).matchAll(/^([0-9a-f]{16}) (?:([0-9a-f]{16}) )?(\w) (\S+)$/gm),
    ].map(
      ([, value, size, , name]) =>
        `${name} ${Number.parseInt(value ?? "", 16)} ${Number.parseInt(size ?? "0", 16)}`,
    );
    const symbols = elf
      .symbols()
      .filter((s) => s.type !== "section" && s.type !== "file" && s.sectionIndex !== 0);
    expect(symbols.map((s) => `${s.name} ${s.value} ${s.size}`).sort()).toEqual(wanted.sort());
    const kinds = symbols.filter((s) => /^(hidden|feeble|table|zeros|_start)$/.test(s.name));
    expect(kinds.map((s) => `${s.name}:${s.type}:${s.bind}`).sort()).toEqual([
      "_start:func:global",
      "feeble:func:weak",
      "hidden:func:local",
      "table:object:global",
      "zeros:object:global",
    ]);
    expect(elf.symbols()).toBe(elf.symbols());
  });

  it("reads headers, segments and the bytes of sections", () => {
    const elf = readElf(EXECUTABLE);
    expect(elf.header).toMatchObject({ type: 2, machine: 62 });
    expect(elf.header.entry).toBe(elf.symbols().find((s) => s.name === "_start")?.value);
    expect(elf.header.entry).toBeGreaterThan(12 * 2 ** 30);
    const loads = elf.segments.filter((s) => s.type === 1);
    const wanted = [...tool("readelf", "-lW", "test").matchAll(/^ +LOAD +(.*)$/gm)].map((m) =>
      (m[1] ?? "").split(/ +/).slice(0, 5).map(Number),
    );
    expect(
      loads.map((s) => [s.offset, s.virtualAddress, s.physicalAddress, s.fileSize, s.memorySize]),
    ).toEqual(wanted);
    expect(new TextDecoder().decode(elf.section(".odd.name")?.bytes)).toBe("hello\0");
    expect(elf.section(".bss")).toMatchObject({ type: 8, bytes: new Uint8Array(0) });
    expect(elf.section(".bss")?.size).toBeGreaterThanOrEqual(800);
    expect(elf.section(".nothing")).toBeUndefined();
  });

  it("reads notes from a section and from a segment", () => {
    const elf = readElf(EXECUTABLE);
    const section = elf.section(".note.barecell");
    if (section === undefined) throw new Error("no note section");
    const notes = elf.notes(section);
    expect(notes.map((n) => [n.name, n.type, new TextDecoder().decode(n.desc)])).toEqual([
      ["barecell", 7, "12345"],
      ["two", 8, ""],
    ]);
    const all = elf.segments.filter((s) => s.type === 4).flatMap((s) => elf.notes(s));
    expect(all.map((n) => `${n.name} ${n.type}`)).toEqual(
      expect.arrayContaining(["barecell 7", "two 8", "GNU 3"]),
    );
    expect(all.find((n) => n.name === "GNU" && n.type === 3)?.desc).toHaveLength(20);
  });

  it("reads a stripped file: no symbols", () => {
    tool("strip", "-o", "stripped", "test");
    expect(readElf(new Uint8Array(readFileSync(join(directory, "stripped")))).symbols()).toEqual([]);
  });

  it("works on a view into a larger buffer", () => {
    const large = new Uint8Array(EXECUTABLE.length + 13);
    large.set(EXECUTABLE, 7);
    const elf = readElf(large.subarray(7, 7 + EXECUTABLE.length));
    expect(elf.symbols()).toEqual(readElf(EXECUTABLE).symbols());
  });
});

describe("refusals name the field", () => {
  const elf = readElf(EXECUTABLE);
  const view = new DataView(EXECUTABLE.buffer, EXECUTABLE.byteOffset);
  const sectionHeaders = Number(view.getBigUint64(40, true));
  const field = (index: number, at: number) => sectionHeaders + 64 * index + at;
  const symtab = elf.sections.findIndex((s) => s.type === 2);
  const symbolAt = (elf.sections[symtab]?.offset ?? 0) + 24;
  const note = elf.section(".note.barecell")?.offset ?? 0;
  const big = 1n << 53n;

  it.each<[RegExp, Uint8Array]>([
    [/empty/, new Uint8Array(0)],
    [/not an ELF/, new TextEncoder().encode("#!/bin/sh")],
    [/not an ELF/, new Uint8Array(1 << 20)],
    [/header is outside/, EXECUTABLE.slice(0, 63)],
    [/EI_CLASS is 1/, patched(EXECUTABLE, 4, 1, 1n)],
    [/EI_DATA is 2/, patched(EXECUTABLE, 5, 1, 2n)],
    [/EI_VERSION/, patched(EXECUTABLE, 6, 1, 0n)],
    [/e_machine is 183/, patched(EXECUTABLE, 18, 2, 183n)],
    [/e_version/, patched(EXECUTABLE, 20, 4, 2n)],
    [/e_entry is out of range/, patched(EXECUTABLE, 24, 8, big)],
    [/program header table is outside/, patched(EXECUTABLE, 32, 8, 2n ** 40n)],
    [/e_phoff is out of range/, patched(EXECUTABLE, 32, 8, 2n ** 64n - 1n)],
    [/section header table is outside/, patched(EXECUTABLE, 40, 8, BigInt(EXECUTABLE.length))],
    [/e_ehsize is 63/, patched(EXECUTABLE, 52, 2, 63n)],
    [/e_phentsize is 32/, patched(EXECUTABLE, 54, 2, 32n)],
    [/e_phnum is extended/, patched(EXECUTABLE, 56, 2, 0xffffn)],
    [/e_shentsize is 40/, patched(EXECUTABLE, 58, 2, 40n)],
    [/e_shnum is extended/, patched(EXECUTABLE, 60, 2, 0n)],
    [/e_shstrndx 999/, patched(EXECUTABLE, 62, 2, 999n)],
    [/p_offset of segment 0 is out/, patched(EXECUTABLE, 64 + 8, 8, big)],
    [/p_offset or p_filesz of segment 0 is outside/, patched(EXECUTABLE, 64 + 32, 8, big - 1n)],
    [/p_memsz of segment 0 is out/, patched(EXECUTABLE, 64 + 40, 8, big - 1n)],
    [/p_filesz of segment 0 is larger/, patched(EXECUTABLE, 64 + 40, 8, 0n)],
    [/sh_offset or sh_size of section 1 is outside/, patched(EXECUTABLE, field(1, 32), 8, 2n ** 32n)],
    [/sh_size of section 1 is out/, patched(EXECUTABLE, field(1, 32), 8, big - 1n)],
    [/sh_name: name at 4000000000/, patched(EXECUTABLE, field(1, 0), 4, 4_000_000_000n)],
    [/sh_entsize or sh_size of the symbol/, patched(EXECUTABLE, field(symtab, 56), 8, 0n)],
    [/sh_entsize or sh_size of the symbol/, patched(EXECUTABLE, field(symtab, 32), 8, 25n)],
    [/sh_link of the symbol/, patched(EXECUTABLE, field(symtab, 40), 4, 0n)],
    [/st_name: name at/, patched(EXECUTABLE, symbolAt, 4, 0xffff_ffffn)],
    [/st_value of symbol 1/, patched(EXECUTABLE, symbolAt + 8, 8, 2n ** 63n)],
    [/st_size of symbol 1/, patched(EXECUTABLE, symbolAt + 16, 8, big)],
    [/n_namesz 1000000 passes/, patched(EXECUTABLE, note, 4, 1_000_000n)],
    [/n_descsz 4294967295 passes/, patched(EXECUTABLE, note + 4, 4, 0xffff_ffffn)],
    [/note header is cut off/, patched(EXECUTABLE, note + 4, 4, 16n)],
  ])("%s", (message, bytes) => {
    const read = (file: ReturnType<typeof readElf>) => {
      file.symbols();
      for (const section of file.sections) if (section.name === ".note.barecell") file.notes(section);
    };
    expect(refusal(bytes, read)).toMatch(message);
  });

  it("names that overlap cannot cost more than the file's own size", () => {
    // 40,000 symbols, each named by another suffix of one name of 2 MB.
    const nameBytes = 2_000_000;
    const count = 40_000;
    const offsets = {
      strings: 64,
      symbols: 64 + nameBytes + 8,
      headers: 64 + nameBytes + 8 + 24 * (count + 1),
    };
    const bytes = new Uint8Array(offsets.headers + 3 * 64);
    const view = new DataView(bytes.buffer);
    bytes.set(EXECUTABLE.subarray(0, 64));
    view.setUint16(56, 0, true);
    view.setBigUint64(40, BigInt(offsets.headers), true);
    view.setUint16(60, 3, true);
    view.setUint16(62, 0, true);
    bytes.fill(0x61, 64, 64 + nameBytes);
    for (let i = 1; i <= count; i++) view.setUint32(offsets.symbols + 24 * i, i, true);
    const section = (index: number, type: number, offset: number, size: number, link: number) => {
      const at = offsets.headers + 64 * index;
      view.setUint32(at + 4, type, true);
      view.setBigUint64(at + 24, BigInt(offset), true);
      view.setBigUint64(at + 32, BigInt(size), true);
      view.setUint32(at + 40, link, true);
      view.setBigUint64(at + 56, 24n, true);
    };
    section(1, 3, offsets.strings, nameBytes + 1, 0);
    section(2, 2, offsets.symbols, 24 * (count + 1), 1);
    expect(refusal(bytes, (file) => file.symbols())).toMatch(/overlap too much/);
  });
});

describe("hostile bytes", () => {
  it("cut at every byte of an object file", () => {
    for (let length = 0; length < OBJECT.length; length++) attempt(OBJECT.subarray(0, length));
    attempt(OBJECT);
  });

  it("cut anywhere in an executable", () => {
    for (let length = 0; length < EXECUTABLE.length; length += 7) attempt(EXECUTABLE.subarray(0, length));
  });

  it("random flips", { timeout: 60_000 }, () => {
    const next = random(20261121);
    const headers = Number(new DataView(OBJECT.buffer, OBJECT.byteOffset).getBigUint64(40, true));
    for (let round = 0; round < 20_000; round++) {
      const bytes = OBJECT.slice();
      for (let flips = 1 + next(3); flips > 0; flips--) {
        // Half of them where the headers are.
        const near = next(2) ? next(64) : headers + next(bytes.length - headers);
        bytes[next(2) ? near : next(bytes.length)] = next(256);
      }
      attempt(bytes);
    }
  });
});
