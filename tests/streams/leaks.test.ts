/** Every pipe is closed, whatever way a VM and its streams end. */
import { readdirSync, readlinkSync } from "node:fs";
import { PassThrough, Writable } from "node:stream";
import { beforeAll, describe, expect, it } from "vitest";
import { type BarecellError, MicroVM, type WasiOptions } from "../support/barecell.ts";
import { isSvm, soon } from "../support/environment.ts";
import { DATA, image, ONE_MIB } from "./programs.ts";

function pipes(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("pipe:");
    } catch {
      return false; // the descriptor of the listing itself
    }
  }).length;
}

async function* endless(): AsyncGenerator<string> {
  for (;;) yield "x".repeat(3000);
}

const never = (): Promise<void> => new Promise(() => {});

/** What may become of a VM with streams; each must leave nothing. */
const ROUNDS: Readonly<Record<string, () => Promise<unknown>>> = {
  "used and disposed": () => use({ stdin: endless(), stdout: () => {}, stderr: new PassThrough() }),
  "one stream for both outputs": () => {
    const both = new WritableStream();
    return use({ stdout: both, stderr: both });
  },
  "input at its end": async () => {
    const stdin = new PassThrough();
    stdin.end("abc");
    await use({ stdin });
  },
  "a boot refused by its options": () =>
    fails(() => MicroVM.boot(image, { wasi: { stdin: endless(), stdout: () => {}, args: ["\0"] } })),
  "a boot refused by a locked stream": () => {
    const locked = new WritableStream();
    locked.getWriter();
    return fails(() => MicroVM.boot(image, { wasi: { stdin: endless(), stdout: () => {}, stderr: locked } }));
  },
  "a boot refused by the addon": () =>
    fails(() =>
      MicroVM.boot(image, {
        wasi: { stdin: endless(), stdout: () => {}, preopens: { "/": "/nonexistent/barecell" } },
      }),
    ),
  "a synchronous boot": () => fails(async () => MicroVM.bootSync(image, { wasi: { stdout: () => {} } })),
  "a target that fails": async () => {
    const vm = await MicroVM.boot(image, { wasi: { stdout: () => Promise.reject(new Error("no")) } });
    await fails(() => vm.call("flood", 1, ONE_MIB, 4));
    await vm[Symbol.asyncDispose]();
  },
  "a target that is destroyed": async () => {
    const stdout = new Writable({ write: () => setImmediate(() => stdout.destroy()) });
    const vm = await MicroVM.boot(image, { wasi: { stdout } });
    await fails(() => vm.call("flood", 1, ONE_MIB, 4));
    await vm[Symbol.asyncDispose]();
  },
  "disposed while the guest waits to write": () => disposedDuring({ stdout: never }, "flood", 1, ONE_MIB, 4),
  "disposed while the guest waits to read": () =>
    disposedDuring({ stdin: new PassThrough() }, "read", DATA, 10),
  "disposed while the last output is taken": () => disposedDuring({ stdout: never }, "write", 1, DATA, 10),
  "disposed in the turn of the call": async () => {
    const vm = await MicroVM.boot(image, { wasi: { stdin: endless(), stdout: () => {} } });
    const running = fails(() => vm.start());
    vm.dispose();
    await running;
    await vm[Symbol.asyncDispose]();
  },
};

async function fails(run: () => Promise<unknown>): Promise<void> {
  const code = await run().then(
    () => "none",
    (error: BarecellError) => error.code,
  );
  expect(code).toMatch(/^BARECELL_/);
}

async function use(wasi: WasiOptions): Promise<void> {
  const vm = await MicroVM.boot(image, { wasi });
  await vm.call("read", DATA, 10);
  await vm.call("alternate", 3);
  vm.dispose();
}

async function disposedDuring(wasi: WasiOptions, name: string, ...args: number[]): Promise<void> {
  const vm = await MicroVM.boot(image, { wasi, timeoutMs: Number.POSITIVE_INFINITY });
  const running = fails(() => vm.call(name, ...args));
  await new Promise((resolve) => setTimeout(resolve, 5));
  vm.dispose();
  await soon("the call", running);
  await soon("the disposal", vm[Symbol.asyncDispose]());
}

describe("pipes", () => {
  beforeAll(() => use({ stdout: () => {} }));
  it.each(Object.keys(ROUNDS))("%s", async (name) => {
    const before = pipes();
    for (let i = 0; i < (isSvm ? 3 : 20); i++) await ROUNDS[name]?.();
    expect(pipes()).toBe(before);
  });
  it("a VM has one for each stream, and one for two that are the same", async () => {
    const before = pipes();
    const both = (): void => {};
    const vm = await MicroVM.boot(image, { wasi: { stdin: endless(), stdout: both, stderr: both } });
    expect(pipes() - before).toBe(4);
    vm.dispose();
    expect(pipes()).toBe(before);
    const plain = await MicroVM.boot(image, { wasi: { stdin: "x", stdout: "capture" } });
    expect(pipes()).toBe(before);
    plain.dispose();
  });
  it("sixty VMs at once", async () => {
    const before = pipes();
    const vms = await Promise.all(
      Array.from({ length: isSvm ? 6 : 60 }, () =>
        MicroVM.boot(image, {
          wasi: {
            stdin: (async function* () {
              yield "hello, ";
              yield "world";
            })(),
            stdout: "capture",
            stderr: () => {},
          },
        }),
      ),
    );
    await Promise.all(vms.map((vm) => vm.start()));
    for (const vm of vms) expect(Buffer.from(vm.stdout()).toString()).toBe("hello, world");
    for (const vm of vms) vm.dispose();
    expect(pipes()).toBe(before);
  });
});
