/** What a program asks for when it starts: told without a VM exit, as the host tells it, and only where it is granted. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { BootOptions, Image, MicroVM, WasiOptions } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { occurrences, WholeVm } from "../support/whole-vm.ts";

const EBADF = 8;
const EFAULT = 21;
const ENAMETOOLONG = 37;

const ASKS = {
  args_sizes_get: "i32 i32",
  args_get: "i32 i32",
  environ_sizes_get: "i32 i32",
  environ_get: "i32 i32",
  fd_prestat_get: "i32 i32",
  fd_prestat_dir_name: "i32 i32 i32",
  fd_fdstat_get: "i32 i32",
};
const CHANGES = {
  fd_close: "i32",
  fd_renumber: "i32 i32",
  fd_fdstat_set_flags: "i32 i32",
  fd_fdstat_set_rights: "i32 i64 i64",
};
const OPEN = "path_open";
/** Name of a function, and its arguments. */
type Step = readonly [keyof typeof ASKS | keyof typeof CHANGES | typeof OPEN, ...(number | bigint)[]];

const source = (functions: Readonly<Record<string, string>>, wasi = "wasi_snapshot_preview1"): string => {
  const declared = Object.entries(functions).map(([name, params]) => {
    const given = params.split(" ").map((_, i) => `(local.get ${i})`);
    return [
      `(import "${wasi}" "${name}" (func $${name} (param ${params}) (result i32)))`,
      `(func (export "${name}") (param ${params}) (result i32) (call $${name} ${given.join(" ")}))`,
    ];
  });
  return `(module
    ${declared.map(([imported]) => imported).join("\n")}
    (import "${wasi}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "file")
    ${declared.map(([, exported]) => exported).join("\n")}
    (func (export "path_open") (param i32) (result i32)
      (call $open (local.get 0) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 72))))`;
};

let image: Image;
beforeAll(async () => {
  image = await imageOf("start-answers", source({ ...ASKS, ...CHANGES }));
});

/** Exits of one call, apart from the one that ends it. */
function exitsOf(vm: MicroVM, [name, ...args]: Step): number {
  const before = vm.exits.io;
  vm.callSync(name, ...args);
  return vm.exits.io - before - 1;
}
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const u32 = (vm: MicroVM, at: number): number => Buffer.from(vm.memory.read(at, 4)).readUInt32LE();

const TWO_FOLDERS = { "/one": { memoryBytes: 4096 }, "/another one": { memoryBytes: 4096 } } as const;
const WASI: WasiOptions = {
  args: ["program", "", "zwölf"],
  env: { KEY: "value", EMPTY: "" },
  stdout: "capture",
  preopens: TWO_FOLDERS,
};

/** All that can be asked, rightly and wrongly. */
const QUESTIONS: readonly Step[] = [
  ["args_sizes_get", 256, 260],
  ["args_sizes_get", 260, 258],
  ["args_sizes_get", 65_532, 65_533],
  ["args_sizes_get", 65_533, 65_532],
  ["args_sizes_get", -1, 0],
  ["args_get", 256, 512],
  // The strings go over the pointers, and the other way round.
  ["args_get", 256, 258],
  ["args_get", 258, 250],
  ["args_get", 65_536 - 12, 65_536 - 15],
  ["args_get", 65_536 - 11, 512],
  ["args_get", 256, 65_536 - 14],
  ["args_get", -4, -4],
  ["environ_sizes_get", 256, 260],
  ["environ_sizes_get", 65_536, 0],
  ["environ_get", 1024, 2048],
  ["environ_get", 65_530, 0],
  ...[0, 1, 2, 3, 4, 5, 6, 31, 32, 1000, -1].flatMap((fd): Step[] => [
    ["fd_prestat_get", fd, 3000],
    ["fd_prestat_get", fd, 65_529],
    ["fd_prestat_dir_name", fd, 3100, 4],
    ["fd_prestat_dir_name", fd, 3100, 3],
    ["fd_prestat_dir_name", fd, 3100, 100],
    ["fd_prestat_dir_name", fd, 65_530, 7],
    ["fd_fdstat_get", fd, 3300],
    ["fd_fdstat_get", fd, 65_513],
  ]),
];

