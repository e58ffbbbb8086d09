/** A guest's output to streams and callbacks of JavaScript. */
import { PassThrough, Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { MicroVM, type OutputTarget } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure, names } from "../support/errors.ts";
import { withVm } from "../support/modules.ts";
import { EPIPE, image, ONE_MIB, pattern, text } from "./programs.ts";

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

type Take = (chunk: Uint8Array) => Promise<void>;

/** Every kind of target, over one function that takes the chunks. */
const KINDS: readonly (readonly [string, (take: Take) => OutputTarget])[] = [
  [
    "a Writable",
    (take) =>
      new Writable({ write: (chunk, _, done) => void take(chunk as Uint8Array).then(() => done(), done) }),
  ],
  ["a WritableStream", (take) => new WritableStream({ write: take })],
  ["a callback", (take) => take],
];

function collector(pause?: () => Promise<void>): { readonly chunks: Uint8Array[]; readonly take: Take } {
  const chunks: Uint8Array[] = [];
  const take = async (chunk: Uint8Array): Promise<void> => {
    await pause?.();
    chunks.push(chunk);
  };
  return { chunks, take };
}

describe.each(KINDS)("%s", (_, make) => {
  it("gets all that was written when the call returns, however slow it is", async () => {
    const { chunks, take } = collector(async () => {
      for (let i = 0; i < 5; i++) await nextTurn();
    });
    await withVm(image, { wasi: { stdout: make(take) } }, async (vm) => {
      expect(await vm.call("flood", 1, 1000, 300)).toBe(0);
      expect(text(chunks)).toBe(pattern(1000).repeat(300));
      expect(await vm.call("write", 1, 1024, 4)).toBe(0);
      expect(text(chunks)).toBe(`${pattern(1000).repeat(300)}0123`);
    });
  });

  it("a guest that is faster waits; nobody is asked to take two chunks at once", async () => {
    let taking = 0;
    let most = 0;
    let bytes = 0;
    const take: Take = async (chunk) => {
      most = Math.max(most, ++taking);
      expect(chunk.length).toBeLessThanOrEqual(ONE_MIB);
      await nextTurn();
      bytes += chunk.length;
      taking--;
    };
    await withVm(image, { wasi: { stdout: make(take) } }, async (vm) => {
      expect(await vm.call("flood", 1, ONE_MIB, 16)).toBe(0);
      expect(bytes).toBe(16 * ONE_MIB);
      expect(most).toBe(1);
    });
  });

  it("output before an exit, a trap and a timeout arrives", async () => {
    for (const [name, code] of [
      ["write_and_trap", "BARECELL_TRAP_UNREACHABLE"],
      ["write_and_loop", "BARECELL_TIMEOUT"],
    ] as const) {
      const { chunks, take } = collector(nextTurn);
      await withVm(image, { wasi: { stdout: make(take) } }, async (vm) => {
        await failure(() => vm.call(name, 10, { timeoutMs: 500 }), code);
        expect(text(chunks)).toBe("0123456789");
      });
    }
    const { chunks, take } = collector(nextTurn);
    await withVm(image, { wasi: { stdout: make(take) } }, async (vm) => {
      const error = await failure(() => vm.call("write_and_exit", 10, 3), "BARECELL_GUEST_EXIT");
      expect(error.exitCode).toBe(3);
      expect(text(chunks)).toBe("0123456789");
    });
  });

  it("for both kinds of output keeps their order", async () => {
    const { chunks, take } = collector();
    const target = make(take);
    await withVm(image, { wasi: { stdout: target, stderr: target } }, async (vm) => {
      await vm.call("alternate", 2000);
      expect(text(chunks)).toBe(
        Array.from({ length: 2000 }, (_, i) => "01234567"[i % 8] + "abcdef".charAt(i % 6)).join(""),
      );
    });
  });

  it("that fails: the guest gets EPIPE, the call the cause", async () => {
    const cause = new Error("the disk is on fire");
    let calls = 0;
    const target = make(async () => {
      calls++;
      throw cause;
    });
    await withVm(image, { wasi: { stdout: target } }, async (vm) => {
      const error = await failure(() => vm.call("flood", 1, ONE_MIB, 8), "BARECELL_STREAM_FAILED");
      expect(error.cause).toBe(cause);
      expect(error.message).toContain("wasi.stdout");
      expect(error.message).toContain("the disk is on fire");
      expect(error.message).toContain("the guest returned");
      expect(vm.state).toBe("ready");
      // Told once. What the guest writes afterwards fails visibly, but to the guest.
      expect(await vm.call("write", 1, 1024, 4)).toBe(EPIPE);
      expect(await vm.call("flood", 1, ONE_MIB, 8)).toBe(EPIPE);
      expect(calls).toBe(1);
    });
  });

  it("that fails when the guest has ended by itself: the ending is in the error", async () => {
    const target = (): OutputTarget => make(() => Promise.reject(new Error("no")));
    await withVm(image, { wasi: { stdout: target() } }, async (vm) => {
      const error = await failure(() => vm.call("write_and_exit", 10, 33), "BARECELL_STREAM_FAILED");
      expect(error.exitCode).toBe(33);
      expect(vm.state).toBe("poisoned");
    });
    await withVm(image, { wasi: { stdout: target() } }, async (vm) => {
      const error = await failure(() => vm.call("write_and_trap", 10), "BARECELL_STREAM_FAILED");
      expect(names(error)).toContain("write_and_trap");
      expect(error.message).toContain("unreachable");
      expect(vm.state).toBe("poisoned");
    });
    await withVm(image, { wasi: { stdin: "input", stdout: target() } }, async (vm) => {
      const error = await failure(() => vm.start(), "BARECELL_STREAM_FAILED");
      expect(error.message).toContain("no");
    });
  });

  it("that never takes anything: a guest that waits for it runs out of time, one that ended is told of", async () => {
    const never = (): OutputTarget => make(() => new Promise(() => {}));
    await withVm(image, { wasi: { stdout: never() } }, async (vm) => {
      await soon(
        "the flood",
        failure(() => vm.call("flood", 1, ONE_MIB, 8, { timeoutMs: 200 }), "BARECELL_TIMEOUT"),
      );
    });
    await withVm(image, { wasi: { stdout: never() } }, async (vm) => {
      const error = await soon(
        "the write",
        failure(() => vm.call("write", 1, 1024, 4, { timeoutMs: 500 }), "BARECELL_STREAM_FAILED"),
      );
      expect(error.message).toContain("had not taken the guest's output");
    });
  });

  it("a cancelled call does not wait for it", async () => {
    for (const [name, code, ...args] of [
      ["flood", "BARECELL_CANCELLED", 1, ONE_MIB, 8],
      ["write", "BARECELL_STREAM_FAILED", 1, 1024, 4],
    ] as const) {
      const controller = new AbortController();
      const target = make(() => {
        setTimeout(() => controller.abort(), 20);
        return new Promise(() => {});
      });
      const options = { signal: controller.signal, timeoutMs: Number.POSITIVE_INFINITY };
      await withVm(image, { wasi: { stdout: target } }, async (vm) => {
        const error = await soon(
          "the call",
          failure(() => vm.call(name, ...args, options), code),
        );
        expect(error.message).toMatch(/cancelled/);
      });
    }
  });

  it("dispose() ends a call that waits for it, and one whose last output it holds", async () => {
    for (const [name, ...args] of [
      ["flood", 1, ONE_MIB, 8],
      ["write", 1, 1024, 4],
    ] as const) {
      let asked = (): void => {};
      const taking = new Promise<void>((resolve) => {
        asked = resolve;
      });
      const target = make(() => {
        asked();
        return new Promise(() => {});
      });
      const vm = await MicroVM.boot(image, {
        wasi: { stdout: target },
        timeoutMs: Number.POSITIVE_INFINITY,
      });
      const running = failure(() => vm.call(name, ...args), "BARECELL_DISPOSED");
      await soon("the first chunk", taking);
      await nextTurn();
      await soon("the disposal", vm[Symbol.asyncDispose]());
      await soon("the call", running);
    }
  });

  it("is disposed of from inside", async () => {
    let vm: MicroVM | undefined;
    const target = make(async () => vm?.dispose());
    vm = await MicroVM.boot(image, { wasi: { stdout: target } });
    const running = vm.call("flood", 1, ONE_MIB, 8);
    await soon(
      "the call",
      failure(() => running, "BARECELL_DISPOSED"),
    );
  });
});

