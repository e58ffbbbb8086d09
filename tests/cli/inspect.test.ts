/** `barecell compile` and `barecell inspect`. */
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ADD, cli, HELLO, jsonOf, newFolder, newModule } from "./support.ts";

describe("compile", () => {
  it("writes beside the module, ending in .cell", async () => {
    const folder = newFolder();
    copyFileSync(ADD, join(folder, "sum.wasm"));
    const run = await cli(["compile", "sum.wasm"], { cwd: folder });
    expect(run.status).toBe(0);
    expect(run.stdout).toMatch(/^sum\.cell: [\d.]+ KiB, /);
    expect(readFileSync(join(folder, "sum.cell")).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
  });

  it("--json says what it made", async () => {
    const image = join(newFolder(), "x.cell");
    const run = await cli(["compile", "--json", "--name", "the sum", ADD, "--output", image]);
    expect(run.stderr).toBe("");
    expect(jsonOf(run)).toEqual({
      ok: true,
      image,
      name: "the sum",
      modules: ["the sum"],
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      sizeBytes: readFileSync(image).length,
      cached: false,
      snapshot: false,
      compileUs: expect.any(Number),
    });
    expect((await cli(["inspect", image])).stdout).toMatch(/^the sum\n/);
  });

  it("does not need KVM, and writes nothing when it fails", async () => {
    const image = join(newFolder(), "x.cell");
    const run = await cli(["compile", newModule('(module (import "a" "b" (memory 1)))'), "-o", image]);
    expect(run.status).toBe(1);
    expect(existsSync(image)).toBe(false);
  });
});

describe("inspect", () => {
  it("--json has it all", async () => {
    const object = jsonOf(await cli(["inspect", "--json", HELLO]));
    expect(Object.keys(object)).toEqual([
      ...[
        "ok",
        "name",
        "module",
        "modules",
        "abiVersion",
        "targetCpu",
        "metering",
        "producer",
        "digest",
        "sizeBytes",
        "exports",
        "imports",
      ],
      ...["hasStart", "memory", "memories", "tables", "bundles", "stackBytes", "segments", "memoryMap"],
    ]);
    expect(object["exports"]).toContainEqual({
      name: "_start",
      kind: "func",
      type: { params: [], results: [] },
    });
    expect((object["imports"] as unknown[])[6]).toEqual({
      module: "wasi_snapshot_preview1",
      name: "fd_write",
      type: { params: ["i32", "i32", "i32", "i32"], results: ["i32"] },
      importer: "hello",
      port: "0x406",
    });
    expect(object["memory"]).toEqual({ minBytes: 65536, maxBytes: null });
  });

  it("shows W^X segments, and the ranges that are never mapped", async () => {
    const object = jsonOf(await cli(["inspect", "--json", HELLO]));
    const segments = object["segments"] as { purpose: string; permissions: string; ring: number }[];
    for (const { permissions } of segments) expect(permissions).not.toMatch(/wx/);
    expect(segments).toContainEqual(
      expect.objectContaining({ purpose: "code", permissions: "r-x", ring: 3 }),
    );
    expect(segments).toContainEqual(
      expect.objectContaining({ purpose: "page tables", permissions: "---", ring: 0 }),
    );
    const map = object["memoryMap"] as { from: string; to: string; what: string }[];
    expect(map[0]).toMatchObject({ from: "0x0", to: "0x10000", what: "linear memory" });
    expect(map.map(({ what }) => what)).toEqual(
      expect.arrayContaining([
        "never mapped: past the end of linear memory",
        "never mapped: the hole below the stack",
      ]),
    );
    for (let i = 1; i < map.length; i++) {
      expect(Number(map[i]?.from)).toBeGreaterThanOrEqual(Number(map[i - 1]?.to));
    }
  });

  it("says the same of a module and of its image", async () => {
    const image = join(newFolder(), "hello.cell");
    await cli(["compile", HELLO, "-o", image]);
    const [ofModule, ofImage] = [await cli(["inspect", HELLO]), await cli(["inspect", image])];
    expect(ofModule.stdout).toBe(ofImage.stdout);
    for (const text of [
      "0x406  wasi_snapshot_preview1.fd_write",
      "_start",
      "64 KiB, no maximum",
      "code ",
      "Memory map",
    ]) {
      expect(ofModule.stdout).toContain(text);
    }
  });
});
