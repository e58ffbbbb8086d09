/** The end of linear memory, to the byte, for every width and instruction; memory.grow has a file of its own. */
import { afterAll, describe, expect, it } from "vitest";
import { type Image, MicroVM } from "../support/barecell.ts";
import { announceSkip, hasAvx, isSvm } from "../support/environment.ts";
import { failure, names } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { assemble, RawHost } from "../support/raw-code.ts";

const END = 65_536;
const OOB = "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY";

interface Access {
  readonly name: string;
  readonly width: number;
  readonly isStore: boolean;
}

const loads: [string, number][] = [
  ...([
    ["i32.load8_s", 1],
    ["i32.load8_u", 1],
    ["i32.load16_s", 2],
    ["i32.load16_u", 2],
    ["i32.load", 4],
  ] as [string, number][]),
  ...([
    ["i64.load8_s", 1],
    ["i64.load16_u", 2],
    ["i64.load32_s", 4],
    ["i64.load32_u", 4],
    ["i64.load", 8],
  ] as [string, number][]),
  ...([
    ["f32.load", 4],
    ["f64.load", 8],
  ] as [string, number][]),
];
const stores: [string, number][] = [
  ...([
    ["i32.store8", 1],
    ["i32.store16", 2],
    ["i32.store", 4],
  ] as [string, number][]),
  ...([
    ["i64.store8", 1],
    ["i64.store16", 2],
    ["i64.store32", 4],
    ["i64.store", 8],
  ] as [string, number][]),
  ...([
    ["f32.store", 4],
    ["f64.store", 8],
  ] as [string, number][]),
];
const accesses: Access[] = [
  ...loads.map(([name, width]) => ({ name, width, isStore: false })),
  ...stores.map(([name, width]) => ({ name, width, isStore: true })),
];

function accessor({ name, isStore }: Access, suffix: string, offset: string): string {
  const type = name.slice(0, 3);
  return isStore
    ? `(func $${name}${suffix} (export "${name}${suffix}") (param i32) (${name} ${offset} (local.get 0) (${type}.const -1)))`
    : `(func $${name}${suffix} (export "${name}${suffix}") (param i32) (result ${type}) (${name} ${offset} (local.get 0)))`;
}

/** Wherever an access may not reach: one past the end, in the middle, and "negative" addresses. */
const OUTSIDE = [END, END + 1, 2 * END, 2 ** 31 - 1, 2 ** 31, -65_536, -8, -2, -1];

describe("scalar accesses", async () => {
  const image = await imageOf(
    "accesses",
    `(module (memory (export "memory") 1)
      ${accesses.map((access) => accessor(access, "", "")).join("\n")}
      ${accesses.map((access) => accessor(access, "_far", "offset=0xffffffff")).join("\n")}
      ${accesses.map((access) => accessor(access, "_end", "offset=65535")).join("\n")})`,
  );
  const vm = await MicroVM.boot(image, { afterTrap: "keep" });
  afterAll(() => vm.dispose());

  it.each(accesses)("$name", async ({ name, width, isStore }) => {
    const guard = new Uint8Array(16).fill(0x5a);
    const expectOutside = async (call: () => unknown): Promise<string> => {
      vm.memory.write(END - 16, guard);
      vm.memory.write(0, guard);
      const error = await failure(call, OOB);
      expect(names(error).length, "frames").toBe(1);
      expect(error.message).toContain(isStore ? "(write at address" : "(read at address");
      // Nothing of a straddling store is written, at the end or anywhere it could wrap to.
      expect(vm.memory.read(END - 16, 16)).toEqual(guard);
      expect(vm.memory.read(0, 16)).toEqual(guard);
      return error.message;
    };
    // The last place where it fits.
    vm.callSync(name, END - width);
    for (let start = END - width + 1; start < END; start++) {
      expect(await expectOutside(() => vm.callSync(name, start)), `straddling at ${start}`).toContain(
        `address ${END})`,
      );
    }
    for (const address of OUTSIDE) {
      const message = await expectOutside(() => vm.callSync(name, address));
      expect(message).toContain(`address ${address >>> 0})`);
    }
    // The sum of address and offset has 33 bits, and never wraps around to memory that exists.
    for (const address of [0, 1, END, 2 ** 31, -1]) {
      const message = await expectOutside(() => vm.callSync(`${name}_far`, address));
      expect(message).toContain(`address ${(address >>> 0) + 0xffffffff})`);
    }
    await expectOutside(() => vm.callSync(`${name}_end`, 1));
    if (width === 1) vm.callSync(`${name}_end`, 0);
    else await expectOutside(() => vm.callSync(`${name}_end`, 0));
  });
});