/** What each step returns, and what it leaves in memory. */
function observe(vm: MicroVM, steps: readonly Step[]): string[] {
  return steps.map(([name, ...args]) => {
    const found = vm.callSync(name, ...args);
    const memory = createHash("sha256").update(vm.memory.read(0, 65_536)).digest("hex");
    return `${name}(${args.join()}) = ${found} ${memory.slice(0, 16)}`;
  });
}

async function expectSame(options: BootOptions, steps: readonly Step[]): Promise<number> {
  const run = (answersInGuest: boolean) =>
    withVm(image, { ...options, answersInGuest }, (vm) => ({
      found: observe(vm, steps),
      exits: vm.exits.io,
    }));
  const [inGuest, byHost] = [await run(true), await run(false)];
  expect(inGuest.found).toEqual(byHost.found);
  return byHost.exits - inGuest.exits;
}

describe.each(["staged", "direct"] as const)("%s boot", (boot) => {
  it("costs no exit, and is true", () =>
    withVm(image, { boot, wasi: WASI }, (vm) => {
      const asked: Step[] = [
        ["args_sizes_get", 256, 260],
        ["args_get", 264, 280],
        ["environ_sizes_get", 320, 324],
        ["environ_get", 328, 336],
        ["fd_prestat_get", 3, 400],
        ["fd_prestat_get", 4, 408],
        ["fd_prestat_get", 5, 416],
        ["fd_prestat_dir_name", 4, 424, 12],
        ["fd_fdstat_get", 1, 448],
      ];
      for (const step of asked) expect(exitsOf(vm, step), String(step)).toBe(0);
      expect([u32(vm, 256), u32(vm, 260)]).toEqual([3, 16]);
      expect([264, 268, 272].map((at) => u32(vm, at))).toEqual([280, 288, 289]);
      expect(text(vm.memory.read(280, 16))).toBe("program\0\0zwölf\0");
      expect([u32(vm, 320), u32(vm, 324)]).toEqual([2, 17]);
      expect(text(vm.memory.read(336, 17))).toBe("KEY=value\0EMPTY=\0");
      expect([u32(vm, 400), u32(vm, 404), u32(vm, 412)]).toEqual([0, 4, 12]);
      expect(text(vm.memory.read(424, 12))).toBe("/another one");
      // Type unknown, no flags; the right to write, among others, and none to hand on.
      expect(u32(vm, 448)).toBe(0);
      expect(u32(vm, 456) & 64).toBe(64);
      expect(vm.callSync("fd_prestat_get", 5, 0)).toBe(EBADF);
      expect(vm.callSync("fd_fdstat_get", 5, 0)).toBe(EBADF);
      expect(vm.callSync("fd_prestat_dir_name", 4, 424, 11)).toBe(ENAMETOOLONG);
      expect(vm.callSync("args_get", 65_530, 0)).toBe(EFAULT);
    }));
});

