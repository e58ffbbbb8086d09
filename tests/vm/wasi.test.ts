/** WASI as an embedder sees it: streams, arguments, environment, exit, limits. The functions themselves are tested in native/tests. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MicroVM, type WasiOptions } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

const imports: Record<string, string> = {
  args_get: "i32 i32",
  args_sizes_get: "i32 i32",
  environ_get: "i32 i32",
  environ_sizes_get: "i32 i32",
  clock_time_get: "i32 i64 i32",
  random_get: "i32 i32",
  fd_read: "i32 i32 i32 i32",
  fd_write: "i32 i32 i32 i32",
};
const image = await imageOf(
  "wasi",
  `(module
    ${Object.entries(imports)
      .map(
        ([name, params]) =>
          `(import "wasi_snapshot_preview1" "${name}" (func $${name} (param ${params}) (result i32)))`,
      )
      .join("\n")}
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 2)
    ;; One vector at 0: where, and how much; the number of bytes done comes to 8.
    (func $vector (param i32 i32) (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)))
    (func (export "write") (param $fd i32) (param $at i32) (param $size i32) (result i32)
      (call $vector (local.get $at) (local.get $size))
      (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (func (export "read") (param $at i32) (param $size i32) (result i32)
      (call $vector (local.get $at) (local.get $size))
      (if (result i32) (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (i32.const -1)) (else (i32.load (i32.const 8)))))
    (func (export "write_for_ever") (loop $l
      (call $vector (i32.const 1024) (i32.const 1000))
      (br_if $l (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))))
    (func (export "args") (result i32)
      (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
      (call $args_get (i32.const 4096) (i32.const 8192)))
    (func (export "environ") (result i32)
      (drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
      (call $environ_get (i32.const 4096) (i32.const 8192)))
    (func (export "now") (result i64) (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 16))) (i64.load (i32.const 16)))
    (func (export "random") (result i64) (drop (call $random_get (i32.const 16) (i32.const 8))) (i64.load (i32.const 16)))
    (func (export "exit") (param i32) (call $proc_exit (local.get 0)) unreachable)
    (func (export "_start") (if (i32.load (i32.const 100)) (then (call $proc_exit (i32.load (i32.const 104)))))))`,
);
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const put = (vm: MicroVM, at: number, content: string): number => {
  const bytes = Buffer.from(content);
  vm.memory.write(at, bytes);
  return bytes.length;
};

describe("grants", () => {
  it("nothing without the option", async () => {
    const error = await failure(() => MicroVM.boot(image), "BARECELL_IMPORT_DENIED");
    expect(error.message).toContain("wasi_snapshot_preview1.fd_write");
    expect(error.message).toContain("wasi: {}");
  });
  it("a function of another type is refused, with both types", async () => {
    const wrong = await imageOf(
      "wrong",
      `(module (import "wasi_snapshot_preview1" "fd_write" (func (param i64) (result i32))))`,
    );
    const error = await failure(() => MicroVM.boot(wrong, { wasi: {} }), "BARECELL_IMPORT_DENIED");
    expect(error.message).toContain("(i64) -> (i32)");
    expect(error.message).toContain("(i32, i32, i32, i32) -> (i32)");
  });
  it("by the older name too", async () => {
    const older = await imageOf(
      "older",
      `(module (import "wasi_unstable" "sched_yield" (func $y (result i32))) (func (export "y") (result i32) (call $y)))`,
    );
    await withVm(older, { wasi: {} }, async (vm) => expect(await vm.call("y")).toBe(0));
  });
});

describe("arguments and environment", () => {
  it("arrive as given, empty and in any characters", () =>
    withVm(
      image,
      { wasi: { args: ["prog", "", "ünï ☃", "a b"], env: { A: "1", EMPTY: "", ключ: "значение=x" } } },
      async (vm) => {
        expect(await vm.call("args")).toBe(0);
        const size = Buffer.from(vm.memory.read(4, 4)).readUInt32LE();
        expect(Buffer.from(vm.memory.read(0, 4)).readUInt32LE()).toBe(4);
        expect(text(vm.memory.read(8192, size))).toBe("prog\0\0ünï ☃\0a b\0");
        expect(await vm.call("environ")).toBe(0);
        const environSize = Buffer.from(vm.memory.read(4, 4)).readUInt32LE();
        expect(text(vm.memory.read(8192, environSize)).split("\0").sort()).toEqual([
          "",
          "A=1",
          "EMPTY=",
          "ключ=значение=x",
        ]);
      },
    ));
  it("none by default; nothing of the host's own", () =>
    withVm(image, { wasi: {} }, async (vm) => {
      await vm.call("environ");
      expect(vm.memory.read(0, 8)).toEqual(new Uint8Array(8));
    }));
});

describe("streams", () => {
  it("captured output, apart and taken once", () =>
    withVm(image, { wasi: { stdout: "capture", stderr: "capture" } }, async (vm) => {
      const size = put(vm, 1024, "to output ☃");
      expect(await vm.call("write", 1, 1024, size)).toBe(0);
      put(vm, 1024, "to error");
      expect(await vm.call("write", 2, 1024, 8)).toBe(0);
      expect(text(vm.stdout())).toBe("to output ☃");
      expect(text(vm.stderr())).toBe("to error");
      expect(vm.stdout()).toEqual(new Uint8Array(0));
      await vm.call("write", 1, 1024, 2);
      expect(text(vm.stdout())).toBe("to");
    }));
  it("ignored output is taken and thrown away", () =>
    withVm(image, { wasi: {} }, async (vm) => {
      expect(await vm.call("write", 1, 1024, 1000)).toBe(0);
      expect(vm.stdout()).toEqual(new Uint8Array(0));
    }));
  it("output to a descriptor", async () => {
    const folder = mkdtempSync(join(tmpdir(), "barecell-wasi-"));
    try {
      const path = join(folder, "out");
      const fd = openSync(path, "w");
      await withVm(image, { wasi: { stdout: { fd }, stderr: { fd } } }, async (vm) => {
        put(vm, 1024, "one two ");
        expect(await vm.call("write", 1, 1024, 4)).toBe(0);
        expect(await vm.call("write", 2, 1028, 4)).toBe(0);
      });
      closeSync(fd);
      expect(readFileSync(path, "utf8")).toBe("one two ");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
  it("input from bytes, then its end", () =>
    withVm(image, { wasi: { stdin: Uint8Array.of(1, 2, 3, 4, 5) } }, async (vm) => {
      expect(await vm.call("read", 1024, 3)).toBe(3);
      expect([...vm.memory.read(1024, 4)]).toEqual([1, 2, 3, 0]);
      expect(await vm.call("read", 1024, 100)).toBe(2);
      expect(await vm.call("read", 1024, 100)).toBe(0);
    }));
  it("input from a string; none is at its end at once", async () => {
    await withVm(image, { wasi: { stdin: "grüße" } }, async (vm) => {
      expect(await vm.call("read", 1024, 100)).toBe(7);
      expect(text(vm.memory.read(1024, 7))).toBe("grüße");
    });
    await withVm(image, { wasi: {} }, async (vm) => expect(await vm.call("read", 1024, 100)).toBe(0));
  });
  it("hostile vectors are errors of the call, and nothing is done", () =>
    withVm(image, { wasi: { stdout: "capture", stdin: "abc" } }, async (vm) => {
      for (const [at, size] of [
        [131_072, 1],
        [131_071, 2],
        [-1, 1],
        [0, -1],
        [1024, 2 ** 31 - 1],
      ] as const) {
        expect(await vm.call("write", 1, at, size)).not.toBe(0);
        expect(await vm.call("read", at, size)).toBe(-1);
      }
      for (const fd of [0, 3, 4, -1, 2 ** 31 - 1]) expect(await vm.call("write", fd, 1024, 1)).not.toBe(0);
      expect(vm.stdout()).toEqual(new Uint8Array(0));
      expect(await vm.call("read", 1024, 3)).toBe(3);
    }));
  it("a wait for input ends by the timeout", async () => {
    // A pipe that nobody writes to: the child of a shell would be one, but any descriptor that blocks will do.
    const { stdin, close } = await silentPipe();
    await withVm(image, { wasi: { stdin: { fd: stdin } }, timeoutMs: 100 }, async (vm) => {
      await soon(
        "the read",
        failure(() => vm.call("read", 1024, 10), "BARECELL_TIMEOUT"),
      );
    });
    await withVm(image, { wasi: { stdin: { fd: stdin } }, timeoutMs: 100 }, (vm) =>
      failure(() => vm.callSync("read", 1024, 10), "BARECELL_TIMEOUT"),
    );
    const vm = await MicroVM.boot(image, {
      wasi: { stdin: { fd: stdin } },
      timeoutMs: Number.POSITIVE_INFINITY,
    });
    const running = failure(() => vm.call("read", 1024, 10), "BARECELL_DISPOSED");
    await new Promise((resolve) => setTimeout(resolve, 30));
    vm.dispose();
    await soon("the disposed read", running);
    close();
  });
});

/** The reading end of a FIFO that has a writer (this process) which writes nothing. */
async function silentPipe(): Promise<{ stdin: number; close: () => void }> {
  const { execFileSync } = await import("node:child_process");
  const folder = mkdtempSync(join(tmpdir(), "barecell-fifo-"));
  const path = join(folder, "fifo");
  execFileSync("mkfifo", [path]);
  const stdin = openSync(path, "r+");
  return {
    stdin,
    close: () => {
      closeSync(stdin);
      rmSync(folder, { recursive: true });
    },
  };
}

