/** Images as files: other tools understand them, and whatever was done to one on its way is a coded error. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { BC_ABI_VERSION, BC_PF_SUPERVISOR, BC_TABLES_GPA } from "../../src/abi.ts";
import { Image, isBarecellError, MicroVM } from "../support/barecell.ts";
import { announceSkip, isSvm } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { resealed } from "../support/raw-code.ts";

const image = await imageOf(
  "tools",
  `(module (memory (export "memory") 3) (data (i32.const 70000) "initial data")
    ;; Through the table both stay functions of their own; what is only exported may be moved into the export's entry.
    (table 2 funcref) (elem (i32.const 0) $twice $fibonacci)
    (func $twice (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
    (func $fibonacci (export "fibonacci") (param i32) (result i32)
      (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0))
        (else (i32.add (call $fibonacci (i32.sub (local.get 0) (i32.const 1))) (call $fibonacci (i32.sub (local.get 0) (i32.const 2))))))))`,
);
const folder = mkdtempSync(join(tmpdir(), "barecell-image-"));
const path = join(folder, "tools.cell");
await image.save(path);
afterAll(() => rmSync(folder, { recursive: true }));

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: 2 ** 26,
  });
}

describe("tools", () => {
  it("readelf shows segments with their rights, none writable and executable, and the sections", () => {
    const segments = run("readelf", "-lW", path);
    const loads = [...segments.matchAll(/^ {2}LOAD +0x\w+ 0x(\w+) 0x(\w+) 0x\w+ 0x\w+ ([RWE ]{3})/gm)];
    expect(loads.length).toBeGreaterThanOrEqual(10);
    for (const [line, , , rights] of loads)
      expect(rights?.includes("W") && rights.includes("E"), line).toBe(false);
    const sections = run("readelf", "-SW", path);
    for (const name of [".boot.text", ".text", ".rodata", ".eh_frame", ".pagetables", ".stack", ".symtab"])
      expect(sections).toContain(name);
    expect(run("readelf", "-hW", path)).toMatch(/Machine:\s+Advanced Micro Devices X86-64/);
  });
  it("readelf finds nothing to complain about", () => {
    const { status, stderr } = spawnSync("readelf", ["-aW", path], {
      encoding: "utf8",
      env: { ...process.env, LC_ALL: "C" },
      maxBuffer: 2 ** 26,
    });
    expect(status).toBe(0);
    expect(stderr).toBe("");
  });
  it("readelf -n shows barecell's two notes", () => {
    const notes = run("readelf", "-nW", path);
    expect(notes.match(/^\s+barecell\s/gm)?.length).toBe(2);
    expect(notes).toContain("0x42430001");
    expect(notes).toContain("0x42430002");
  });
  it("objdump disassembles by function name", () => {
    const code = run("objdump", "-d", path);
    expect(code).toMatch(/<w2c_m0_[\w.]*fibonacci[\w.]*>:/);
    expect(code).toMatch(/call .*<w2c_m0_/);
    expect(code).toContain("<bc_boot64>:");
  });
  it("nm lists the functions", () => {
    expect(run("nm", path)).toMatch(/^0000000300[0-9a-f]+ [tT] \S*fibonacci/m);
  });
  it("gdb reads it", () => {
    const gdb = spawnSync("gdb", ["--version"]);
    if (gdb.error) return announceSkip("gdb reads an image", "gdb is not installed");
    const text = run("gdb", "-batch", "-nx", "-ex", "info functions fibonacci", "-ex", "info files", path);
    expect(text).toContain("fibonacci");
    expect(text).toContain("elf64-x86-64");
  });
  it("a file that was saved loads as the same image", async () => {
    const loaded = await Image.load(path);
    expect(loaded.digest).toBe(image.digest);
    expect(Buffer.compare(loaded.bytes, image.bytes)).toBe(0);
    await withVm(loaded, {}, async (vm) => expect(await vm.call("fibonacci", 10)).toBe(55));
  });
  it("strip makes it another file, which is refused", async () => {
    const stripped = join(folder, "stripped.cell");
    run("objcopy", "--strip-all", path, stripped);
    await refused(() => Image.load(stripped));
  });
});

const REFUSALS = ["BARECELL_IMAGE_INVALID", "BARECELL_IMAGE_VERSION", "BARECELL_IMAGE_CPU"];

async function refused(load: () => unknown): Promise<string> {
  try {
    await load();
  } catch (error) {
    if (!isBarecellError(error)) throw error;
    expect(REFUSALS, error.message).toContain(error.code);
    return error.message;
  }
  throw new Error("it was accepted");
}

/** mulberry32 */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe("damaged files", () => {
  it("truncated at any length", async () => {
    const lengths = [
      0,
      1,
      3,
      4,
      15,
      16,
      63,
      64,
      65,
      119,
      120,
      4095,
      4096,
      4097,
      ...Array.from({ length: 60 }, (_, i) => Math.floor((image.bytes.length * i) / 60)),
    ];
    for (const length of new Set([...lengths, image.bytes.length - 1, image.bytes.length - 2])) {
      await refused(() => Image.fromBytes(image.bytes.subarray(0, length)));
    }
  });
  it("longer than it was", () =>
    refused(() => Image.fromBytes(Buffer.concat([image.bytes, Buffer.alloc(1)]))));
  it("one byte altered, anywhere", async () => {
    const next = random(1);
    const places = [
      ...Array.from({ length: 64 + 56 * 12 }, (_, i) => i),
      ...Array.from({ length: 600 }, () => Math.floor(next() * image.bytes.length)),
    ];
    for (const at of places) {
      const bytes = Uint8Array.from(image.bytes);
      bytes[at] = (bytes[at] as number) ^ (1 << Math.floor(next() * 8));
      await refused(() => Image.fromBytes(bytes));
    }
  });
  it.each([
    ["an empty file", new Uint8Array(0)],
    ["text", Buffer.from("this is no image\n".repeat(1000))],
    ["zeros", new Uint8Array(100_000)],
    ["a WebAssembly module", Buffer.from("\0asm\x01\0\0\0", "latin1")],
  ])("%s", async (_, bytes) => {
    await refused(() => Image.fromBytes(bytes));
  });
  it("ELF files of somebody else's", async () => {
    await refused(() => Image.load("/bin/true"));
    await refused(() => Image.load(process.execPath));
    const source = join(folder, "foreign.c");
    writeFileSync(source, "int _start(void) { return 0; }\n");
    for (const flags of [["-c"], ["-nostdlib", "-static"], ["-nostdlib", "-shared", "-fPIC"]]) {
      run("cc", ...flags, source, "-o", join(folder, "foreign"));
      expect(await refused(() => Image.load(join(folder, "foreign")))).toContain("image");
    }
  });
  it("what cannot be read", async () => {
    await failure(() => Image.load(join(folder, "nothing.cell")), "BARECELL_FILE_UNREADABLE");
    await failure(() => Image.load(folder), "BARECELL_FILE_UNREADABLE");
  });
});

