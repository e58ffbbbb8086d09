/** Bad modules and images: each is a coded error, in the same words for people and in JSON, and leaves nothing behind. */
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import wabtInit from "wabt";
import { BC_ABI_VERSION, BC_HEADER_ABI_VERSION, BC_TABLES_GPA } from "../../src/abi.ts";
import { readElf } from "../../src/image/elf-reader.ts";
import { fileDigest, readNotes } from "../../src/image/image.ts";
import { ADD, cli, failure, HELLO, newFile, newFolder, newModule } from "./support.ts";

const wabt = await wabtInit();

/** A module with features that the other tests leave off. */
function newModuleWith(features: object, text: string): string {
  const module = wabt.parseWat("test.wat", text, features);
  try {
    return newFile("test.wasm", module.toBinary({}).buffer);
  } finally {
    module.destroy();
  }
}

describe("modules", () => {
  it("empty file", async () => {
    expect(await failure(["run", newFile("a.wasm", "")], "BARECELL_MODULE_INVALID", 1)).toContain(
      "the file is empty",
    );
  });

  it("text file", async () => {
    const told = await failure(["run", newFile("a.wasm", "hello, world\n")], "BARECELL_MODULE_INVALID", 1);
    expect(told).toContain("not WebAssembly");
  });

  it("WebAssembly text", async () => {
    const told = await failure(["run", newFile("a.wasm", "(module)")], "BARECELL_MODULE_INVALID", 1);
    expect(told).toContain("wat2wasm");
  });

  it("truncated module, at any place", async () => {
    const bytes = readFileSync(HELLO);
    for (const length of [3, 4, 7, 9, 100, Math.floor(bytes.length / 2), bytes.length - 1]) {
      await failure(["run", newFile("a.wasm", bytes.subarray(0, length))], "BARECELL_MODULE_INVALID", 1);
    }
  });

  it("unknown section", async () => {
    const bytes = Buffer.concat([readFileSync(ADD), Buffer.from([0x7b, 0x00])]);
    const told = await failure(["run", newFile("a.wasm", bytes)], "BARECELL_MODULE_INVALID", 1);
    expect(told).toContain("unknown section");
  });

  it("a type error in a function", async () => {
    const module = newFile(
      "a.wasm",
      Uint8Array.from([
        0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f, 3, 2, 1, 0, 10, 4, 1, 2, 0, 0x0b,
      ]),
    );
    await failure(["run", module], "BARECELL_MODULE_INVALID", 1);
  });

  it.each([
    ["tail call", { tail_call: true }, '(module (func $f (export "_start") (return_call $f)))'],
    [
      "threads",
      { threads: true },
      '(module (memory 1 1 shared) (func (export "_start") (drop (i32.atomic.load (i32.const 0)))))',
    ],
    ["memory64|64-bit memory", { memory64: true }, '(module (memory i64 1) (func (export "_start")))'],
    ["multi-memory", { multi_memory: true }, '(module (memory 1) (memory 1) (func (export "_start")))'],
    ["exception", { exceptions: true }, '(module (tag $t) (func (export "_start") (throw $t)))'],
    [
      "extended.const",
      { extended_const: true },
      '(module (global i32 (i32.add (i32.const 1) (i32.const 2))) (func (export "_start")))',
    ],
  ])("the proposal %s, by its name", async (name, features, text) => {
    const told = await failure(["run", newModuleWith(features, text)], "BARECELL_MODULE_UNSUPPORTED", 1);
    expect(told).toMatch(new RegExp(name, "i"));
  });

  it("a component", async () => {
    const module = newFile("a.wasm", Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]));
    expect((await cli(["run", module])).stderr).toContain("component");
  });

  it("1 GiB of zeros, without reading it", async () => {
    const path = newFile("zeros.wasm", "");
    truncateSync(path, 2 ** 30);
    const started = Date.now();
    expect(await failure(["run", path], "BARECELL_MODULE_INVALID", 1)).toContain("not WebAssembly");
    expect(Date.now() - started).toBeLessThan(10_000);
  });

  it("1 GiB that begins like a module", async () => {
    const path = newFile("large.wasm", Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
    truncateSync(path, 2 ** 30);
    await failure(["run", path], "BARECELL_MODULE_TOO_LARGE", 1);
  });

  it("an endless file", async () => {
    await failure(["run", "/dev/zero"], "BARECELL_MODULE_INVALID", 1);
  });

  it("more memory than the limit", async () => {
    const module = newModule('(module (memory 65536) (func (export "_start")))');
    expect(await failure(["run", module], "BARECELL_MEMORY_LIMIT", 1)).toContain("65536 pages");
    expect((await cli(["run", "--max-memory", "4G", module])).status).toBe(0);
  });

  it("no export of that name", async () => {
    const told = await failure(["run", "--invoke", "sub", ADD], "BARECELL_EXPORT_NOT_FOUND", 2);
    expect(told).toContain("add (i32, i32) -> (i32)");
    const memory = newModule('(module (memory (export "m") 1))');
    expect(await failure(["run", "--invoke", "m", memory], "BARECELL_EXPORT_NOT_FOUND", 2)).toContain(
      "no function",
    );
  });

  it("no `_start`", async () => {
    const told = await failure(["run", ADD], "BARECELL_EXPORT_NOT_FOUND", 2);
    expect(told).toContain("--invoke");
    expect(told).toContain("add64 (i64, i64) -> (i64)");
  });

  it("an imported memory, table or global", async () => {
    for (const [kind, text] of [
      ["memory", '(import "env" "it" (memory 1))'],
      ["table", '(import "env" "it" (table 1 funcref))'],
      ["global", '(import "env" "it" (global i32))'],
    ]) {
      const module = newModule(`(module ${text} (func (export "_start")))`);
      const told = await failure(["run", module], "BARECELL_MODULE_UNSUPPORTED", 1);
      expect(told).toContain(`imports the ${kind} 'env.it'`);
    }
  });

  it("an import that nobody grants", async () => {
    const module = newModule('(module (import "env" "f" (func)) (func (export "_start")))');
    expect(await failure(["run", module], "BARECELL_IMPORT_DENIED", 2)).toContain("env.f");
  });

  it("a WASI function of another type", async () => {
    const module = newModule(
      '(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64))) (func (export "_start")))',
    );
    expect(await failure(["run", module], "BARECELL_IMPORT_DENIED", 2)).toContain("proc_exit");
  });

  it.each(["compile", "inspect"])("are refused by %s too", async (command) => {
    await failure([command, newFile("a.wasm", "text")], "BARECELL_MODULE_INVALID", 1);
  });
});

