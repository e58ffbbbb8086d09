/** wasm2c needs a stack that npm's does not have; it gets one on its first thread where the system allows it, and else on a thread of its own. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { BARECELL_URL, compile, MicroVM } from "../support/barecell.ts";

const leb = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)]);
const section = (id: number, content: number[]): number[] => [id, ...leb(content.length), ...content];

/** `f(x) = x`, behind so many blocks in blocks, for each of which wasm2c calls itself; it allows 16,384. */
function nested(depth: number): Uint8Array {
  const body = [
    0,
    ...Array<number[]>(depth).fill([0x02, 0x40]).flat(),
    ...Array<number>(depth).fill(0x0b),
    0x20,
    0,
    0x0b,
  ];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7f]),
    ...section(3, [1, 0]),
    ...section(7, [1, 1, 0x66, 0, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]);
}

describe("a module that nests deeply", () => {
  const bytes = nested(16_000);
  const folder = mkdtempSync(join(tmpdir(), "barecell-tool-stack-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("is compiled", async () => {
    const vm = MicroVM.bootSync(await compile(bytes, { name: "nested", cache: false, optimize: 0 }));
    try {
      expect(vm.callSync("f", 5)).toBe(5);
    } finally {
      vm.dispose();
    }
  });

  it("is compiled to the same image where no process may have a larger stack", async () => {
    const { digest } = await compile(bytes, { name: "nested", cache: false, optimize: 0 });
    const path = join(folder, "nested.wasm");
    writeFileSync(path, bytes);
    const script = `import { compile } from ${JSON.stringify(BARECELL_URL)};
      console.log((await compile(${JSON.stringify(path)}, { cache: false, optimize: 0 })).digest)`;
    const limited = ["-c", 'ulimit -Ss 8192; ulimit -Hs 65536; exec "$@"', "sh"];
    const words = [process.execPath, "--input-type=module", "-e", script];
    expect(execFileSync("sh", [...limited, ...words], { encoding: "utf8" }).trim()).toBe(digest);
  });
});
