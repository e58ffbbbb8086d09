/** Several linear memories in one VM: sizes, limits, who sees which, and what a trap in them looks like. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { BARECELL_URL, type GuestFrame, MicroVM } from "../support/barecell.ts";
import { isSvm, slowness, soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, imageOfModules, type NamedText, withVm } from "../support/modules.ts";

const PAGE = 65_536;
const OOB = "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY";
const KEEP = { afterTrap: "keep" } as const;

const FEW = `(func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0))) (func (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))`;
const FUNCTIONS = `${FEW} (func (export "size") (result i32) (memory.size))
  (func (export "far") (param i32) (result i64) (i64.load offset=0xffffffff (local.get 0)))
  (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (export "grow_often") (param $times i32)
    (loop $more (drop (memory.grow (i32.const 1)))
      (i32.store8 (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)) (i32.const 77))
      (br_if $more (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))`;
const withMemory = (name: string, memory: string, more = "", functions = FUNCTIONS): NamedText => [
  name,
  `(module (memory (export "m") ${memory}) ${more} ${functions})`,
];

describe("limits", () => {
  it("maxMemoryBytes is the sum over all memories, at the start and when they grow", async () => {
    const image = await imageOfModules([withMemory("a", "1"), withMemory("b", "2 5")]);
    const error = await failure(
      () => MicroVM.boot(image, { maxMemoryBytes: 3 * PAGE - 1 }),
      "BARECELL_MEMORY_LIMIT",
    );
    expect(error.message).toContain("3 pages");
    await withVm(image, { maxMemoryBytes: 7 * PAGE - 1 }, (vm) => {
      const [a, b] = [vm.module("a"), vm.module("b")];
      expect(a.callSync("grow", 4)).toBe(-1);
      expect(b.callSync("grow", 4), "its own maximum").toBe(-1);
      expect(b.callSync("grow", 2)).toBe(2);
      expect(a.callSync("grow", 2)).toBe(-1);
      expect(a.callSync("grow", 1)).toBe(1);
      expect([a.callSync("grow", 1), b.callSync("grow", 1)]).toEqual([-1, -1]);
      expect([a.memory.byteLength, b.memory.byteLength, vm.memory.byteLength]).toEqual(
        [2, 4, 4].map((n) => n * PAGE),
      );
      expect([a.callSync("grow", 0), b.callSync("grow", 0)]).toEqual([2, 4]);
    });
  });

  // The compiler runs once for each; from number 29 on they lie above 512 GiB, under another entry of the root page table.
  it("34 memories, each with an end of its own", async () => {
    const image = await imageOfModules(
      Array.from({ length: 34 }, (_, i) =>
        withMemory(`m${i}`, `${i % 3}`, i % 3 > 0 ? `(data (i32.const ${i}) "data of ${i}")` : "", FEW),
      ),
      { optimize: 0 },
    );
    expect(image.modules.map(({ memory }) => memory)).toEqual([
      ...Array.from({ length: 33 }, (_, i) => i + 1),
      0,
    ]);
    await withVm(image, { ...KEEP, timeoutMs: 10_000 * slowness }, async (vm) => {
      for (const [i, module] of vm.modules.entries()) {
        const text = `data of ${i}`;
        if (i % 3 > 0) expect(Buffer.from(module.memory.read(i, text.length)).toString()).toBe(text);
        expect(module.callSync("grow", 1)).toBe(i % 3);
        module.callSync("poke", (i % 3) * PAGE, i);
      }
      for (const [i, module] of vm.modules.entries()) {
        expect(module.callSync("peek", (i % 3) * PAGE)).toBe(i);
        expect(module.memory.byteLength).toBe(((i % 3) + 1) * PAGE);
      }
      const last = vm.module("m32");
      const error = await failure(() => last.call("peek", 3 * PAGE), OOB);
      expect(error.message).toContain(`address ${3 * PAGE} of memory 33`);
    });
  });

  it("of 4 GiB and of nothing at all, the main module's an imported one", async () => {
    const image = await imageOfModules([
      withMemory("big", "65536"),
      withMemory("empty", "0 65536"),
      ["main", `(module (import "empty" "m" (memory 0)) ${FUNCTIONS})`],
    ]);
    expect(image.modules.map(({ memory }) => memory)).toEqual([1, 0, 0]);
    await failure(() => MicroVM.boot(image), "BARECELL_MEMORY_LIMIT");
    const options = { ...KEEP, maxMemoryBytes: 2 ** 33, timeoutMs: (isSvm ? 60 : 10) * 1000 };
    await withVm(image, options, async (vm) => {
      const [big, empty] = [vm.module("big"), vm.module("empty")];
      big.callSync("poke", -1, 7);
      expect(big.memory.read(2 ** 32 - 1, 1)[0]).toBe(7);
      for (const [at, address] of [
        [0, 2 ** 32],
        [-1, 2 ** 33 - 2],
      ] as const) {
        const error = await failure(() => big.call("far", at), OOB);
        expect(error.message).toContain(`read at address ${address} of memory 1`);
      }
      await failure(() => big.call("fill", -1, 1, 2), OOB);
      expect(big.callSync("peek", -1)).toBe(7);
      expect(big.callSync("grow", 1)).toBe(-1);
      await failure(() => vm.call("peek", 0), OOB);
      expect(empty.callSync("grow", 65_537)).toBe(-1);
      expect(empty.callSync("grow", 65_536)).toBe(0);
      vm.callSync("poke", -1, 9);
      expect([empty.callSync("peek", -1), big.callSync("peek", -1), vm.callSync("size")]).toEqual([
        9, 7, 65_536,
      ]);
      await failure(() => vm.call("far", 0), OOB);
    });
  });

  it("data segments may be scattered over a memory", async () => {
    // Each cuts a large page in two, and the tables for that must be there.
    const step = 3 * 2 ** 20 + 4096;
    const places = Array.from({ length: 14 }, (_, i) => i * step + 100);
    const segments = places
      .map((at, i) => `(data (i32.const ${at}) "${String.fromCharCode(65 + i)}")`)
      .join(" ");
    const image = await imageOfModules([
      withMemory("a", "1024", segments),
      withMemory("b", "1024", segments),
    ]);
    await withVm(image, {}, (vm) => {
      for (const module of vm.modules) {
        places.forEach((at, i) => {
          expect([module.callSync("peek", at - 1), module.callSync("peek", at)]).toEqual([0, 65 + i]);
        });
      }
    });
  });

  it("a module without one has a view of no bytes", async () => {
    const image = await imageOf("none", `(module (func (export "f")))`);
    await withVm(image, {}, async (vm) => {
      expect(vm.memory.byteLength).toBe(0);
      expect(vm.memory.read(0, 0)).toEqual(new Uint8Array(0));
      await failure(() => vm.memory.read(0, 1), "BARECELL_MEMORY_RANGE");
      await failure(() => vm.memory.write(0, new Uint8Array(1)), "BARECELL_MEMORY_RANGE");
    });
  });
});

describe("beside a running guest", async () => {
  const image = await imageOfModules([withMemory("a", "1"), withMemory("b", "1"), withMemory("main", "1")]);

  it("the host sees a memory grow, and never a byte that is not there", () =>
    withVm(image, { timeoutMs: 20_000 * slowness }, async (vm) => {
      const { memory } = vm.module("b");
      let isOver = false;
      const call = vm
        .module("b")
        .call("grow_often", 600)
        .finally(() => {
          isOver = true;
        });
      let before = PAGE;
      while (!isOver) {
        const size = memory.byteLength;
        expect(size).toBeGreaterThanOrEqual(before);
        expect(size % PAGE).toBe(0);
        before = size;
        memory.read(size - 1, 1);
        memory.write(size - 2, Uint8Array.of(1));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await call;
      expect(memory.byteLength).toBe(601 * PAGE);
      for (let page = 2; page <= 601; page++) expect(memory.read(page * PAGE - 1, 1)[0]).toBe(77);
      expect([vm.memory.byteLength, vm.module("a").memory.byteLength]).toEqual([PAGE, PAGE]);
    }));

  it("in worker threads too", async () => {
    const linked = await imageOfModules([
      withMemory("a", "0"),
      [
        "main",
        `(module (import "a" "m" (memory 0)) (import "a" "grow" (func $grow (param i32) (result i32)))
          (func (export "add") (param i32 i32) (result i32) (drop (call $grow (i32.const 1)))
            (i32.store (i32.const 4) (local.get 0)) (i32.add (i32.load (i32.const 4)) (local.get 1))))`,
      ],
    ]);
    const folder = mkdtempSync(join(tmpdir(), "barecell-memories-"));
    try {
      const path = join(folder, "linked.cell");
      await linked.save(path);
      const results = Array.from({ length: 2 }, async () => {
        const worker = new Worker(new URL("worker.mjs", import.meta.url), {
          workerData: { url: BARECELL_URL, image: path, vms: 2, afterwards: "dispose", slowness },
        });
        const message = new Promise((resolve, reject) => {
          worker.on("message", resolve);
          worker.on("error", reject);
        });
        const exit = new Promise((resolve) => worker.on("exit", resolve));
        expect(await soon("a worker's results", message)).toEqual({ results: [42, 3, 42, 3] });
        expect(await soon("the end of a worker", exit)).toBe(0);
      });
      await Promise.all(results);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("host imports of several modules", async () => {
  const FD_WRITE = `(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))`;
  const SAY = `(func (export "say") (result i32) (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))`;
  /** A list of one buffer of 3 bytes at 8. */
  const text = (word: string): string => `(data (i32.const 0) "\\08\\00\\00\\00\\03\\00\\00\\00${word}")`;
  const image = await imageOfModules([
    ["a", `(module ${FD_WRITE} (memory (export "m") 1) ${text("AAA")} ${SAY})`],
    ["b", `(module ${FD_WRITE} (memory 1) ${text("BBB")} ${SAY} (export "write" (func $write)))`],
    ["none", `(module ${FD_WRITE} ${SAY})`],
    [
      "main",
      `(module (import "b" "say" (func $say (result i32))) (import "a" "m" (memory 1)) ${FD_WRITE}
        (import "b" "write" (func $of_b (param i32 i32 i32 i32) (result i32))) ${SAY} (func (export "say b") (result i32) (call $say))
        (func (export "write of b") (result i32) (call $of_b (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))`,
    ],
  ]);

  it("each has a port of its own, and WASI means the importing module's memory", () =>
    withVm(image, { wasi: { stdout: "capture" } }, (vm) => {
      const said = (module: string, name = "say"): [unknown, string] => {
        const result = vm.module(module).callSync(name);
        return [result, Buffer.from(vm.stdout()).toString()];
      };
      expect(image.imports.map(({ importer }) => importer)).toEqual([0, 1, 2, 3]);
      expect(said("a")).toEqual([0, "AAA"]);
      expect(said("b")).toEqual([0, "BBB"]);
      expect(said("main")).toEqual([0, "AAA"]);
      expect(said("main", "say b")).toEqual([0, "BBB"]);
      expect(said("main", "write of b"), "who imported it, not who calls it").toEqual([0, "BBB"]);
      expect(said("none"), "EFAULT: it has no memory").toEqual([21, ""]);
      expect(vm.module("b").memory.read(16, 1)[0]).toBe(3);
    }));
});

