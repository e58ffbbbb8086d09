/** A guest's input from streams and iterators of JavaScript. */
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  type BarecellError,
  type HostContext,
  type HostFunction,
  type InputChunk,
  type InputSource,
  MicroVM,
} from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";
import { DATA, image, ONE_MIB, text } from "./programs.ts";

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function* generate(chunks: readonly InputChunk[]): AsyncGenerator<InputChunk> {
  for (const chunk of chunks) {
    await nextTurn();
    yield chunk;
  }
}

/** Every kind of source, over chunks of bytes or text. */
const KINDS: readonly (readonly [string, (chunks: readonly InputChunk[]) => InputSource])[] = [
  ["a Readable", (chunks) => Readable.from(generate(chunks))],
  ["a Readable of bytes", (chunks) => Readable.from(generate(chunks), { objectMode: false })],
  [
    "a slow stream with buffers of its own",
    (chunks) => {
      const stream = new PassThrough({ highWaterMark: 16 });
      void (async () => {
        for await (const chunk of generate(chunks)) {
          if (!stream.write(chunk)) await new Promise((resolve) => stream.once("drain", resolve));
        }
        stream.end();
      })();
      return stream;
    },
  ],
  [
    "a ReadableStream",
    (chunks) => {
      const iterator = generate(chunks);
      return new ReadableStream<InputChunk>({
        async pull(controller) {
          const { done, value } = await iterator.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
      });
    },
  ],
  ["an async generator", generate],
];

/** What a guest that copies its input to its output was given. */
async function copied(stdin: InputSource): Promise<string> {
  return withVm(image, { wasi: { stdin, stdout: "capture" } }, async (vm) => {
    expect(await soon("the copy", vm.start())).toBe(0);
    return text([vm.stdout()]);
  });
}

/** The sum that "read_all" makes. */
function sumOf(bytes: Uint8Array): bigint {
  let sum = 0n;
  let part = 0;
  bytes.forEach((byte, i) => {
    part += (i + 1) * byte;
    if (part > 2 ** 52) {
      sum += BigInt(part);
      part = 0;
    }
  });
  return sum + BigInt(part);
}

describe.each(KINDS)("%s", (_, make) => {
  it("arrives whole, and then ends", async () => {
    expect(await copied(make(["one ", Buffer.from("two "), "", new Uint8Array(0), "three"]))).toBe(
      "one two three",
    );
  });

  it("of no chunk at all is at its end", async () => {
    expect(await copied(make([]))).toBe("");
    expect(await copied(make([""]))).toBe("");
  });

  it("of characters that are split over chunks", async () => {
    const bytes = Buffer.from("grüße ☃ 😀!");
    expect(await copied(make([...bytes].map((byte) => Uint8Array.of(byte))))).toBe("grüße ☃ 😀!");
  });

  it("is there for several calls", async () => {
    await withVm(image, { wasi: { stdin: make(["abcdef", "ghi"]) } }, async (vm) => {
      const read = async (size: number): Promise<string> => {
        const count = (await vm.call("read", DATA, size)) as number;
        return text([vm.memory.read(DATA, count)]);
      };
      expect(await read(2)).toBe("ab");
      expect(await read(1)).toBe("c");
      expect(await read(1)).toBe("d");
      let rest = "";
      for (let piece = await read(100); piece !== ""; piece = await read(100)) rest += piece;
      expect(rest).toBe("efghi");
      expect(await read(1)).toBe("");
    });
  });

  it("of megabytes, in large and in small pieces on both sides", async () => {
    const bytes = Uint8Array.from({ length: 3 * ONE_MIB + 7 }, (_, i) => (i * 31) ^ (i >> 8));
    const pieces = [1_000_003, 65_536, 4097, 1].flatMap((size, i) => {
      const part = bytes.subarray(i * 800_000, i === 3 ? bytes.length : (i + 1) * 800_000);
      // Single bytes for a while only.
      const step = size === 1 ? 100_000 : size;
      return Array.from({ length: Math.ceil(part.length / step) }, (_, k) =>
        part.slice(k * step, (k + 1) * step),
      );
    });
    for (const size of [200_000, 3000]) {
      await withVm(image, { wasi: { stdin: make(pieces) } }, async (vm) => {
        expect(await vm.call("read_all", size)).toBe(BigInt(bytes.length));
        expect(vm.global("sum")).toBe(sumOf(bytes));
      });
    }
  });

  it("that ends with a failure: the guest finds the end, the call throws the cause", async () => {
    const cause = new Error("torn off");
    async function* torn(): AsyncGenerator<InputChunk> {
      yield "abc";
      await nextTurn();
      throw cause;
    }
    const iterator = torn();
    const source: InputSource =
      make === generate
        ? iterator
        : make([]) instanceof ReadableStream
          ? new ReadableStream({
              pull: async (controller) => {
                controller.enqueue((await iterator.next()).value);
              },
            })
          : Readable.from(iterator);
    await withVm(image, { wasi: { stdin: source } }, async (vm) => {
      const error = await soon(
        "the call",
        failure(() => vm.call("read_all", 100), "BARECELL_STREAM_FAILED"),
      );
      expect(error.cause).toBe(cause);
      expect(error.message).toContain("wasi.stdin");
      expect(error.message).toContain("the guest returned");
      expect(await vm.call("read", DATA, 10)).toBe(0);
    });
  });

  it("is read ahead of the guest by no more than a pipe holds", async () => {
    let taken = 0;
    const chunk = new Uint8Array(1000);
    async function* endless(): AsyncGenerator<InputChunk> {
      for (;;) {
        taken += chunk.length;
        yield chunk;
      }
    }
    const source: InputSource =
      make === generate
        ? endless()
        : make([]) instanceof ReadableStream
          ? ReadableStream.from(endless())
          : Readable.from(endless());
    await withVm(image, { wasi: { stdin: source } }, async (vm) => {
      for (let i = 0; i < 20; i++) expect(await vm.call("read", DATA, 100)).toBe(100);
      for (let i = 0; i < 10; i++) await nextTurn();
      // The pipe, what lies between, and the stream's own buffer.
      expect(taken).toBeLessThan(64 * 1024 + 40_000);
      const before = taken;
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(taken).toBe(before);
    });
  });
});

describe("strings", () => {
  it("a character whose halves are in two of them is one; half a one is not lost in silence", async () => {
    expect(await copied(generate(["a\ud83d", "\ude00b"]))).toBe("a😀b");
    expect(await copied(generate(["\ud83d", "", "\ude00"]))).toBe("😀");
    expect(await copied(generate(["x\ud83d"]))).toBe("x\ufffd");
    expect(await copied(generate(["x\ud83d", Buffer.from("y")]))).toBe("x\ufffdy");
    expect(await copied(generate(["\ude00y"]))).toBe("\ufffdy");
  });

  it("of a Readable with an encoding", async () => {
    const bytes = Buffer.from("ä😀ö");
    const stream = Readable.from(
      [...bytes].map((byte) => Buffer.of(byte)),
      { objectMode: false },
    );
    stream.setEncoding("utf8");
    expect(await copied(stream)).toBe("ä😀ö");
  });
});

describe("Node streams", () => {
  it("a file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "barecell-streams-"));
    try {
      const path = join(folder, "input");
      const content = "0123456789".repeat(20_000);
      writeFileSync(path, content);
      expect(await copied(createReadStream(path))).toBe(content);
      await withVm(image, { wasi: { stdin: createReadStream(join(folder, "missing")) } }, async (vm) => {
        const error = await failure(() => vm.call("read_all", 10), "BARECELL_STREAM_FAILED");
        expect((error.cause as NodeJS.ErrnoException).code).toBe("ENOENT");
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("are neither closed nor listened to when no call runs", async () => {
    const stream = new PassThrough();
    stream.write("abc");
    const listeners = (): number =>
      ["data", "end", "close"].reduce((sum, event) => sum + stream.listenerCount(event), 0);
    const before = listeners();
    const errors = stream.listenerCount("error");
    const vm = await MicroVM.boot(image, { wasi: { stdin: stream } });
    expect(await vm.call("read", DATA, 10)).toBe(3);
    expect(listeners()).toBe(before);
    expect(stream.isPaused()).toBe(true);
    stream.write("def");
    expect(await vm.call("read", DATA, 10)).toBe(3);
    vm.dispose();
    expect(listeners()).toBe(before);
    expect(stream.listenerCount("error")).toBe(errors);
    expect(stream.destroyed).toBe(false);
    stream.write("ghi");
    expect(String(stream.read())).toBe("ghi");
  });

  it("that were destroyed, ended or failed before, or are closed before their end", async () => {
    const destroyed = new PassThrough();
    destroyed.destroy();
    const failed = new PassThrough();
    failed.on("error", () => {}).destroy(new Error("before"));
    const ended = Readable.from(["gone"]);
    for await (const _ of ended);
    await nextTurn();
    await failure(() => copied(destroyed), "BARECELL_STREAM_FAILED");
    expect((await failure(() => copied(failed), "BARECELL_STREAM_FAILED")).message).toContain("before");
    expect(await copied(ended)).toBe("");
    const closed = new PassThrough();
    setTimeout(() => closed.destroy(), 30);
    await soon(
      "the closed stream",
      failure(() => copied(closed), "BARECELL_STREAM_FAILED"),
    );
  });

  it("that fail between two calls are told of by the next that reads", async () => {
    const stream = new PassThrough();
    await withVm(image, { wasi: { stdin: stream } }, async (vm) => {
      await vm.call("idle");
      stream.destroy(new Error("in between"));
      await nextTurn();
      await vm.call("idle");
      const error = await failure(() => vm.call("read", DATA, 1), "BARECELL_STREAM_FAILED");
      expect(error.message).toContain("in between");
    });
  });

  it("a wait for one that says nothing ends by the timeout, and by disposal", async () => {
    const stream = new PassThrough();
    await withVm(image, { wasi: { stdin: stream } }, async (vm) => {
      await soon(
        "the read",
        failure(() => vm.call("read", DATA, 10, { timeoutMs: 100 }), "BARECELL_TIMEOUT"),
      );
    });
    const vm = await MicroVM.boot(image, {
      wasi: { stdin: stream },
      timeoutMs: Number.POSITIVE_INFINITY,
    });
    const running = failure(() => vm.call("read", DATA, 10), "BARECELL_DISPOSED");
    await sleep(20);
    await soon("the disposal", vm[Symbol.asyncDispose]());
    await soon("the read", running);
    stream.destroy();
  });
});

describe("a guest that does not read", () => {
  it("leaves the stream as it is, and hears nothing of its failure", async () => {
    let begun = false;
    async function* source(): AsyncGenerator<string> {
      begun = true;
      yield "";
      throw new Error("nobody asked");
    }
    await withVm(image, { wasi: { stdin: source() } }, async (vm) => {
      for (let i = 0; i < 3; i++) await vm.call("idle");
      expect(begun).toBe(false);
    });
    const stream = new PassThrough();
    stream.write("mine");
    await withVm(image, { wasi: { stdin: stream } }, (vm) => vm.call("idle"));
    expect(String(stream.read())).toBe("mine");
  });

  it("or not to the end, is not told of what fails behind", async () => {
    async function* source(): AsyncGenerator<string> {
      yield "abc";
      throw new Error("behind");
    }
    await withVm(image, { wasi: { stdin: source() } }, async (vm) => {
      expect(await vm.call("read", DATA, 2)).toBe(2);
      await nextTurn();
      expect(await vm.call("read", DATA, 1)).toBe(1);
      const error = await failure(() => vm.call("read", DATA, 1), "BARECELL_STREAM_FAILED");
      expect(error.message).toContain("behind");
      expect(await vm.call("read", DATA, 1)).toBe(0);
    });
  });
});

describe("iterators", () => {
  it("are ended when the VM is disposed", async () => {
    let ended = false;
    async function* source(): AsyncGenerator<string> {
      try {
        for (;;) yield "x".repeat(1000);
      } finally {
        ended = true;
      }
    }
    await withVm(image, { wasi: { stdin: source() } }, (vm) => vm.call("read", DATA, 10));
    await nextTurn();
    expect(ended).toBe(true);
  });

  it("are not begun by a VM that was never booted", async () => {
    let begun = false;
    const source = {
      [Symbol.asyncIterator]() {
        begun = true;
        return generate([]);
      },
    };
    await failure(
      () =>
        MicroVM.boot(image, {
          wasi: { stdin: source, preopens: { "/": "/nonexistent/barecell" } },
        }),
      "BARECELL_PREOPEN_FAILED",
    );
    expect(begun).toBe(false);
  });

  it("that never come to the point do not keep the event loop from turning", async () => {
    async function* empty(): AsyncGenerator<string> {
      for (;;) yield "";
    }
    await withVm(image, { wasi: { stdin: empty() } }, (vm) =>
      failure(() => vm.call("read", DATA, 1, { timeoutMs: 100 }), "BARECELL_TIMEOUT"),
    );
  });

  it.each([
    ["an object", {}],
    ["null", null],
    ["nothing", undefined],
    ["a number", 1],
    ["an array", [1, 2]],
  ])("that give %s are a failure", async (_, chunk) => {
    const source = generate(["a", chunk as unknown as string]);
    const error = await failure(() => copied(source), "BARECELL_STREAM_FAILED");
    expect(error.cause).toBeInstanceOf(TypeError);
    expect(error.message).toContain("Uint8Array or a string");
  });

  it("whose end fails when the VM is disposed, or that are no iterators at all", async () => {
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.resolve({ done: false, value: "x" }),
        return: () => Promise.reject(new Error("nobody asked")),
      }),
    };
    await withVm(image, { wasi: { stdin: source } }, (vm) => vm.call("read", DATA, 1));
    const broken = { [Symbol.asyncIterator]: () => 1 } as unknown as AsyncIterable<string>;
    await failure(() => copied(broken), "BARECELL_STREAM_FAILED");
    await nextTurn();
  });

  it("a chunk that its owner takes back loses its rest, and nothing else", async () => {
    const chunk = new Uint8Array(200_000).fill(1);
    let calls = 0;
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () =>
          Promise.resolve(
            calls++ === 0
              ? { done: false as const, value: chunk }
              : { done: true as const, value: undefined },
          ),
      }),
    };
    await withVm(image, { wasi: { stdin: source } }, async (vm) => {
      expect(await vm.call("read", DATA, 10)).toBe(10);
      structuredClone(chunk.buffer, { transfer: [chunk.buffer] });
      const rest = (await vm.call("read_all", 100_000)) as bigint;
      expect(rest).toBeLessThan(200_000n);
    });
  });
});

