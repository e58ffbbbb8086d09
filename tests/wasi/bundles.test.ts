/** Files packed into an image, as an embedder sees them. What a guest can do with them in detail is tested in native/tests. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CompileOptions, Image, MicroVM, type WasiOptions } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, imageOfBytes, withVm } from "../support/modules.ts";

const words = readFileSync(new URL("../../examples/words/words.wasm", import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "barecell-bundles-"));
  writeFileSync(join(folder, "mine"), "of the host\n");
});
afterAll(() => rmSync(folder, { recursive: true }));

const bundle = { "/data": { "in/a": "one two\n", b: "three" }, "/more": { c: "" } };
const counts = (lines: number, words: number, bytes: number, name: string): string =>
  `${[lines, words, bytes].map((number) => String(number).padStart(8)).join(" ")} ${name}\n`;
const ALL_OF_DATA = counts(0, 1, 5, "/data/b") + counts(1, 2, 8, "/data/in/a") + counts(1, 3, 13, "total");

const pack = (options: CompileOptions = { bundle }): Promise<Image> => imageOfBytes(words, options);

/** What `words` prints of paths, and its status. */
function count(image: Image, paths: readonly string[], wasi: WasiOptions = {}) {
  const streams = { stdout: "capture", stderr: "capture" } as const;
  return withVm(image, { wasi: { args: ["words", ...paths], ...streams, ...wasi } }, async (vm) => {
    const status = await vm.start();
    const [stdout, stderr] = [vm.stdout(), vm.stderr()].map((bytes) => Buffer.from(bytes).toString());
    return { status, stdout, stderr };
  });
}

describe("files of an image", () => {
  it("are there for a guest with WASI, and nothing else is", async () => {
    const image = await pack();
    expect(await count(image, ["/data"])).toEqual({ status: 0, stdout: ALL_OF_DATA, stderr: "" });
    expect((await count(image, ["/more/c"])).stdout).toBe(counts(0, 0, 0, "/more/c"));
    const outside = await count(image, ["/data/../more/c", "/data/missing", "/etc/passwd"]);
    expect(outside).toMatchObject({ status: 1, stdout: "" });
    expect(outside.stderr?.split("\n")).toHaveLength(4);
  });

  it("travel with its file", async () => {
    const path = join(folder, "words.cell");
    const image = await pack();
    await image.save(path);
    const loaded = await Image.load(path);
    rmSync(path);
    expect(loaded.digest).toBe(image.digest);
    expect((await count(loaded, ["/data"])).stdout).toBe(ALL_OF_DATA);
  });

  it("do not get into the cache of compiled modules, which knows only code", async () => {
    const steps: string[] = [];
    const other = await pack({ bundle: { "/data": { b: "other" } }, onProgress: (step) => steps.push(step) });
    expect(steps).toContain("cached");
    expect((await count(other, ["/data/b"])).stdout).toBe(counts(0, 1, 5, "/data/b"));
    expect((await pack({})).bundles).toEqual([]);
    expect((await count(await pack({}), ["/data/b"])).status).toBe(1);
  });

  it("can be left out by who boots", async () => {
    const image = await pack();
    expect(await count(image, ["/data"], { bundles: false })).toMatchObject({ status: 1, stdout: "" });
    await failure(() => count(image, [], { bundles: 1 as unknown as boolean }), "BARECELL_ARGUMENT_INVALID");
  });

  it.each(["/data", "/data/"])("are hidden by a directory at %s of who boots", async (guest) => {
    const image = await pack();
    const ended = await count(image, ["/data/mine", "/data/b", "/more/c"], { preopens: { [guest]: folder } });
    expect(ended.stdout).toBe(
      counts(1, 3, 12, "/data/mine") + counts(0, 0, 0, "/more/c") + counts(1, 3, 12, "total"),
    );
    expect(ended.status).toBe(1);
  });

  it("come after directories of who boots, and count as open files", async () => {
    const text = `(module
      (import "wasi_snapshot_preview1" "fd_prestat_get" (func $get (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "name") (param i32) (result i32)
        (if (call $get (local.get 0) (i32.const 0)) (then (return (i32.const 0))))
        (drop (call $name (local.get 0) (i32.const 8) (i32.load (i32.const 4))))
        (i32.load (i32.const 4))))`;
    const image = await imageOf("names", text, { bundle });
    const names = (wasi: WasiOptions): Promise<string[]> =>
      withVm(image, { wasi }, (vm) =>
        [3, 4, 5, 6].map((fd) =>
          Buffer.from(vm.memory.read(8, vm.callSync("name", fd) as number)).toString(),
        ),
      );
    expect(await names({})).toEqual(["/data", "/more", "", ""]);
    expect(await names({ preopens: { "/host": folder } })).toEqual(["/host", "/data", "/more", ""]);
    expect(await names({ preopens: { "/data": folder } })).toEqual(["/data", "/more", "", ""]);
    expect(await names({ bundles: false })).toEqual(["", "", "", ""]);
    expect(await names({ limits: { openFiles: 5 } })).toEqual(["/data", "/more", "", ""]);
    await failure(() => names({ limits: { openFiles: 4 } }), "BARECELL_ARGUMENT_INVALID");
  });

  it("are no hindrance to a guest without WASI", async () => {
    const image = await imageOf("plain", '(module (func (export "f") (result i32) (i32.const 7)))', {
      bundle,
    });
    await withVm(image, {}, (vm) => expect(vm.callSync("f")).toBe(7));
  });

  it("are in memory once, however many VMs there are", async () => {
    const sizeBytes = 3 * 2 ** 20;
    const content = Buffer.alloc(sizeBytes, "word ");
    const image = await pack({ bundle: { "/data": { content } } });
    const mappings = (): number[] =>
      readFileSync("/proc/self/maps", "utf8")
        .split("\n")
        .filter((line) => line.includes("barecell-image"))
        .map((line) => {
          const [from = 0, to = 0] = (line.split(" ")[0] ?? "")
            .split("-")
            .map((hex) => Number.parseInt(hex, 16));
          return to - from;
        })
        .filter((bytes) => bytes >= sizeBytes);
    const wasi = { args: ["words", "/data/content"], stdout: "capture" } as const;
    const vms = await Promise.all(
      Array.from({ length: 8 }, () => MicroVM.boot(image, { wasi, timeoutMs: 100_000 * slowness })),
    );
    try {
      expect(mappings()).toHaveLength(1);
      const wordCount = Math.ceil(sizeBytes / 5);
      for (const status of await Promise.all(vms.map((vm) => vm.start()))) expect(status).toBe(0);
      for (const vm of vms) {
        expect(Buffer.from(vm.stdout()).toString()).toBe(counts(0, wordCount, sizeBytes, "/data/content"));
      }
      expect(mappings()).toHaveLength(1);
    } finally {
      for (const vm of vms) vm.dispose();
    }
  });
});