describe("bulk operations", async () => {
  const image = await imageOf(
    "bulk",
    `(module (memory (export "memory") 1) (data $passive "0123456789abcdef")
      (func $fill (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 255) (local.get 1)))
      (func $copy (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
      (func $init (export "init") (param i32 i32 i32) (memory.init $passive (local.get 0) (local.get 1) (local.get 2)))
      (func (export "drop") (data.drop $passive)))`,
  );
  const cases: [string, ...number[]][] = [
    ["fill", END, 1],
    ["fill", END - 100, 101],
    ["fill", 0, END + 1],
    ["fill", 0, -1],
    ["fill", -1, -1],
    ["fill", END + 1, 0],
    ["copy", END - 10, 0, 11],
    ["copy", 0, END - 10, 11],
    ["copy", 0, 1, END],
    ["copy", 1, 0, END],
    ["copy", -16, 0, 32],
    ["copy", 0, -16, 32],
    ["copy", END + 1, 0, 0],
    ["init", END - 4, 0, 5],
    ["init", 0, 12, 5],
    ["init", 0, 17, 0],
    ["init", -1, 0, 16],
    ["init", 0, -1, 16],
  ];
  it.each(cases)("%s %i %i: writes nothing", async (name, ...args) => {
    await withVm(image, {}, async (vm) => {
      const before = Uint8Array.from({ length: END }, (_, i) => (i * 7) & 0xff);
      vm.memory.write(0, before);
      const error = await failure(() => vm.call(name, ...args), OOB);
      expect(names(error)).toContain(name);
      expect(Buffer.compare(vm.memory.read(0, END), before)).toBe(0);
    });
  });
  it("in bounds up to the last byte, and with nothing to do at the end, they work", () =>
    withVm(image, {}, async (vm) => {
      await vm.call("fill", 0, END);
      await vm.call("fill", END, 0);
      await vm.call("copy", END, END, 0);
      await vm.call("init", END - 16, 0, 16);
      await vm.call("init", END, 16, 0);
      expect(Buffer.from(vm.memory.read(END - 18, 18)).toString("latin1")).toBe(
        "\u00ff\u00ff0123456789abcdef",
      );
      await vm.call("copy", 0, 1, END - 1);
      await vm.call("drop");
      await failure(() => vm.call("init", 0, 0, 1), OOB);
    }));
});

describe("active data", async () => {
  const image = await imageOf(
    "placed",
    `(module (memory (export "memory") 1) (data $placed (i32.const 64) "placed") (data $passive "passive") (data (i32.const ${END - 14}) "once-only data")
      (func $init (export "init") (param i32) (memory.init $placed (i32.const 0) (i32.const 0) (local.get 0)))
      (func (export "passive") (memory.init $passive (i32.const 128) (i32.const 0) (i32.const 7))))`,
  );
  const text = (vm: MicroVM, at: number, bytes: number): string =>
    Buffer.from(vm.memory.read(at, bytes)).toString("latin1");

  it("is in memory, and as a segment it is dropped", () =>
    withVm(image, {}, async (vm) => {
      expect([text(vm, 64, 6), text(vm, END - 14, 14)]).toEqual(["placed", "once-only data"]);
      await vm.call("passive");
      expect(text(vm, 128, 7)).toBe("passive");
      await vm.call("init", 0);
      const error = await failure(() => vm.call("init", 1), OOB);
      expect(names(error)).toContain("init");
      expect(text(vm, 0, 1)).toBe("\0");
    }));
});