describe("limits", () => {
  it("captured output has one, exact and for both streams together", async () => {
    const options = { wasi: { stdout: "capture", stderr: "capture" }, maxOutputBytes: 10 } as const;
    await withVm(image, options, async (vm) => {
      expect(await vm.call("write", 1, 1024, 6)).toBe(0);
      expect(await vm.call("write", 2, 1024, 4)).toBe(0);
      const error = await failure(() => vm.call("write", 1, 1024, 1), "BARECELL_OUTPUT_LIMIT");
      expect(error.message).toContain("10");
      expect(error.backtrace.map((frame) => frame.name)).toContain("write");
      expect(vm.state).toBe("poisoned");
      expect(vm.stdout().length + vm.stderr().length).toBeLessThanOrEqual(10);
    });
    await withVm(image, { ...options, maxOutputBytes: 100_000 }, (vm) =>
      failure(() => vm.call("write_for_ever"), "BARECELL_OUTPUT_LIMIT"),
    );
    await withVm(image, { ...options, maxOutputBytes: 0 }, async (vm) => {
      expect(await vm.call("write", 1, 1024, 0)).toBe(0);
      await failure(() => vm.call("write", 1, 1024, 1), "BARECELL_OUTPUT_LIMIT");
    });
  });
});

describe("exit", () => {
  it.each([0, 1, 7, 125, 255, 256, -1])("status %i in a call is BARECELL_GUEST_EXIT", (status) =>
    withVm(image, { wasi: {}, afterTrap: "keep" }, async (vm) => {
      const error = await failure(() => vm.call("exit", status), "BARECELL_GUEST_EXIT");
      expect(error.exitCode).toBe(status >>> 0);
      // A program that ended is not called again.
      await failure(() => vm.call("now"), "BARECELL_POISONED");
    }),
  );
  it("start() takes it as a value", async () => {
    await withVm(image, { wasi: {} }, async (vm) => expect(await vm.start()).toBe(0));
    await withVm(image, { wasi: {} }, async (vm) => {
      vm.memory.write(100, Uint8Array.of(1, 0, 0, 0, 33));
      expect(await vm.start()).toBe(33);
    });
  });
});