describe("web streams", () => {
  it("are locked by the VM, and free and open when it is disposed", async () => {
    const stream = new ReadableStream({ pull: (controller) => controller.enqueue("x") });
    const vm = await MicroVM.boot(image, { wasi: { stdin: stream } });
    expect(stream.locked).toBe(true);
    const error = await failure(
      () => MicroVM.boot(image, { wasi: { stdin: stream } }),
      "BARECELL_ARGUMENT_INVALID",
    );
    expect(error.message).toContain("wasi.stdin");
    expect(await vm.call("read", DATA, 1)).toBe(1);
    vm.dispose();
    expect(stream.locked).toBe(false);
    expect((await stream.getReader().read()).value).toBe("x");
  });

  it("disposal while a read is on its way", async () => {
    const stream = new ReadableStream();
    const vm = await MicroVM.boot(image, { wasi: { stdin: stream } });
    const running = failure(() => vm.call("read", DATA, 1), "BARECELL_DISPOSED");
    await sleep(20);
    vm.dispose();
    await soon("the read", running);
    await nextTurn();
  });
});

describe("synchronous calls", () => {
  it("are refused where a stream of JavaScript could be needed, and the VM stays as it is", async () => {
    for (const wasi of [{ stdin: generate(["x"]) }, { stdout: () => {} }, { stderr: new PassThrough() }]) {
      const refused = (run: () => unknown): Promise<unknown> => failure(run, "BARECELL_STREAM_NEEDS_ASYNC");
      await refused(() => MicroVM.bootSync(image, { wasi }));
      await withVm(image, { wasi }, async (vm) => {
        await refused(() => vm.callSync("idle"));
        await refused(() => vm.modules[0]?.callRawSync("idle", new Uint8Array(0)));
        expect(vm.state).toBe("ready");
        // Globals need no code of the guest's.
        expect(vm.global("mark")).toBe(7);
        vm.setGlobal("mark", 8);
        expect(vm.global("mark")).toBe(8);
        expect(await vm.call("idle")).toBeUndefined();
      });
    }
    const vm = MicroVM.bootSync(image, { wasi: { stdin: "x", stdout: "capture" } });
    expect(vm.callSync("read", DATA, 5)).toBe(1);
    vm.dispose();
    await failure(() => vm.callSync("idle"), "BARECELL_DISPOSED");
  });
});