/** One 16- or 32-byte access at an address that the test chooses, by instructions that the compiler seldom picks. */
describe("vector instructions", async () => {
  const sse = ["movups", "movupd", "movdqu", "lddqu"];
  const avx = ["vmovups", "vmovdqu", "vlddqu"];
  const raw = await RawHost.create();
  const pieces = new Map<string, string>();
  const load = (at: number): string => `movabs $${at}, %rdi\n`;
  for (let start = END - 15; start <= END + 1; start++) {
    for (const name of sse) {
      pieces.set(`${name} load ${start}`, `${load(start)} ${name} (%rdi), %xmm0\n ret`);
      if (name !== "lddqu") {
        pieces.set(
          `${name} store ${start}`,
          `${load(start)} pcmpeqd %xmm0, %xmm0\n ${name} %xmm0, (%rdi)\n ret`,
        );
      }
    }
  }
  for (let start = END - 31; start <= END + 1; start += 5) {
    for (const name of avx) {
      pieces.set(`${name} ymm load ${start}`, `${load(start)} ${name} (%rdi), %ymm0\n ret`);
      if (name !== "vlddqu") {
        pieces.set(
          `${name} ymm store ${start}`,
          `${load(start)} vpcmpeqd %xmm0, %xmm0, %xmm0\n vinsertf128 $1, %xmm0, %ymm0, %ymm0\n ${name} %ymm0, (%rdi)\n ret`,
        );
      }
    }
  }
  for (const name of ["movaps", "movdqa", "movntdq"]) {
    pieces.set(`${name} store ${END}`, `${load(END)} pcmpeqd %xmm0, %xmm0\n ${name} %xmm0, (%rdi)\n ret`);
  }
  pieces.set(`movq store ${END - 7}`, `${load(END - 7)} pcmpeqd %xmm0, %xmm0\n movq %xmm0, (%rdi)\n ret`);
  pieces.set(`movhps store ${END - 1}`, `${load(END - 1)} pcmpeqd %xmm0, %xmm0\n movhps %xmm0, (%rdi)\n ret`);
  pieces.set(`x87 store ${END - 9}`, `${load(END - 9)} fld1\n fstpt (%rdi)\n ret`);
  pieces.set(
    `maskmovdqu store ${END - 8}`,
    `${load(END - 8)} pcmpeqd %xmm0, %xmm0\n pcmpeqd %xmm1, %xmm1\n maskmovdqu %xmm1, %xmm0\n ret`,
  );
  pieces.set(`cmpxchg16b store ${END}`, `${load(END)} push %rbx\n cmpxchg16b (%rdi)\n pop %rbx\n ret`);
  pieces.set(
    `push to memory store ${END - 4}`,
    `push %rbp\n mov %rsp, %rbp\n ${load(END + 4)} mov %rdi, %rsp\n push %rbp\n mov %rbp, %rsp\n pop %rbp\n ret`,
  );
  const code = assemble(pieces);

  const run = async (name: string): Promise<void> => {
    const image: Image = raw.withCode(code.get(name) as Uint8Array);
    await withVm(image, { unknownImports: "trap", wasi: {} }, async (vm) => {
      const guard = new Uint8Array(64).fill(0x5a);
      vm.memory.write(END - 64, guard);
      const error = await failure(() => vm.call("victim"), OOB);
      expect(error.message).toContain(name.includes("store") ? "(write at" : "(read at");
      expect(vm.memory.read(END - 64, 64)).toEqual(guard);
    });
  };
  const isAvx = (name: string): boolean => name.startsWith("v");
  const isEmulatorFault = (name: string): boolean =>
    isSvm && name.includes("store") && !/\d (65536|65537)$/.test(name);
  const wanted = [...pieces.keys()];
  const runnable = wanted.filter((name) => !(isAvx(name) && !hasAvx) && !isEmulatorFault(name));
  if (runnable.length < wanted.length) {
    announceSkip(
      `${wanted.length - runnable.length} of ${wanted.length} vector accesses`,
      isSvm ? "the emulator writes part of a page-crossing store" : "this processor has no AVX",
    );
  }
  it.each(runnable)("%s", run);

  it.runIf(hasAvx)("aligned AVX at the last place that fits works", async () => {
    const fits = assemble(
      new Map([
        [
          "fits",
          `${load(END - 32)} vpcmpeqd %xmm0, %xmm0, %xmm0\n vinsertf128 $1, %xmm0, %ymm0, %ymm0\n vmovaps %ymm0, (%rdi)\n vzeroupper\n mov $7, %eax\n ret`,
        ],
      ]),
    );
    await withVm(
      raw.withCode(fits.get("fits") as Uint8Array),
      { unknownImports: "trap", wasi: {} },
      async (vm) => {
        expect(await vm.call("victim")).toBe(7n);
        expect(vm.memory.read(END - 32, 32)).toEqual(new Uint8Array(32).fill(0xff));
      },
    );
  });
});
