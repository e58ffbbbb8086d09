import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readElf } from "../../src/image/elf-reader.ts";
import { SymbolTable } from "../../src/image/symbols.ts";

const directory = mkdtempSync(join(tmpdir(), "barecell-symbols-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe("SymbolTable", () => {
  const source = `
.text
.skip 16
.globl first, alias, gap, unsized, outer, inner, last, a_import
.type first, @function
.type alias, @function
.type local_alias, @function
.type gap, @function
.type unsized, @function
.type outer, @function
.type inner, @function
.type last, @function
.type a_import, @function
.type data, @object
a_import:
first: .skip 16
.size first, 16
gap: .skip 8
.size gap, 4
local_alias:
alias: .skip 8
.size alias, 8
.size local_alias, 8
unsized: .skip 16
outer: .skip 8
inner: .skip 8
.size inner, 8
.skip 16
.size outer, 32
data: .skip 4
.size data, 4
nothing: .skip 12
last: .skip 16
`;
  const path = join(directory, "t");
  writeFileSync(`${path}.s`, source);
  execFileSync("cc", [
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,-Ttext=0x300001000",
    "-Wl,-e,first",
    `${path}.s`,
    "-o",
    path,
  ]);
  const table = new SymbolTable(readElf(new Uint8Array(readFileSync(path))));
  const base = 0x3_0000_1000n;
  const find = (offset: number) => {
    const found = table.lookup(base + BigInt(offset));
    return found && `${found.name}+${found.offset}`;
  };

  it("finds functions by address, within their size", () => {
    expect(find(15)).toBeUndefined();
    expect(find(16)).toBe("first+0");
    expect(find(31)).toBe("first+15");
    expect(find(35)).toBe("gap+3");
    expect(find(36)).toBeUndefined();
    expect(find(40)).toBe("alias+0");
  });

  it("prefers a name that states its size: the linker script's names for imports do not", () => {
    expect(find(16)).toBe("first+0");
  });

  it("takes a function without a size to reach to the next one, or to its section's end", () => {
    expect(find(48)).toBe("unsized+0");
    expect(find(63)).toBe("unsized+15");
    expect(find(112)).toBe("last+0");
    expect(find(127)).toBe("last+15");
    expect(find(128)).toBeUndefined();
  });

  it("finds the inner one of nested functions, and the outer one after it", () => {
    expect(find(64)).toBe("outer+0");
    expect(find(72)).toBe("inner+0");
    expect(find(80)).toBe("outer+16");
    expect(find(95)).toBe("outer+31");
  });

  it("knows functions only", () => {
    expect(find(96)).toBeUndefined();
    expect(find(100)).toBeUndefined();
  });

  it("takes any number", () => {
    for (const rip of [0n, -1n, 2n ** 53n, 2n ** 64n - 1n, 10n ** 30n])
      expect(table.lookup(rip)).toBeUndefined();
  });

  it("finds nothing in a file without symbols", () => {
    execFileSync("strip", [path, "-o", `${path}.stripped`]);
    const stripped = new SymbolTable(readElf(new Uint8Array(readFileSync(`${path}.stripped`))));
    expect(stripped.lookup(base + 16n)).toBeUndefined();
  });
});