describe("clock and randomness", () => {
  it("the clock is the host's", () =>
    withVm(image, { wasi: {} }, async (vm) => {
      const now = BigInt(Date.now()) * 1_000_000n;
      const told = (await vm.call("now")) as bigint;
      expect(told).toBeGreaterThan(now - 60_000_000_000n);
      expect(told).toBeLessThan(now + 60_000_000_000n);
    }));
  it("a fixed clock begins where it is told", async () => {
    const begin = async (clock: WasiOptions["clock"]): Promise<unknown> =>
      withVm(image, { wasi: { ...(clock === undefined ? {} : { clock }) } }, (vm) => vm.call("now"));
    const now = async (clock: WasiOptions["clock"]): Promise<number> =>
      Number((await begin(clock)) as bigint) / 1e6;
    for (const startMs of [0, 946_684_800_000, 1_700_000_000_123, 2 ** 43]) {
      const told = (await begin({ startMs })) as bigint;
      expect(told - BigInt(startMs) * 1_000_000n).toBe(1000n);
      expect(await begin({ startMs })).toBe(told);
    }
    expect(await now("fixed")).toBeCloseTo(Date.UTC(2000, 0, 1), 0);
    for (const startMs of [-1, 0.5, 2 ** 43 + 1, Number.NaN, "1" as unknown as number])
      await failure(() => begin({ startMs }), "BARECELL_ARGUMENT_INVALID");
    await failure(() => begin({} as { startMs: number }), "BARECELL_ARGUMENT_INVALID");
  });
  it("fixed random numbers follow their seed", async () => {
    const draw = async (wasi: WasiOptions): Promise<unknown> =>
      withVm(image, { wasi }, (vm) => vm.call("random"));
    const seeds = [0, 1, 2, 2 ** 32, Number.MAX_SAFE_INTEGER];
    const first = await Promise.all(seeds.map((seed) => draw({ random: { seed } })));
    expect(new Set(first).size).toBe(seeds.length);
    expect(await Promise.all(seeds.map((seed) => draw({ random: { seed } })))).toEqual(first);
    expect(await draw({ deterministic: true })).toBe(first[0]);
    expect(await draw({ deterministic: true, random: { seed: 1 } })).toBe(first[1]);
    for (const seed of [-1, 1.5, 2 ** 53, "1" as unknown as number])
      await failure(() => draw({ random: { seed } }), "BARECELL_ARGUMENT_INVALID");
  });
  it("random bytes differ between calls and VMs", async () => {
    const seen = new Set<unknown>();
    for (let i = 0; i < 3; i++) {
      await withVm(image, { wasi: {} }, async (vm) => {
        seen.add(await vm.call("random"));
        seen.add(await vm.call("random"));
      });
    }
    expect(seen.size).toBe(6);
  });
});