describe("the same as the host tells", () => {
  const cases: readonly (readonly [string, WasiOptions])[] = [
    ["with all of it", WASI],
    ["with nothing", {}],
    ["with fixed clock and random numbers", { ...WASI, deterministic: true }],
    ["with as many arguments as fit", { ...WASI, args: ["x".repeat(1500)] }],
    ["with more than fit", { ...WASI, args: ["x".repeat(1808)], env: { LONG: "y".repeat(4000) } }],
    [
      "with an environment that does not fit behind the arguments",
      { ...WASI, args: ["x".repeat(900)], env: { LONG: "y".repeat(900) } },
    ],
    ["with many short arguments", { ...WASI, args: new Array(1200).fill("") }],
  ];
  it.each(cases)("%s", async (_, wasi) => {
    expect(await expectSame({ wasi }, QUESTIONS)).toBeGreaterThan(0);
  });
  it("with more directories than fit", async () => {
    const preopens = Object.fromEntries(
      Array.from({ length: 60 }, (_, i) => [`/folder ${i}`, { memoryBytes: 4096 }]),
    );
    const last: Step[] = [
      ["fd_prestat_get", 62, 3000],
      ["fd_prestat_dir_name", 62, 3100, 10],
      ["fd_prestat_get", 63, 3000],
    ];
    // Arguments still need no exit.
    expect(await expectSame({ wasi: { ...WASI, preopens } }, [...QUESTIONS, ...last])).toBeGreaterThan(0);
  });
  const changes: readonly (readonly [string, readonly Step[]])[] = [
    ["a directory is closed", [["fd_close", 3]]],
    ["the last one is closed", [["fd_close", 4]]],
    ["standard output is closed", [["fd_close", 1]]],
    ["one takes the other's place", [["fd_renumber", 4, 3]]],
    ["one takes that of standard input", [["fd_renumber", 4, 0]]],
    ["none takes the place of itself", [["fd_renumber", 4, 4]]],
    ["one that is not open is closed", [["fd_close", 9]]],
    ["flags are set", [["fd_fdstat_set_flags", 1, 4]]],
    ["rights are given away", [["fd_fdstat_set_rights", 3, 0n, 0n]]],
    ["those of one that is not open", [["fd_fdstat_set_rights", 7, 0n, 0n]]],
    [
      "several at once",
      [
        ["fd_close", 4],
        ["fd_fdstat_set_flags", 2, 4],
        ["fd_close", 0],
      ],
    ],
  ];
  it.each(changes)("after %s", async (_, steps) => {
    await expectSame({ wasi: WASI }, [...QUESTIONS, ...steps, ...QUESTIONS]);
  });
  it("after a file is opened, and closed again", async () => {
    const folder = mkdtempSync(join(tmpdir(), "barecell-start-"));
    try {
      writeFileSync(join(folder, "file"), "contents");
      const wasi: WasiOptions = { ...WASI, preopens: { "/host": { host: folder } } };
      await expectSame({ wasi }, [["path_open", 3], ...QUESTIONS, ["fd_close", 4], ...QUESTIONS]);
      await expectSame({ wasi }, [["fd_close", 3], ...QUESTIONS]);
      await withVm(image, { wasi }, (vm) => {
        expect(vm.callSync("path_open", 3)).toBe(0);
        expect(u32(vm, 72)).toBe(4);
        expect(exitsOf(vm, ["fd_fdstat_get", 4, 3000])).toBe(1);
        expect(exitsOf(vm, ["fd_fdstat_get", 1, 3000])).toBe(0);
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

it("what has changed is the host's to tell, and what comes before it is not", () =>
  withVm(image, { wasi: WASI }, (vm) => {
    expect(vm.callSync("fd_close", 4)).toBe(0);
    expect(exitsOf(vm, ["fd_prestat_get", 4, 0])).toBe(1);
    expect(exitsOf(vm, ["fd_prestat_get", 3, 0])).toBe(0);
    expect(exitsOf(vm, ["fd_fdstat_get", 1, 0])).toBe(0);
    expect(vm.callSync("fd_fdstat_set_flags", 1, 4)).toBe(0);
    expect(exitsOf(vm, ["fd_fdstat_get", 1, 0])).toBe(1);
    expect(exitsOf(vm, ["fd_fdstat_get", 0, 0])).toBe(0);
    expect(exitsOf(vm, ["args_sizes_get", 0, 8])).toBe(0);
  }));

it("a reset brings all of it back", () =>
  withVm(image, { wasi: WASI }, (vm) => {
    const before = observe(vm, QUESTIONS);
    for (let round = 0; round < 3; round++) {
      if (round > 0) {
        vm.callSync("fd_close", 3);
        vm.callSync("fd_fdstat_set_flags", 1, 4);
      }
      vm.resetSync();
      expect(exitsOf(vm, ["fd_prestat_get", 3, 0])).toBe(0);
      expect(exitsOf(vm, ["fd_fdstat_get", 1, 0])).toBe(0);
      vm.resetSync();
      expect(observe(vm, QUESTIONS)).toEqual(before);
    }
  }));

it("a start that asks only this is not run again by a reset", async () => {
  const asking = await imageOf(
    "start-asks",
    `(module (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func $start (drop (call $sizes (i32.const 0) (i32.const 4))) (drop (call $random (i32.const 8) (i32.const 8)))) (start $start)
      (func (export "count") (result i32) (i32.load (i32.const 0))))`,
  );
  await withVm(asking, { wasi: { args: ["a", "b"] } }, (vm) => {
    const atStart = text(vm.memory.read(8, 8));
    vm.callSync("count");
    vm.resetSync();
    expect(text(vm.memory.read(8, 8))).toBe(atStart);
    expect(vm.callSync("count")).toBe(2);
  });
});

describe("in the guest's memory", () => {
  const secrets = {
    args: ["argument-4711"],
    env: { SECRET: "environment-4712" },
    preopens: { "/folder-4713": { memoryBytes: 4096 } },
  };
  const found = (of: Image, options: BootOptions): boolean[] => {
    const vm = new WholeVm(of, options);
    try {
      const memory = vm.memory();
      return ["argument-4711", "environment-4712", "/folder-4713"].map(
        (secret) => occurrences(memory, Buffer.from(secret)).length > 0,
      );
    } finally {
      vm.dispose();
    }
  };
  it("lies what the image imports, and nothing else", async () => {
    const only = (functions: readonly (keyof typeof ASKS)[]) =>
      imageOf(
        `start-${functions.join("-")}`,
        source(Object.fromEntries(functions.map((name) => [name, ASKS[name]]))),
      );
    expect(found(image, { wasi: secrets })).toEqual([true, true, true]);
    expect(found(await only(["args_get"]), { wasi: secrets })).toEqual([true, false, false]);
    expect(found(await only(["environ_get"]), { wasi: secrets })).toEqual([false, true, false]);
    expect(found(await only(["fd_prestat_dir_name"]), { wasi: secrets })).toEqual([false, false, true]);
    expect(
      found(await only(["args_sizes_get", "environ_sizes_get", "fd_prestat_get", "fd_fdstat_get"]), {
        wasi: secrets,
      }),
    ).toEqual([false, false, false]);
    expect(found(image, { wasi: secrets, answersInGuest: false })).toEqual([false, false, false]);
    expect(found(image, { unknownImports: "trap" })).toEqual([false, false, false]);
  });
  it("and not in a snapshot, which takes those of its own VM", async () => {
    const snapshot = await withVm(image, { wasi: secrets }, (vm) => {
      expect(exitsOf(vm, ["args_sizes_get", 0, 4])).toBe(0);
      return vm.snapshot();
    });
    const bytes = Buffer.from(snapshot.bytes);
    for (const secret of ["argument-4711", "environment-4712", "folder-4713"])
      expect(bytes.includes(secret), secret).toBe(false);
    await withVm(snapshot, { wasi: { ...secrets, args: ["other", "ones"] } }, (vm) => {
      expect(exitsOf(vm, ["args_get", 256, 512])).toBe(0);
      expect(text(vm.memory.read(512, 11))).toBe("other\0ones\0");
    });
  });
});

it("is off where nothing is granted: the port decides", () =>
  withVm(image, { unknownImports: "trap", afterTrap: "keep" }, async (vm) => {
    for (const name of Object.keys(ASKS)) {
      const args = new Array(ASKS[name as keyof typeof ASKS].split(" ").length).fill(0);
      await failure(() => vm.call(name, ...args), "BARECELL_TRAP_IMPORT_DENIED");
    }
  }));

it("the user's own function is called, whatever the dialect", async () => {
  const both = await imageOf(
    "start-dialects",
    `(module (import "wasi_snapshot_preview1" "args_sizes_get" (func $new (param i32 i32) (result i32)))
      (import "wasi_unstable" "args_sizes_get" (func $old (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "new") (result i32) (call $new (i32.const 0) (i32.const 4)))
      (func (export "old") (result i32) (call $old (i32.const 0) (i32.const 4))))`,
  );
  await withVm(both, { wasi: {} }, (vm) => expect([vm.callSync("new"), vm.callSync("old")]).toEqual([0, 0]));
  for (const module of ["wasi_snapshot_preview1", "wasi_unstable"]) {
    await withVm(both, { wasi: {}, imports: { [module]: { args_sizes_get: () => 77 } } }, (vm) => {
      const [own, other] = module === "wasi_unstable" ? ["old", "new"] : ["new", "old"];
      expect(vm.callSync(own as string)).toBe(77);
      expect(vm.callSync(other as string)).toBe(0);
    });
  }
});

it("the draft's functions are answered too", async () => {
  const draft = await imageOf("start-draft", source({ ...ASKS, ...CHANGES }, "wasi_unstable"));
  await withVm(draft, { wasi: WASI }, (vm) => {
    expect(exitsOf(vm, ["args_sizes_get", 256, 260])).toBe(0);
    expect(exitsOf(vm, ["fd_fdstat_get", 3, 0])).toBe(0);
    expect(vm.callSync("fd_prestat_get", 5, 0)).toBe(EBADF);
  });
});
