/** The benchmark's Extism plug-ins, and packages that a peer may have or not. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { buildProgram } from "../../bench/isolation/programs.ts";
import { allWorkloads } from "../../bench/isolation/registry.ts";
import type { IsolationReport } from "../../bench/isolation/result.ts";
import { peer } from "../../bench/peers/extism.ts";
import { Unavailable } from "../../bench/peers/peer.ts";
import { ENTRY, makePlugin } from "../../bench/peers/support/extism-plugin.ts";
import { optionalPackage, packageVersionOf } from "../../bench/peers/support/optional-package.ts";
import { plainImports } from "../../bench/peers/support/wasm-instance.ts";
import { cli, newFolder } from "../cli/support.ts";
import { announceSkip } from "../support/environment.ts";

const scratch = mkdtempSync(join(tmpdir(), "barecell-bench-extism-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const setting = { scratch, launcherPath: null, floorPath: null, guestInitPath: null };

/** A folder in which a package of this name is installed. */
function withPackage(name: string, about: object, code: string): string {
  const folder = newFolder();
  const place = join(folder, "node_modules", name);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, "package.json"), JSON.stringify({ name, main: "index.js", ...about }));
  writeFileSync(join(place, "index.js"), code);
  return folder;
}

/** A host of Extism's interface as its makers describe it: blocks of bytes with 64-bit addresses, here one after the other from 4096 on. */
function call(plugin: Uint8Array, input: Uint8Array): Uint8Array {
  const blocks = new DataView(new ArrayBuffer(65536));
  const inputView = new DataView(input.buffer, input.byteOffset, input.byteLength);
  let next = 4096;
  let output = new Uint8Array();
  const host = {
    input_length: () => BigInt(input.length),
    input_load_u8: (at: bigint) => inputView.getUint8(Number(at)),
    input_load_u64: (at: bigint) => inputView.getBigUint64(Number(at), true),
    alloc: (size: bigint) => {
      const at = next;
      next += Number(size);
      return BigInt(at);
    },
    store_u8: (at: bigint, value: number) => blocks.setUint8(Number(at), value),
    store_u64: (at: bigint, value: bigint) => blocks.setBigUint64(Number(at), value, true),
    output_set: (at: bigint, length: bigint) => {
      output = new Uint8Array(blocks.buffer, Number(at), Number(length)).slice();
    },
  };
  const module = new WebAssembly.Module(plugin);
  let memory: WebAssembly.Memory | undefined;
  const instance = new WebAssembly.Instance(module, {
    ...plainImports(() => memory as WebAssembly.Memory),
    "extism:host/env": host,
  });
  memory = instance.exports["memory"] as WebAssembly.Memory;
  expect((instance.exports[ENTRY] as () => number)()).toBe(0);
  return output;
}

describe("an Extism plug-in", () => {
  it("of each workload comes to its result, and gives out what the workload does", async () => {
    for (const workload of (await allWorkloads()).filter(({ source }) => source !== null)) {
      const program = await buildProgram(workload, setting, true);
      const plugin = await makePlugin(readFileSync(program.wasmPath), program.input !== null);
      const input = program.input ?? new Uint8Array(BigUint64Array.of(BigInt(program.n)).buffer);
      const output = call(plugin, Uint8Array.from(input));
      if (program.output !== null) expect(Buffer.from(output)).toEqual(Buffer.from(program.output));
      else expect(Buffer.from(output).readBigUInt64LE(), program.name).toBe(BigInt(program.expected));
    }
  }, 120_000);

  it("hands over inputs of any length, byte for byte", async () => {
    // A function that answers with what it got: 0 to 17 bytes are words, bytes, and both.
    const echo = readFileSync(new URL("../../bench/workloads/wasm/echo.wasm", import.meta.url));
    const plugin = await makePlugin(echo, true);
    for (let length = 0; length < 18; length++) {
      const body = "abcdefghijklmnopq".slice(0, length);
      const request = `POST /echo HTTP/1.1\r\nContent-Length: ${length}\r\n\r\n${body}`;
      const answer = Buffer.from(call(plugin, Uint8Array.from(Buffer.from(request)))).toString();
      expect(answer).toMatch(new RegExp(`Content-Length: ${length}\r\n\r\n${body}$`));
    }
  }, 60_000);

  it("is made of a module only", async () => {
    await expect(makePlugin(Buffer.from("no module"), false)).rejects.toThrow();
  });
});

describe("a package that a peer needs", () => {
  const from = (folder: string) => vi.spyOn(process, "cwd").mockReturnValue(folder);

  it("is taken from where the user is, and its version read, though it does not export it", () => {
    const about = { version: "7.8.9", exports: { ".": "./index.js" } };
    from(withPackage("@bench/some", about, "module.exports = {};"));
    expect(packageVersionOf("@bench/some")).toBe("7.8.9");
    expect(packageVersionOf("@bench/none")).toBe("");
    vi.restoreAllMocks();
  });

  it("is missed, or cannot be loaded, with the reason", async () => {
    from(withPackage("@bench/broken", {}, "throw new Error('built for another Node')"));
    await expect(optionalPackage("@bench/broken", "cure")).rejects.toMatchObject({
      constructor: Unavailable,
      message: "the package @bench/broken cannot be loaded: built for another Node",
      install: "cure",
    });
    await expect(optionalPackage("@bench/none", "cure")).rejects.toThrow(/@bench\/none is not installed/);
    vi.restoreAllMocks();
  });

  it("is listed with its version when it is not one that is known", async () => {
    const cwd = withPackage("@extism/extism", { version: "0.5.0" }, "exports.Context = class {};");
    const out = newFolder();
    const names = ["--peers", "extism,v8", "--workload", "nothing", "--samples", "4", "--out", out];
    const run = await cli(["bench", "isolation", "--quick", ...names], { cwd });
    expect(run.status, run.stderr).toBe(0);
    const report = JSON.parse(readFileSync(join(out, "report.json"), "utf8")) as IsolationReport;
    expect(report.peers).toMatchObject([
      { name: "v8", status: "measured" },
      {
        name: "extism",
        status: "unavailable",
        reason: expect.stringMatching(/@extism\/extism 0\.5\.0 .*createPlugin/),
        install: expect.stringContaining("npm install @extism/extism"),
      },
    ]);
  }, 60_000);
});

describe("Extism itself", () => {
  let isThere = true;
  try {
    createRequire(import.meta.url).resolve("@extism/extism");
  } catch {
    isThere = false;
    announceSkip("Extism itself", "the package @extism/extism is not installed");
  }

  it.skipIf(!isThere)(
    "runs all workloads",
    async () => {
      expect((await peer.available(setting)).version).toMatch(/@extism\/extism \d/);
      for (const workload of (await allWorkloads()).filter(({ source }) => source !== null)) {
        const program = await buildProgram(workload, setting, true);
        const prepared = await peer.prepare(program, setting);
        const { result, output } = await prepared.request();
        expect(result, program.name).toBe(program.expected);
        expect(output).toEqual(program.output);
        await prepared.dispose();
      }
    },
    120_000,
  );
});
