/** Output that the guest keeps for a while: fewer exits, and nobody can tell otherwise. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { BootOptions, Image, MicroVM } from "../support/barecell.ts";
import { slowness, soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { makeFifo } from "../support/fifo.ts";
import { imageOfModules, withVm } from "../support/modules.ts";
import { results, run, type Step, scriptImage, scriptModule } from "../support/output-script.ts";

const EBADF = 8;
const EFAULT = 21;
const EPIPE = 64;
const ENOTCAPABLE = 76;
const NONBLOCK = 4;
const RIGHT_POLL = 1 << 27;
const CAPTURE = { stdout: "capture", stderr: "capture" } as const;
/** Far longer than what counts as seldom. */
const LONG_SPIN = 60_000_000;

let image: Image;
beforeAll(async () => {
  image = await scriptImage();
});

/** Exits of a script, apart from the one that ends it. */
async function exitsOf(vm: MicroVM, ...steps: Step[]): Promise<number> {
  const before = vm.exits.io;
  await run(vm, ...steps);
  return vm.exits.io - before - 1;
}

/** With an empty file that is removed afterwards, and it as an option. */
async function withFile(use: (path: string, file: { fd: number }) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "barecell-output-"));
  const path = join(folder, "output");
  const fd = openSync(path, "w");
  try {
    await use(path, { fd });
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const times = (count: number, step: (i: number) => Step): Step[] =>
  Array.from({ length: count }, (_, i) => step(i));
/** Both streams in turns. */
const inTurns = (count: number): Step[] => times(count, (i) => ["write", 1 + (i % 2), `${i}\n`]);
const said = (from: number, count: number): string =>
  Array.from({ length: count / 2 }, (_, i) => `${2 * i + from}\n`).join("");

describe("exits", () => {
  it("captured output costs none, until the guest leaves for another reason", () =>
    withVm(image, { wasi: CAPTURE }, async (vm) => {
      expect(await exitsOf(vm, ...inTurns(100))).toBe(0);
      expect(text(vm.stdout())).toBe(said(0, 100));
      expect(text(vm.stderr())).toBe(said(1, 100));
    }));
  it("a log that is full is taken with the write that does not fit", () =>
    withVm(image, { wasi: CAPTURE }, async (vm) => {
      const line = "x".repeat(1000);
      // 16 KiB hold sixteen of them.
      expect(await exitsOf(vm, ...times(17, () => ["write", 1, line]))).toBe(1);
      expect(text(vm.stdout())).toBe(line.repeat(17));
      expect(await exitsOf(vm, ["write", 1, "a"], ["write", 2, "y".repeat(16_384)])).toBe(1);
      expect(vm.stderr().length).toBe(16_384);
    }));
  it("output that nobody wants costs none, however much it is", () =>
    withVm(image, { wasi: {} }, async (vm) => {
      expect(await exitsOf(vm, ...times(100, () => ["write", 1, "x".repeat(500)]))).toBe(0);
      expect(await exitsOf(vm, ["writeMany", 2, "x".repeat(60_000), 16])).toBe(0);
      expect(results(vm.memory, [["yield"]])).toEqual([{ errno: 0, count: 960_000 }]);
    }));
  it("pieces of a line on a pipe mostly cost none", async () => {
    using pipe = makeFifo();
    await withVm(image, { wasi: { stdout: { fd: pipe.writer } } }, async (vm) => {
      // The first one comes after a while without any; so does one before which this thread lost its processor.
      expect(await exitsOf(vm, ...times(200, () => ["write", 1, "."]))).toBeLessThan(50);
      expect(pipe.take()).toBe(".".repeat(200));
      expect(await exitsOf(vm, ...times(20, () => ["write", 1, ".\n"]))).toBe(20);
    });
  });
  it("lines to a file mostly cost none", () =>
    withFile(async (path, file) => {
      await withVm(image, { wasi: { stdout: file, stderr: file } }, async (vm) => {
        // As with pieces of a line on a pipe.
        expect(await exitsOf(vm, ...inTurns(200))).toBeLessThan(50);
        expect(readFileSync(path, "latin1")).toBe(Array.from({ length: 200 }, (_, i) => `${i}\n`).join(""));
      });
    }));
  it("output to /dev/null costs none, however much it is", async () => {
    const fd = openSync("/dev/null", "w");
    try {
      await withVm(image, { wasi: { stdout: { fd }, stderr: { fd } } }, async (vm) => {
        expect(await exitsOf(vm, ...inTurns(100))).toBe(0);
        expect(await exitsOf(vm, ["writeMany", 1, "x".repeat(60_000), 16])).toBe(0);
        expect(results(vm.memory, [["yield"]])).toEqual([{ errno: 0, count: 960_000 }]);
      });
    } finally {
      closeSync(fd);
    }
  });
  it("each write is one where answers in the guest are off, with the same bytes", () =>
    withVm(image, { wasi: CAPTURE, answersInGuest: false }, async (vm) => {
      expect(await exitsOf(vm, ...inTurns(100))).toBe(100);
      expect(text(vm.stdout())).toBe(said(0, 100));
      expect(text(vm.stderr())).toBe(said(1, 100));
    }));
  it("is off where nothing is granted: the port decides", () =>
    withVm(image, { unknownImports: "trap" }, (vm) =>
      failure(() => run(vm, ["write", 1, "x"]), "BARECELL_TRAP_IMPORT_DENIED"),
    ));
});

describe("order", () => {
  it("of the two streams in one pipe", async () => {
    using pipe = makeFifo();
    const both = { fd: pipe.writer };
    await withVm(image, { wasi: { stdout: both, stderr: both } }, async (vm) => {
      await run(vm, ...times(200, (i) => ["write", 1 + ((i >> 1) % 2), i % 7 === 0 ? `${i}\n` : `${i} `]));
    });
    const expected = Array.from({ length: 200 }, (_, i) => (i % 7 === 0 ? `${i}\n` : `${i} `)).join("");
    expect(pipe.take()).toBe(expected);
  });
  it("of output and writes to files", async () => {
    const folder = mkdtempSync(join(tmpdir(), "barecell-output-"));
    const path = join(folder, "log");
    const fd = openSync(path, "a");
    const options = { wasi: { stdout: { fd }, preopens: { "/": { host: folder, writable: true } } } };
    await withVm(image, options, async (vm) => {
      const steps: Step[] = [
        ["write", 1, "a"],
        ["open", "log"],
        ["write", 1, "b"],
        ["write", 1, "c"],
      ];
      steps.push(["write", 4, "d"], ["write", 1, "e"], ["write", 1, "f"], ["close", 4], ["trap"]);
      await failure(() => run(vm, ...steps), "BARECELL_TRAP_UNREACHABLE");
      expect(results(vm.memory, steps).map(({ errno }) => errno)).toEqual(steps.map(() => 0));
    });
    closeSync(fd);
    expect(readFileSync(path, "utf8")).toBe("abcdef");
    rmSync(folder, { recursive: true });
  });
  it("of a question and its answer", async () => {
    using input = makeFifo();
    using output = makeFifo();
    const wasi = { stdin: { fd: input.reader }, stdout: { fd: output.writer } };
    await withVm(image, { wasi, timeoutMs: Number.POSITIVE_INFINITY }, async (vm) => {
      const running = run(vm, ["write", 1, "your "], ["write", 1, "name? "], ["read", 5]);
      await output.shows("your name? ");
      writeSync(input.writer, "world");
      expect(await soon("the answer", running)).toMatchObject([
        { errno: 0 },
        { errno: 0 },
        { errno: 0, count: 5 },
      ]);
    });
  });
});

describe("somebody looks into the file", () => {
  it("what comes seldom is there, and after a while all that came before it", () =>
    withFile(async (path, file) => {
      const steps: Step[] = [
        ["write", 1, "one\n"],
        ["write", 1, "two\n"],
        ["spin", LONG_SPIN],
        ["write", 1, "three\n"],
        ["spin", 0],
      ];
      await withVm(image, { wasi: { stdout: file }, timeoutMs: Number.POSITIVE_INFINITY }, async (vm) => {
        const running = failure(() => run(vm, ...steps), "BARECELL_DISPOSED");
        const shown = () => expect(readFileSync(path, "latin1")).toBe("one\ntwo\nthree\n");
        await vi.waitFor(shown, { timeout: 20_000 * slowness });
        expect(vm.state).toBe("running");
        vm.dispose();
        await soon("the end of the run", running);
      });
    }));
});

describe("somebody watches", () => {
  const watched = async (steps: Step[], ...shown: string[]): Promise<void> => {
    using pipe = makeFifo();
    const wasi = { stdout: { fd: pipe.writer } };
    await withVm(image, { wasi, timeoutMs: Number.POSITIVE_INFINITY }, async (vm) => {
      const running = failure(() => run(vm, ...steps, ["spin", 0]), "BARECELL_DISPOSED");
      for (const part of shown) await pipe.shows(part);
      expect(vm.state).toBe("running");
      vm.dispose();
      await soon("the end of the run", running);
    });
  };
  it("a line is there while the guest computes", () =>
    watched(
      [
        ["write", 1, "one"],
        ["write", 1, "\ntwo"],
        ["write", 1, "three\n"],
      ],
      "one\ntwothree\n",
    ));
  it("what comes seldom is there without a line's end", () =>
    watched(
      [
        ["write", 1, "."],
        ["spin", LONG_SPIN],
        ["write", 1, ":"],
        ["spin", LONG_SPIN],
        ["write", 1, "!"],
      ],
      ".:!",
    ));
});

describe("however a run ends, what was written before is delivered", () => {
  const ends: Record<string, readonly [Step, Parameters<typeof failure>[1]]> = {
    "a trap": [["trap"], "BARECELL_TRAP_UNREACHABLE"],
    exit: [["exit", 3], "BARECELL_GUEST_EXIT"],
    "the deadline": [["spin", 0], "BARECELL_TIMEOUT"],
  };
  it.each(Object.entries(ends))("%s", async (_, [step, code]) => {
    using pipe = makeFifo();
    const options = { timeoutMs: 300 * slowness };
    const steps: Step[] = [["write", 1, "a"], ["write", 2, "b"], ["write", 1, "c"], step];
    await withVm(image, { ...options, wasi: CAPTURE }, async (vm) => {
      await failure(() => run(vm, ...steps), code);
      expect(text(vm.stdout()) + text(vm.stderr())).toBe("acb");
    });
    const both = { fd: pipe.writer };
    await withVm(image, { ...options, wasi: { stdout: both, stderr: both } }, (vm) =>
      failure(() => run(vm, ...steps), code),
    );
    expect(pipe.take()).toBe("abc");
  });
  it("disposal", async () => {
    using pipe = makeFifo();
    const both = { fd: pipe.writer };
    await withVm(image, { wasi: { stdout: both, stderr: both } }, async (vm) => {
      const steps: Step[] = [
        ["write", 1, "shown\n"],
        ["write", 1, "kept"],
        ["spin", 0],
      ];
      const running = failure(() => run(vm, ...steps), "BARECELL_DISPOSED");
      await pipe.shows("shown\n");
      // Long enough for the second write, of which nothing is to be seen.
      await new Promise((resolve) => setTimeout(resolve, 100));
      vm.dispose();
      await running;
      await pipe.shows("shown\nkept");
    });
  });
  it("and a pipe that nobody empties holds nobody up", async () => {
    using pipe = makeFifo();
    const options = { wasi: { stdout: { fd: pipe.writer } }, timeoutMs: 1500 * slowness };
    await withVm(image, options, async (vm) => {
      const steps: Step[] = [
        ["write", 1, "\n"],
        ["write", 1, "."],
        ["spin", 0],
      ];
      const running = failure(() => run(vm, ...steps), "BARECELL_TIMEOUT");
      await pipe.shows("\n");
      pipe.fill();
      const wasInTime = vm.state === "running";
      await soon("the run", running);
      if (wasInTime) expect(pipe.take()).not.toContain(".");
    });
  });
});

describe("descriptors", () => {
  const errnos = (all: readonly { errno: number }[]): number[] => all.map(({ errno }) => errno);
  it("a stream that is closed, or that another one takes the place of", () =>
    withVm(image, { wasi: CAPTURE }, async (vm) => {
      const steps: Step[] = [
        ["write", 1, "a"],
        ["write", 2, "b"],
        ["renumber", 2, 1],
        ["write", 1, "c"],
      ];
      steps.push(["write", 2, "lost"], ["close", 1], ["write", 1, "lost"]);
      expect(errnos(await run(vm, ...steps))).toEqual([0, 0, 0, 0, EBADF, 0, EBADF]);
      expect([text(vm.stdout()), text(vm.stderr())]).toEqual(["a", "bc"]);
    }));
  it("a right that is given up", () =>
    withVm(image, { wasi: CAPTURE }, async (vm) => {
      const steps: Step[] = [
        ["write", 1, "a"],
        ["setRights", 1, RIGHT_POLL],
        ["write", 1, "b"],
        ["write", 2, "c"],
      ];
      expect(errnos(await run(vm, ...steps))).toEqual([0, 0, ENOTCAPABLE, 0]);
      expect([text(vm.stdout()), text(vm.stderr())]).toEqual(["a", "c"]);
    }));
  it("a stream that is not to wait is asked each time", () =>
    withVm(image, { wasi: CAPTURE }, async (vm) => {
      await run(vm, ["setFlags", 1, NONBLOCK]);
      expect(await exitsOf(vm, ["write", 1, "a"], ["write", 1, "b"], ["write", 2, "c"])).toBe(2);
      await run(vm, ["setFlags", 1, 0]);
      expect(await exitsOf(vm, ["write", 1, "a"], ["write", 1, "b"])).toBe(0);
    }));
  it("a pipe that nobody reads: the error comes with the next write at the latest", async () => {
    using pipe = makeFifo();
    pipe.closeReader();
    await withVm(image, { wasi: { stdout: { fd: pipe.writer } } }, async (vm) => {
      const found = errnos(
        await run(vm, ["write", 1, "a\n"], ["write", 1, "b"], ["yield"], ["write", 1, "c"]),
      );
      expect([0, EPIPE]).toContain(found[1]);
      expect([found[0], found[2], found[3]]).toEqual([EPIPE, 0, EPIPE]);
    });
  });
});

describe("the limit of captured output is as exact", () => {
  it.each([0, 1, 7, 8, 9, 100, 1000, 20_000])("%i bytes", async (limit) => {
    const steps = times(300, (i) => ["write", 1 + (i % 3 === 0 ? 1 : 0), "x".repeat(i % 190)]);
    const outcome = (answersInGuest: boolean) =>
      withVm(image, { wasi: CAPTURE, maxOutputBytes: limit, answersInGuest }, async (vm) => {
        await failure(() => run(vm, ...steps), "BARECELL_OUTPUT_LIMIT");
        return [vm.stdout().length, vm.stderr().length];
      });
    const [stdout, stderr] = await outcome(true);
    expect((stdout ?? 0) + (stderr ?? 0)).toBe(limit);
    expect([stdout, stderr]).toEqual(await outcome(false));
  });
});

describe("nothing else differs", () => {
  /** The same in every run (xorshift). */
  function* numbers(seed: number): Generator<number, never> {
    let x = (seed * 0x9e3779b9) >>> 0 || 1;
    for (;;) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      yield x >>> 0;
    }
  }
  const POINTERS = [0, 1, 8, 9, 256, 4095, 131_060, 131_064, 131_068, 131_071, 131_072, 131_073, -1, -4, -8];
  const COUNTS = [0, 1, 2, 16, 17, 1024, 1025, 16_384, 2 ** 29, -1];
  function randomSteps(seed: number): Step[] {
    const random = numbers(seed);
    const below = (limit: number): number => random.next().value % limit;
    const from = (list: readonly number[]): number => list[below(list.length)] as number;
    return times(60, (): Step => {
      const fd = from([1, 1, 1, 2, 2, 2, 0, 3, 33, -1]);
      switch (below(12)) {
        case 0:
          return ["writeRaw", fd, from(POINTERS), from(COUNTS), from(POINTERS)];
        case 1:
          return ["writeMany", fd, "ab\n".repeat(below(5)), from([1, 2, 15, 16, 17, 400])];
        case 2:
          return below(4) > 0 ? ["yield"] : ["close", fd];
        case 3:
          return below(3) > 0 ? ["grow", below(2)] : ["renumber", fd, from([1, 2])];
        case 4:
          return below(6) > 0
            ? ["setFlags", fd, from([0, 0, 1, 4])]
            : ["setRights", fd, RIGHT_POLL | from([0, 64])];
        default:
          return [
            "write",
            fd,
            "some words and a line\n".repeat(9).slice(0, below(3) > 0 ? below(30) : below(200)),
          ];
      }
    });
  }
  it.each(times(30, (i) => ["yield", i]))("random calls, seed %#", async (...step) => {
    const seed = Number(step[1]) + 1;
    const steps = randomSteps(seed);
    const observed = async (options: Omit<BootOptions, "wasi">, file: boolean): Promise<unknown> => {
      const path = join(tmpdir(), `barecell-output-${process.pid}-${seed}`);
      const fd = file ? openSync(path, "w+") : -1;
      try {
        const wasi = file ? { stdout: { fd }, stderr: { fd } } : CAPTURE;
        return await withVm(image, { ...options, wasi }, async (vm) => {
          const found = await run(vm, ...steps);
          return [found, text(vm.stdout()), text(vm.stderr()), file ? readFileSync(path, "latin1") : ""];
        });
      } finally {
        if (file) closeSync(fd);
        rmSync(path, { force: true });
      }
    };
    for (const file of [false, true])
      expect(await observed({}, file)).toEqual(await observed({ answersInGuest: false }, file));
  });
  it("pointers outside memory are EFAULT, and nothing is written", () =>
    withVm(image, { wasi: CAPTURE }, async (vm) => {
      const steps: Step[] = [
        ["write", 1, "a"],
        ["writeRaw", 1, 131_068, 1, 8],
        ["writeRaw", 1, 0, 1, 131_070],
      ];
      expect((await run(vm, ...steps)).map(({ errno }) => errno)).toEqual([0, EFAULT, EFAULT]);
      expect(text(vm.stdout())).toBe("a");
    }));
});

