/** Output that the guest keeps, and functions of the host's in TypeScript: who is called sees what was written before, in nested calls too. */
import { describe, expect, it } from "vitest";
import type { MicroVM } from "../support/barecell.ts";
import { makeFifo } from "../support/fifo.ts";
import { imageOf, withVm } from "../support/modules.ts";

const image = await imageOf(
  "output-host-functions",
  `(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "env" "look" (func $look))
    (memory (export "memory") 1)
    (data (i32.const 0) "\\10\\00\\00\\00\\01\\00\\00\\00")
    (func $say (export "say") (param $letter i32)
      (i32.store8 (i32.const 16) (local.get $letter))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func (export "main")
      (call $say (i32.const 97)) (call $say (i32.const 98))
      (call $look)
      (call $say (i32.const 99)) (call $say (i32.const 100))))`,
);
const code = (letter: string): number => letter.charCodeAt(0);

describe.each(["sync", "async"] as const)("%s", (mode) => {
  const main = async (vm: MicroVM): Promise<unknown> =>
    mode === "sync" ? vm.callSync("main") : vm.call("main");

  it("a host function sees what was written before it was called", async () => {
    using pipe = makeFifo();
    const seen: string[] = [];
    const imports = { env: { look: () => void seen.push(pipe.take()) } };
    await withVm(image, { imports, wasi: { stdout: { fd: pipe.writer } } }, main);
    expect(seen).toEqual(["ab"]);
    expect(pipe.take()).toBe("cd");
  });
  it("what a nested call writes comes between", async () => {
    const look = (context: { callSync(name: string, ...args: unknown[]): unknown }): void => {
      context.callSync("say", code("<"));
      context.callSync("say", code(">"));
    };
    await withVm(image, { imports: { env: { look } }, wasi: { stdout: "capture" } }, async (vm) => {
      await main(vm);
      expect(Buffer.from(vm.stdout()).toString()).toBe("ab<>cd");
    });
  });
});