describe("paths", () => {
  it("that do not exist", async () => {
    expect(await failure(["run", "/nonexistent/x.wasm"], "BARECELL_FILE_UNREADABLE", 2)).toContain(
      "does not exist",
    );
  });

  it("of a folder", async () => {
    expect(await failure(["run", newFolder()], "BARECELL_FILE_UNREADABLE", 2)).toContain("it is a directory");
  });

  it("for output that cannot be written", async () => {
    await failure(["compile", ADD, "-o", "/nonexistent/x.cell"], "BARECELL_FILE_UNWRITABLE", 1);
    await failure(["compile", ADD, "-o", newFolder()], "BARECELL_FILE_UNWRITABLE", 1);
  });
});

describe("images", () => {
  let bytes: Buffer;
  beforeAll(async () => {
    const path = join(newFolder(), "hello.cell");
    expect((await cli(["compile", HELLO, "-o", path])).status).toBe(0);
    bytes = readFileSync(path);
  });

  /** With the digest made right again, as an attacker or an honest other version would. */
  function altered(change: (copy: Buffer) => void): string {
    const copy = Buffer.from(bytes);
    change(copy);
    const { digest } = readNotes(readElf(copy));
    digest.set(fileDigest(copy, digest));
    return newFile("a.cell", copy);
  }

  it("of another ABI version", async () => {
    const header = altered((copy) => {
      const page = readElf(copy).segments.find((segment) => segment.physicalAddress === BC_TABLES_GPA);
      copy.writeBigUInt64LE(BigInt(BC_ABI_VERSION + 1), (page?.offset ?? 0) + BC_HEADER_ABI_VERSION);
    });
    expect(await failure(["run", header], "BARECELL_IMAGE_VERSION", 1)).toContain("compile the module again");
    const manifest = altered((copy) => {
      const at = copy.indexOf(`"abiVersion":${BC_ABI_VERSION}`);
      copy.write(`"abiVersion":9`, at);
    });
    await failure(["run", manifest], "BARECELL_IMAGE_VERSION", 1);
  });

  it("with any byte changed", async () => {
    for (let i = 0; i < 12; i++) {
      const copy = Buffer.from(bytes);
      const at = Math.floor(((i + 0.5) * bytes.length) / 12);
      copy[at] = (copy[at] ?? 0) ^ 0x10;
      await failure(["run", newFile("a.cell", copy)], "BARECELL_IMAGE_INVALID", 1);
    }
  });

  it("cut off anywhere", async () => {
    for (const length of [4, 63, 64, 5000, Math.floor(bytes.length / 2), bytes.length - 1]) {
      await failure(["run", newFile("a.cell", bytes.subarray(0, length))], "BARECELL_IMAGE_INVALID", 1);
    }
  });

  it("with page tables that say more than the segments", async () => {
    const path = altered((copy) => {
      const tables = readElf(copy).segments.find((segment) => segment.flags % 8 === 0 && segment.type === 1);
      const at = tables?.offset ?? 0;
      copy.writeBigUInt64LE(copy.readBigUInt64LE(at) ^ 4n, at);
    });
    await failure(["run", path], "BARECELL_IMAGE_INVALID", 1);
  });

  it("that are somebody else's ELF file", async () => {
    const told = await failure(["run", "/bin/sh"], "BARECELL_IMAGE_INVALID", 1);
    expect(told).toMatch(/not an intact image/);
  });

  it("given to compile", async () => {
    expect(await failure(["compile", newFile("a.cell", bytes)], "BARECELL_ARGUMENT_INVALID", 2)).toContain(
      "already",
    );
  });

  it("in the cache that were damaged are made anew", async () => {
    const cache = newFolder();
    const env = { XDG_CACHE_HOME: cache };
    const run = () => cli(["run", "--invoke", "add", ADD, "2", "3"], { env });
    await run();
    const folder = join(cache, "barecell");
    for (const name of readdirSync(folder)) writeFileSync(join(folder, name), "damaged");
    expect((await run()).stdout).toBe("5\n");
    expect(readdirSync(folder).filter((name) => name.endsWith(".cell"))).toHaveLength(1);
    // The guest's runtime is kept beside the images, and was damaged too.
    expect(readdirSync(folder)).toHaveLength(2);
  });
});
