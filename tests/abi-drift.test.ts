/** guest-stubs/abi.h is the truth; src/abi.ts and guest-stubs/image.ld repeat parts of it. C++ includes the header itself. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as abi from "../src/abi.ts";

const file = (path: string): string =>
  readFileSync(new URL(`../guest-stubs/${path}`, import.meta.url), "utf8");

/** Every `#define BC_NAME number`; by the header's own rule there is nothing else to define. */
function headerConstants(): Map<string, bigint> {
  const defines = file("abi.h").matchAll(/^#define\s+(BC_\w+)\s+(\S+)[ \t]*$/gm);
  return new Map([...defines].map((match) => [match[1] as string, BigInt(match[2] as string)]));
}

describe("abi.h", () => {
  const constants = headerConstants();
  const typescript = Object.entries(abi);

  it("is read as a whole", () => {
    const all = [...file("abi.h").matchAll(/^#define\s+(\w+)/gm)].map((match) => match[1]);
    // The include guard, and the macro that checks the structures.
    const others = all.filter((name) => !constants.has(name as string));
    expect([...new Set(others)].sort()).toEqual(["BARECELL_ABI_H", "BC_CONTRACT"]);
    expect(constants.size).toBeGreaterThan(60);
  });
  it.each(typescript)("%s is the same in src/abi.ts", (name, value) => {
    expect(constants.get(name), `${name} in the header`).toBe(BigInt(value));
  });
  it("src/abi.ts has nothing of its own", () => {
    expect(typescript.map(([name]) => name).filter((name) => !constants.has(name))).toEqual([]);
    expect(typescript.length).toBeGreaterThan(50);
  });
  it("no two control ports, traps or stages are the same", () => {
    for (const prefix of ["BC_PORT_", "BC_TRAP_", "BC_STAGE_", "BC_OP_", "BC_NOTE_TYPE_", "BC_SEL_"]) {
      const values = [...constants].filter(([name]) => name.startsWith(prefix)).map(([, value]) => value);
      expect(new Set(values).size, prefix).toBe(values.length);
    }
  });
  it("control ports keep out of the exceptions' and the imports' ranges, and those of each other's", () => {
    const of = (name: string): number => Number(constants.get(name));
    const exceptions = of("BC_PORT_EXCEPTION_BASE");
    for (const name of ["READY", "DONE", "TRAP", "GROW"])
      expect(of(`BC_PORT_${name}`)).toBeLessThan(exceptions);
    expect(of("BC_PORT_SYSCALL")).toBeGreaterThanOrEqual(exceptions + of("BC_IDT_VECTORS"));
    expect(of("BC_PORT_SYSCALL")).toBeLessThan(of("BC_PORT_IMPORT_BASE"));
    expect(of("BC_PORT_IMPORT_BASE") + of("BC_IMPORTS_MAX")).toBeLessThanOrEqual(0x10000);
  });
});

describe("image.ld", () => {
  const constants = headerConstants();
  const script = file("image.ld");
  const of = (name: string): bigint => {
    const value = constants.get(name);
    if (value === undefined) throw new Error(`abi.h has no ${name}`);
    return value;
  };
  const number = (pattern: RegExp): bigint => {
    const match = pattern.exec(script);
    if (!match?.[1]) throw new Error(`image.ld has no ${pattern}`);
    return BigInt(match[1]);
  };

  it("has the header's addresses and sizes", () => {
    expect(number(/^bc_image_base = (0x[0-9a-f]+);/m)).toBe(of("BC_IMAGE_BASE"));
    expect(number(/^ {2}\. = bc_image_base \+ (0x[0-9a-f]+);/m)).toBe(of("BC_BOOT_GPA"));
    expect(number(/\.stack (0x[0-9a-f]+) - bc_stack_bytes/)).toBe(of("BC_STACK_TOP"));
    expect(number(/ADDR\(\.boot\.text\) == bc_image_base \+ (0x[0-9a-f]+)/)).toBe(of("BC_BOOT_GPA"));
    expect(number(/ADDR\(\.boot\.tables\) == bc_image_base \+ (0x[0-9a-f]+)/)).toBe(of("BC_TABLES_GPA"));
    expect(number(/ADDR\(\.boot\.gdt\) == bc_image_base \+ (0x[0-9a-f]+)/)).toBe(of("BC_GDT_GPA"));
    expect(number(/bc_output_log = \.;\n\s+\. \+= (0x[0-9a-f]+);/)).toBe(of("BC_OUTPUT_LOG_BYTES"));
    expect(number(/bc_input_bytes = \.;\n\s+\. \+= (0x[0-9a-f]+);/)).toBe(of("BC_INPUT_BYTES"));
    expect(number(/bc_mailbox_bytes \+ (0x[0-9a-f]+) \+ 0x10000/)).toBe(
      of("BC_OUTPUT_LOG_BYTES") + of("BC_INPUT_BYTES"),
    );
    expect(number(/bc_tss_limit = (\d+) \+ bc_iopb_end/)).toBe(of("BC_TSS_BYTES"));
    expect(number(/ADDR\(\.boot\.gdt\) \+ (0x[0-9a-f]+) \+ 104/)).toBe(of("BC_GDT_BYTES"));
    expect(number(/ADDR\(\.boot\.gdt\) \+ 0x40 \+ (\d+)/)).toBe(of("BC_TSS_BYTES"));
    expect(number(/bc_exception_stacks = \.; \. \+= (0x[0-9a-f]+);/)).toBeGreaterThanOrEqual(
      of("BC_IST_COUNT") * of("BC_IST_BYTES"),
    );
  });
  it("marks supervisor segments with the header's flag, and only those with it", () => {
    const flags = [...script.matchAll(/^ {2}(\w+)\s+PT_LOAD FLAGS\((\w+)\);/gm)].map(
      (match) => [match[1], BigInt(match[2] as string)] as const,
    );
    const supervisor = flags
      .filter(([, flag]) => (flag & of("BC_PF_SUPERVISOR")) !== 0n)
      .map(([name]) => name);
    expect(supervisor).toEqual(["boot", "tables", "gdt", "pagetables", "exceptions"]);
    for (const [name, flag] of flags) {
      expect(flag & ~(of("BC_PF_SUPERVISOR") | 7n), name).toBe(0n);
      // W^X: write is 2, execute 1.
      expect(flag & 3n, name).not.toBe(3n);
    }
  });
});