describe("callbacks", () => {
  it("may be synchronous, and throw", async () => {
    const chunks: Uint8Array[] = [];
    await withVm(image, { wasi: { stdout: (chunk) => void chunks.push(chunk) } }, async (vm) => {
      await vm.call("flood", 1, 1000, 300);
      expect(text(chunks)).toBe(pattern(1000).repeat(300));
    });
    const stderr = (): void => {
      throw new RangeError("enough");
    };
    await withVm(image, { wasi: { stderr } }, async (vm) => {
      const error = await failure(() => vm.call("write", 2, 1024, 1), "BARECELL_STREAM_FAILED");
      expect(error.cause).toBeInstanceOf(RangeError);
      expect(error.message).toContain("wasi.stderr");
    });
  });

  it("that throw no error at all are told of too", () =>
    withVm(image, { wasi: { stdout: () => Promise.reject(undefined) } }, async (vm) => {
      const error = await failure(() => vm.call("write", 1, 1024, 1), "BARECELL_STREAM_FAILED");
      expect("cause" in error && error.cause).toBeFalsy();
    }));

  it("a guest that always has more does not keep the event loop from turning", async () => {
    // Slower than the guest, so that the pipe is never found empty.
    const stdout = (): void => {
      const end = performance.now() + 1;
      while (performance.now() < end);
    };
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    try {
      await withVm(image, { wasi: { stdout } }, (vm) => vm.call("flood", 1, ONE_MIB, 16));
    } finally {
      clearInterval(timer);
    }
    expect(turns).toBeGreaterThan(15);
  });

  it("cannot call the VM that waits for them", async () => {
    let vm: MicroVM | undefined;
    const codes: unknown[] = [];
    const stdout = async (): Promise<void> => {
      codes.push((await failure(() => vm?.call("idle"), "BARECELL_BUSY")).code);
    };
    vm = await MicroVM.boot(image, { wasi: { stdout } });
    await vm.call("write", 1, 1024, 4);
    expect(codes).toEqual(["BARECELL_BUSY"]);
    vm.dispose();
  });
});