describe("backtraces", async () => {
  const short = (frames: readonly GuestFrame[]): string[] =>
    frames.map(({ name, module, functionIndex }) => `${module}.${name}#${functionIndex}`);
  const image = await imageOfModules(
    [
      [
        "low",
        `(module (import "env" "closed" (func $closed)) (table (export "t") 2 funcref) (export "closed" (func $closed))
        (func $trap (export "trap") (param i32) (result i32) (if (i32.eqz (local.get 0)) (then unreachable)) (local.get 0))
        (func $ask (export "ask") (call $closed)))`,
      ],
      [
        "high",
        `(module (import "low" "trap" (func $down (param i32) (result i32))) (import "low" "ask" (func $ask)) (import "low" "closed" (func $closed))
        (import "low" "t" (table 2 funcref)) (elem (i32.const 0) $down) (export "trap again" (func $down))
        (func $middle (param i32) (result i32) (i32.add (call $down (local.get 0)) (i32.const 1)))
        (func (export "run") (param i32) (result i32) (i32.add (call $middle (local.get 0)) (i32.const 1)))
        (func (export "through") (param i32) (result i32) (i32.add (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)) (i32.const 1)))
        (func (export "ask") (call $ask)) (func (export "ask directly") (call $closed)))`,
      ],
    ],
    { optimize: 0 },
  );

  it.each([
    ["run", [0], ["low.trap#1", "high.middle#3", "high.run#4"]],
    ["through", [0], ["low.trap#1", "high.through#5"]],
    ["trap again", [0], ["low.trap#1", "high.trap again#0"]],
    ["ask", [], ["low.env.closed#0", "low.ask#2", "high.ask#6"]],
    ["ask directly", [], ["low.env.closed#0", "high.ask directly#7"]],
  ] as const)("%s: names and modules, none of the linker's", async (name, args, expected) => {
    await withVm(image, { unknownImports: "trap" }, async (vm) => {
      try {
        await vm.call(name, ...args);
      } catch (error) {
        expect(short((error as { backtrace: GuestFrame[] }).backtrace)).toEqual(expected);
        return;
      }
      throw new Error("it did not trap");
    });
  });
});