describe("host functions", () => {
  it("may call back into a guest that uses streams, but not synchronously", async () => {
    const caller = await imageOf(
      "stream-callback",
      `(module
        (import "host" "again" (func $again (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 3)
        (func $write (export "write") (result i32)
          (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 150000))
          (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (func (export "outer") (result i32) (drop (call $write)) (call $again)))`,
    );
    let bytes = 0;
    const stdout = async (chunk: Uint8Array): Promise<void> => {
      await nextTurn();
      bytes += chunk.length;
    };
    const boot = (again: (context: HostContext) => unknown): Promise<MicroVM> =>
      MicroVM.boot(caller, {
        wasi: { stdout },
        imports: { host: { again: again as HostFunction } },
      });
    const patient = await boot((context) => context.call("write"));
    expect(await soon("the call", patient.call("outer"))).toBe(0);
    expect(bytes).toBe(300_000);
    patient.dispose();
    const hasty = await boot((context) => context.callSync("write"));
    const error = await soon(
      "the call",
      failure(() => hasty.call("outer"), "BARECELL_HOST_FUNCTION_FAILED"),
    );
    expect((error.cause as BarecellError).code).toBe("BARECELL_STREAM_NEEDS_ASYNC");
    hasty.dispose();
  });
});

describe("options", () => {
  it.each([
    ["a writable stream", new WritableStream()],
    ["an iterator of nothing", {}],
    ["a list", [1]],
    ["a function", () => {}],
  ])("%s is no input", async (_, stdin) => {
    await failure(
      () => MicroVM.boot(image, { wasi: { stdin: stdin as unknown as InputSource } }),
      "BARECELL_ARGUMENT_INVALID",
    );
  });
});