describe("Node streams", () => {
  const discard = (): Writable => new Writable({ write: (_, __, done) => done() });

  it("are not ended, and keep no listener of ours", async () => {
    const stream = discard();
    await withVm(image, { wasi: { stdout: stream, stderr: stream } }, async (vm) => {
      await vm.call("alternate", 10);
      expect(stream.listenerCount("error") + stream.listenerCount("close")).toBe(0);
    });
    expect(stream.writable).toBe(true);
  });

  it("that are destroyed or ended before fail when they are written to, and others that use them do not", async () => {
    for (const spoil of [
      (stream: Writable) => stream.destroy(),
      (stream: Writable) => stream.end(),
      (stream: Writable) => stream.on("error", () => {}).destroy(new Error("on purpose")),
    ]) {
      const stream = discard();
      const errors: unknown[] = [];
      spoil(stream);
      stream.on("error", (error) => errors.push(error.message));
      await nextTurn();
      const before = [...errors];
      await withVm(image, { wasi: { stdout: stream } }, async (vm) => {
        await vm.call("idle");
        await failure(() => vm.call("write", 1, 1024, 4), "BARECELL_STREAM_FAILED");
        expect(await vm.call("write", 1, 1024, 4)).toBe(EPIPE);
      });
      expect(errors).toEqual(before);
    }
  });

  it("that are destroyed while they hold a chunk end the wait", async () => {
    for (const error of [undefined, new Error("pulled")]) {
      const stream = new Writable({ write: () => setImmediate(() => stream.destroy(error)) });
      await withVm(image, { wasi: { stdout: stream } }, async (vm) => {
        const failed = await soon(
          "the call",
          failure(() => vm.call("flood", 1, ONE_MIB, 4), "BARECELL_STREAM_FAILED"),
        );
        if (error) expect(failed.cause).toBe(error);
      });
      await nextTurn();
    }
  });

  it("that fail while the guest computes are told of at the end of the call", async () => {
    const stream = discard();
    const cause = new Error("by itself");
    await withVm(image, { wasi: { stdout: stream } }, async (vm) => {
      setTimeout(() => stream.destroy(cause), 20);
      const error = await failure(
        () => vm.call("write_and_loop", 4, { timeoutMs: 300 }),
        "BARECELL_STREAM_FAILED",
      );
      expect(error.cause).toBe(cause);
      expect(error.message).toContain("timeoutMs");
    });
  });

  it("that fail after the VM is disposed do not end the process", async () => {
    let done: (error: Error) => void = () => {};
    const stream = new Writable({
      write: (_, __, callback) => {
        done = callback;
      },
    });
    const vm = await MicroVM.boot(image, { wasi: { stdout: stream } });
    const running = failure(() => vm.call("write", 1, 1024, 4), "BARECELL_DISPOSED");
    await nextTurn();
    while (stream.writableLength === 0) await nextTurn();
    vm.dispose();
    await running;
    const closed = new Promise((resolve) => stream.on("close", resolve));
    done(new Error("late"));
    await closed;
  });

  it("are shared by many VMs at once, without a warning of listeners", async () => {
    const { chunks, take } = collector(nextTurn);
    const stream = new Writable({ write: (chunk, _, done) => void take(chunk).then(() => done(), done) });
    const warnings: unknown[] = [];
    const warned = (warning: Error): void => void warnings.push(warning.name);
    process.on("warning", warned);
    const vms = await Promise.all(
      Array.from({ length: 24 }, () => MicroVM.boot(image, { wasi: { stdout: stream } })),
    );
    await Promise.all(vms.map((vm) => vm.call("write", 1, 1024, 16)));
    await nextTurn();
    process.off("warning", warned);
    for (const vm of vms) vm.dispose();
    expect(text(chunks)).toBe(pattern(16).repeat(24));
    expect(warnings).toEqual([]);
  });

  it("with a reader of their own: what is not read holds the guest back", async () => {
    const stream = new PassThrough();
    await withVm(image, { wasi: { stdout: stream } }, async (vm) => {
      const running = vm.call("flood", 1, ONE_MIB, 4);
      void running.then(() => stream.end());
      let bytes = 0;
      for await (const chunk of stream) bytes += (chunk as Uint8Array).length;
      expect(bytes).toBe(4 * ONE_MIB);
      expect(await running).toBe(0);
    });
  });
});

