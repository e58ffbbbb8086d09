/** `barecell compile` of several modules, and what the other commands make of such an image. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { wat } from "../support/modules.ts";
import { cli, failure, jsonOf, newFile, newFolder, newModule } from "./support.ts";

const RUNTIME = `(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1 2) (data (i32.const 0) "\\08\\00\\00\\00\\03\\00\\00\\00low") (global (export "level") (mut i32) (i32.const 1))
  (func (export "say") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
  (func (export "check") (param i32) (result i32) (if (i32.eqz (local.get 0)) (then unreachable)) (local.get 0)))`;
const APP = `(module (import "env" "say" (func $say)) (import "env" "memory" (memory 1)) (import "env" "check" (func $check (param i32) (result i32)))
  (func (export "_start") (call $say)) (func (export "add") (param i32 i32) (result i32) (i32.add (call $check (local.get 0)) (local.get 1))))`;

/** Two files; the second one imports from the first, which is named `env`. */
function pair(): { folder: string; args: string[] } {
  const folder = newFolder();
  return { folder, args: [`env=${newModule(RUNTIME, "runtime")}`, newModule(APP, "app")] };
}

describe("compile", () => {
  it("name=file.wasm for each, or the file's own name; the last one is the program", async () => {
    const { folder, args } = pair();
    const image = join(folder, "whole.cell");
    const made = await cli(["compile", "--json", "-o", image, ...args]);
    expect(made.stderr).toBe("");
    expect(jsonOf(made)).toMatchObject({
      ok: true,
      image,
      name: "app",
      modules: ["env", "app"],
      cached: false,
    });
    const again = await cli(["compile", "--json", "-o", image, ...args]);
    expect(jsonOf(again)).toMatchObject({ cached: true });
    expect(await cli(["run", image])).toMatchObject({ status: 0, stdout: "low", stderr: "" });
    expect((await cli(["run", "--invoke", "add", image, "2", "3"])).stdout).toBe("5\n");
    const trap = await cli(["run", "--invoke", "add", image, "0", "3"]);
    expect(trap.status).not.toBe(0);
    expect(trap.stderr).toContain("BARECELL_TRAP_UNREACHABLE");
    expect(trap.stderr).not.toMatch(/w2c_/);
  });

  it("writes beside the last module, and takes one module with a name as well", async () => {
    const { folder, args } = pair();
    const app = newFile("program.wasm", wat("app", APP));
    expect((await cli(["compile", args[0] as string, `other=${app}`], { cwd: folder })).status).toBe(0);
    expect(existsSync(app.replace(/\.wasm$/, ".cell"))).toBe(true);
    const single = join(folder, "single.cell");
    const made = await cli(["compile", "--json", "-o", single, args[0] as string]);
    expect(jsonOf(made)).toMatchObject({ name: "env", modules: ["env"] });
  });

  it("a path that has '=' in it is a path, if a '/' comes before", async () => {
    const folder = newFolder();
    const odd = newFile("a=b.wasm", wat("odd", "(module)"));
    const made = await cli(["compile", "--json", "-o", join(folder, "x.cell"), odd]);
    expect(jsonOf(made)).toMatchObject({ ok: true, name: "a=b" });
    const two = await cli(["compile", "--json", "-o", join(folder, "y.cell"), odd, `c=${odd}`]);
    expect(jsonOf(two)).toMatchObject({ modules: ["a=b", "c"] });
  });
});

describe("compile refuses", () => {
  it.each([
    ["an empty name", () => ["=x.wasm", newModule(APP)], "is not name=file.wasm"],
    ["an empty file", () => ["env=", newModule(APP)], "is not name=file.wasm"],
    ["two of one name", () => [`a=${newModule(RUNTIME)}`, `a=${newModule("(module)")}`], "the name 'a'"],
    ["--name", () => ["--name", "x", ...pair().args], "--name is for a single module"],
  ] as const)("%s", async (_, args, message) => {
    const told = await failure(["compile", ...args()], "BARECELL_ARGUMENT_INVALID", 2);
    expect(told).toContain(message);
  });

  it("modules in the wrong order, and imports of another type, by name", async () => {
    const { args } = pair();
    const [env, app] = args as [string, string];
    expect(await failure(["compile", `app=${app}`, env], "BARECELL_LINK_FAILED", 1)).toContain("comes later");
    const other = newModule(`(module (import "env" "check" (func (param i64))))`, "other");
    const told = await failure(["compile", env, other], "BARECELL_LINK_FAILED", 1);
    expect(told).toContain("'other' cannot import 'env.check'");
  });

  it("what is no module, by its name", async () => {
    const { args } = pair();
    const told = await failure(
      ["compile", `bad=${newFile("bad.wasm", "text")}`, ...args],
      "BARECELL_MODULE_INVALID",
      1,
    );
    expect(told).toContain("'bad': not WebAssembly");
    const missing = await failure(["compile", "none=/nowhere.wasm", ...args], "BARECELL_FILE_UNREADABLE", 2);
    expect(missing).toContain("'none'");
  });

  it("an image among modules", async () => {
    const { folder, args } = pair();
    const image = join(folder, "x.cell");
    await cli(["compile", "-o", image, ...args]);
    await failure(["compile", `x=${image}`, args[1] as string], "BARECELL_MODULE_INVALID", 1);
  });
});

describe("inspect", () => {
  it("shows each module, its exports and imports, and all memories", async () => {
    const { folder, args } = pair();
    const image = join(folder, "whole.cell");
    await cli(["compile", "-o", image, ...args]);
    const object = jsonOf(await cli(["inspect", "--json", image]));
    expect(object).toMatchObject({
      name: "app",
      modules: [
        { name: "env", memory: 0, hasStart: false },
        { name: "app", memory: 0, hasStart: false },
      ],
      memories: [{ minBytes: 65_536, maxBytes: 131_072 }],
      imports: [{ module: "wasi_snapshot_preview1", name: "fd_write", importer: "env", port: "0x400" }],
    });
    const { stdout } = await cli(["inspect", image]);
    for (const text of [
      "module env",
      "module app",
      "Exports of env",
      "Exports of app",
      "mutable i32",
      "64 KiB, at most 128 KiB",
    ]) {
      expect(stdout).toContain(text);
    }
  });

  it("steers no terminal by a module's name", async () => {
    const image = join(newFolder(), "x.cell");
    const made = await cli([
      "compile",
      "-o",
      image,
      `evil\u001b[31m\n=${newModule(RUNTIME)}`,
      newModule("(module)", "b"),
    ]);
    expect(made.status).toBe(0);
    const { stdout } = await cli(["inspect", image]);
    expect(stdout).toContain("evil\\u{1b}[31m\\n");
    expect(stdout).not.toContain("\u001b");
  });
});