const HEADER_FIELDS = [
  "magic",
  "version",
  "boot entry",
  "call entry",
  "syscall entry",
  "mailbox",
  "mailbox size",
  "exception stacks",
].concat(["boot root", "run root", "page tables", "size of page tables", "IDT", "TSS limit", "stack size"]);
const headerAt = image.layout.segments.find((segment) => segment.physical === BC_TABLES_GPA)?.fileOffset ?? 0;
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Values that a checker forgets about; relative ones are added to what was there. */
const VALUES = [
  0n,
  1n,
  8n,
  4095n,
  4096n,
  0x1000_0000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xc000_0000n,
  0x1_0000_0000n,
  0x3_0000_0000n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const DELTAS = [-4096n, -8n, -1n, 1n, 8n, 16n, 4096n, 0x20_0000n, 0x4000_0000n];

/** An altered image with a right digest must be refused, or run and stay in its VM: a result or a coded error, and this process alive. */
async function contained(bytes: Uint8Array): Promise<"refused" | "ran" | "failed"> {
  let altered: Image;
  try {
    altered = Image.fromBytes(bytes);
  } catch (error) {
    if (!isBarecellError(error)) throw error;
    return "refused";
  }
  let vm: MicroVM | undefined;
  try {
    vm = await MicroVM.boot(altered, { timeoutMs: isSvm ? 2000 : 200 });
    await vm.call("fibonacci", 5);
    return "ran";
  } catch (error) {
    if (!isBarecellError(error)) throw error;
    return "failed";
  } finally {
    vm?.dispose();
  }
}

async function good(): Promise<void> {
  await withVm(image, {}, async (vm) => expect(await vm.call("fibonacci", 12)).toBe(144));
}

describe("altered, with a right digest", () => {
  it.each(HEADER_FIELDS.map((name, i) => [name, i] as const))("header: %s", async (_, i) => {
    const at = headerAt + 8 * i;
    const original = view(image.bytes).getBigUint64(at, true);
    for (const value of [...VALUES, ...DELTAS.map((delta) => BigInt.asUintN(64, original + delta))]) {
      if (value === original) continue;
      await contained(resealed(image.bytes, (bytes) => view(bytes).setBigUint64(at, value, true)));
    }
    await good();
  });
  const programHeaders = Number(view(image.bytes).getBigUint64(32, true));
  const count = view(image.bytes).getUint16(56, true);
  it.each(Array.from({ length: count }, (_, i) => i))("program header %i", async (i) => {
    const base = programHeaders + 56 * i;
    for (const field of [8, 16, 24, 32, 40, 48]) {
      const original = view(image.bytes).getBigUint64(base + field, true);
      for (const value of [...VALUES, ...DELTAS.map((delta) => BigInt.asUintN(64, original + delta))]) {
        if (value === original) continue;
        await contained(
          resealed(image.bytes, (bytes) => view(bytes).setBigUint64(base + field, value, true)),
        );
      }
    }
    for (const field of [0, 4]) {
      for (let bit = 0; bit < 32; bit++) {
        await contained(
          resealed(image.bytes, (bytes) =>
            view(bytes).setUint32(base + field, view(bytes).getUint32(base + field, true) ^ (1 << bit), true),
          ),
        );
      }
    }
    await good();
  });
  const headerOf = (purpose: string): number => {
    const segment = image.layout.segments.find((one) => one.purpose === purpose);
    for (let i = 0; i < count; i++) {
      if (Number(view(image.bytes).getBigUint64(programHeaders + 56 * i + 16, true)) === segment?.virtual)
        return programHeaders + 56 * i;
    }
    throw new Error(`no program header of ${purpose}`);
  };
  const cases: [string, string, (bytes: Uint8Array) => void][] = [
    [
      "writable code",
      "writable and executable",
      (bytes) => view(bytes).setUint32(headerOf("code") + 4, 7, true),
    ],
    [
      "executable data",
      "writable and executable",
      (bytes) => view(bytes).setUint32(headerOf("data") + 4, 7, true),
    ],
    [
      "executable linear memory",
      "image",
      (bytes) => view(bytes).setUint32(headerOf("linear memory") + 4, 5, true),
    ],
    [
      "page tables that ring 3 may touch",
      "image",
      (bytes) => view(bytes).setUint32(headerOf("page tables") + 4, 6, true),
    ],
    [
      "supervisor code at the tenant's",
      "image",
      (bytes) => view(bytes).setUint32(headerOf("code") + 4, BC_PF_SUPERVISOR | 5, true),
    ],
    [
      "overlapping segments",
      "image",
      (bytes) =>
        view(bytes).setBigUint64(
          headerOf("data") + 24,
          BigInt(image.layout.segments.find((s) => s.purpose === "code")?.physical ?? 0),
          true,
        ),
    ],
    [
      "a segment above the image's space",
      "image",
      (bytes) => view(bytes).setBigUint64(headerOf("data") + 24, 0xd000_0000n, true),
    ],
    [
      "a segment in the first page",
      "image",
      (bytes) => view(bytes).setBigUint64(headerOf("data") + 24, 0n, true),
    ],
    [
      "a segment outside of the file",
      "ELF",
      (bytes) => view(bytes).setBigUint64(headerOf("code") + 8, BigInt(bytes.length), true),
    ],
    [
      "another ABI version",
      `version ${BC_ABI_VERSION + 1}`,
      (bytes) => view(bytes).setBigUint64(headerAt + 8, BigInt(BC_ABI_VERSION + 1), true),
    ],
    ["page tables: the first entry", "page tables", (bytes) => flip(bytes, 0)],
    ["page tables: NX of an entry", "page tables", (bytes) => flip(bytes, 4 * 4096 + 7)],
    ["page tables: the last byte used", "page tables", (bytes) => flip(bytes, 7 * 4096)],
  ];
  const tables = image.layout.segments.find((segment) => segment.purpose === "page tables");
  const flip = (bytes: Uint8Array, offset: number): void => {
    const at = (tables?.fileOffset ?? 0) + offset;
    bytes[at] = (bytes[at] as number) ^ 0x82;
  };
  it.each(cases)("refused: %s", async (name, message, change) => {
    const text = await refused(() => Image.fromBytes(resealed(image.bytes, change)));
    expect(text, name).toContain(message);
  });
  it("any bit of the page tables", async () => {
    const next = random(2);
    for (let i = 0; i < 300; i++) {
      const at = (tables?.fileOffset ?? 0) + Math.floor(next() * (tables?.fileBytes ?? 0));
      await refused(() =>
        Image.fromBytes(
          resealed(image.bytes, (bytes) =>
            bytes.set([(bytes[at] as number) ^ (1 << Math.floor(next() * 8))], at),
          ),
        ),
      );
    }
  });
  it("any byte at all: refused, or contained in the VM", async () => {
    const next = random(3);
    const seen = { refused: 0, ran: 0, failed: 0 };
    for (let i = 0; i < (isSvm ? 60 : 400); i++) {
      const at = Math.floor(next() * image.bytes.length);
      const bytes = Uint8Array.from(image.bytes);
      try {
        seen[await contained(resealed(bytes, (copy) => copy.set([Math.floor(next() * 256)], at)))]++;
      } catch (error) {
        throw new Error(`byte ${at}: ${String(error)}`);
      }
    }
    expect(seen.refused).toBeGreaterThan(0);
    expect(seen.ran).toBeGreaterThan(0);
    await good();
  });
});