it("the draft's fd_write is the same", async () => {
  await withVm(await scriptImage("wasi_unstable"), { wasi: CAPTURE }, async (vm) => {
    expect(await exitsOf(vm, ...inTurns(10))).toBe(0);
    expect(text(vm.stdout())).toBe(said(0, 10));
  });
});

it("modules that have memories of their own write from them, in the order of their calls", async () => {
  const wasi =
    '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))';
  const call = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
  const library = `(module ${wasi} (memory 1) (data (i32.const 0) "\\10\\00\\00\\00\\08\\00\\00\\00") (data (i32.const 16) "library ")
    (func (export "say") ${call}))`;
  const app = `(module ${wasi} (import "library" "say" (func $say)) (memory 1)
    (data (i32.const 0) "\\10\\00\\00\\00\\04\\00\\00\\00") (data (i32.const 16) "app ")
    (func (export "main") ${call} (call $say) ${call} (call $say)))`;
  const both = await imageOfModules([
    ["library", library],
    ["app", app],
  ]);
  await withVm(both, { wasi: CAPTURE }, async (vm) => {
    const before = vm.exits.io;
    await vm.call("main");
    expect(vm.exits.io - before).toBe(1);
    expect(text(vm.stdout())).toBe("app library app library ");
  });
});

it("a module's start may write", async () => {
  const starting = scriptModule("wasi_snapshot_preview1").replace(
    '(func (export "run")',
    `(data (i32.const 512) "\\10\\02\\00\\00\\05\\00\\00\\00") (data (i32.const 528) "start")
     (func $start (drop (call $write (i32.const 2) (i32.const 512) (i32.const 1) (i32.const 8)))) (start $start)
     (func (export "run")`,
  );
  const { imageOf } = await import("../support/modules.ts");
  await withVm(await imageOf("output-start", starting), { wasi: CAPTURE }, (vm) => {
    expect(text(vm.stderr())).toBe("start");
  });
});
