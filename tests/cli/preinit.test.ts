/** `barecell compile --preinit`: an image that begins where the module's own initialisation has ended. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { cli, failure, jsonOf, newFolder, newModule } from "./support.ts";

const MODULE = `(module
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "env" "other" (func $other))
  (memory (export "memory") 1) (global $n (mut i32) (i32.const 1))
  (func (export "_initialize") (global.set $n (i32.mul (global.get $n) (i32.const 10))))
  (func (export "init") (global.set $n (i32.add (global.get $n) (i32.const 5))))
  (func (export "close") (drop (call $close (i32.const 1))))
  (func (export "other") (call $other))
  (func (export "trap") unreachable)
  (func (export "get") (result i32) (global.get $n)))`;

describe("compile --preinit", () => {
  it("runs `_initialize` and the export once, and no run does again", async () => {
    const folder = newFolder();
    const module = newModule(MODULE, "app");
    const image = join(folder, "app.cell");
    const made = await cli(["compile", "--json", "--preinit", "init", "-o", image, module]);
    expect(made.stderr).toBe("");
    expect(jsonOf(made)).toMatchObject({ ok: true, image, name: "app", snapshot: true });
    const run = ["run", "--unknown-imports", "trap", "--invoke"];
    expect((await cli([...run, "get", image])).stdout).toBe("15\n");
    expect((await cli([...run, "get", "--boot", "direct", image])).stdout).toBe("15\n");
    expect((await cli([...run, "get", module])).stdout).toBe("10\n");
    expect((await cli(["inspect", image])).status).toBe(0);
  });
  it.each([
    ["trap", "BARECELL_TRAP_UNREACHABLE", 134],
    ["other", "BARECELL_TRAP_IMPORT_DENIED", 134],
    ["close", "BARECELL_SNAPSHOT_REFUSED", 1],
    ["nothing", "BARECELL_EXPORT_NOT_FOUND", 2],
  ])("fails as '%s' does, and writes nothing", async (name, code, status) => {
    const image = join(newFolder(), "app.cell");
    await failure(["compile", "--preinit", name, "-o", image, newModule(MODULE, "app")], code, status);
    expect(existsSync(image)).toBe(false);
  });
});