describe("web streams", () => {
  it("are locked by the VM, and free when it is disposed", async () => {
    const stream = new WritableStream();
    const vm = await MicroVM.boot(image, { wasi: { stdout: stream } });
    expect(stream.locked).toBe(true);
    const error = await failure(
      () => MicroVM.boot(image, { wasi: { stderr: stream } }),
      "BARECELL_ARGUMENT_INVALID",
    );
    expect(error.message).toContain("wasi.stderr");
    expect(error.message).toContain("locked");
    vm.dispose();
    expect(stream.locked).toBe(false);
    await stream.close();
  });

  it("that were aborted or have failed", async () => {
    const aborted = new WritableStream();
    await aborted.abort(new Error("aborted"));
    const failing = new WritableStream({
      start: (controller) => controller.error(new Error("failed")),
    });
    for (const [stream, message] of [
      [aborted, "aborted"],
      [failing, "failed"],
    ] as const) {
      await withVm(image, { wasi: { stdout: stream } }, async (vm) => {
        const error = await failure(() => vm.call("write", 1, 1024, 4), "BARECELL_STREAM_FAILED");
        expect(error.message).toContain(message);
      });
    }
  });
});

describe("options", () => {
  it.each([
    ["a readable stream", new ReadableStream()],
    ["an object that is nothing", {}],
    ["a number", 1],
  ])("%s is no output", async (_, stdout) => {
    await failure(
      () => MicroVM.boot(image, { wasi: { stdout: stdout as unknown as OutputTarget } }),
      "BARECELL_ARGUMENT_INVALID",
    );
  });

  it("output to a stream is not captured", () =>
    withVm(image, { wasi: { stdout: () => {}, stderr: "capture" } }, async (vm) => {
      await vm.call("alternate", 4);
      expect(vm.stdout().length).toBe(0);
      expect(text([vm.stderr()])).toBe("abcd");
    }));
});
