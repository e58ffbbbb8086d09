/** Directories of a guest as an embedder and a user of the command line see them; the functions themselves are tested in native/tests. */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BootOptions, MicroVM, type WasiOptions } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, wat, withVm } from "../support/modules.ts";

const ERRNO = {
  success: 0,
  acces: 2,
  badf: 8,
  dquot: 19,
  exist: 20,
  fault: 21,
  ilseq: 25,
  inval: 28,
  mfile: 33,
};
const MORE = { nametoolong: 37, noent: 44, nospc: 51, rofs: 69, notcapable: 76 };
const ALL = (1n << 30n) - 1n;
const READ = ALL & ~((1n << 6n) | (1n << 8n) | (1n << 22n) | 1n);
const [CREATE, FOLLOW] = [1, 1];

const functions: Record<string, string> = {
  path_open: "i32 i32 i32 i32 i32 i64 i64 i32 i32",
  path_create_directory: "i32 i32 i32",
  path_symlink: "i32 i32 i32 i32 i32",
  path_unlink_file: "i32 i32 i32",
  fd_prestat_get: "i32 i32",
  fd_prestat_dir_name: "i32 i32 i32",
  fd_read: "i32 i32 i32 i32",
  fd_write: "i32 i32 i32 i32",
  fd_close: "i32",
  clock_time_get: "i32 i64 i32",
  random_get: "i32 i32",
  sock_accept: "i32 i32 i32",
  sock_send: "i32 i32 i32 i32 i32",
};
/** Every function under its own name, so that a test is the guest. */
const text = `(module
  ${Object.entries(functions)
    .map(
      ([name, params]) =>
        `(import "wasi_snapshot_preview1" "${name}" (func $${name} (param ${params}) (result i32)))
         (export "${name}" (func $${name}))`,
    )
    .join("\n")
    .replace(/\(export "\w+" \(func \$\w+\)\)/g, "")}
  (memory (export "memory") 2)
  ${Object.entries(functions)
    .map(([name, params]) => {
      const list = params.split(" ");
      const gets = list.map((_, i) => `(local.get ${i})`).join(" ");
      return `(func (export "${name}") (param ${params}) (result i32) (call $${name} ${gets}))`;
    })
    .join("\n")}
  ;; Writes /x/file or what stands at 1024 (its length at 1000), for the command line; exits with what path_open gives.
  (func (export "_start")
    (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 1) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 0))
      (then unreachable))
    (i32.store (i32.const 8) (i32.const 1024)) (i32.store (i32.const 12) (i32.const 4))
    (if (call $fd_write (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable)))
  (data (i32.const 1024) "file"))`;
const image = await imageOf("directories", text);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "barecell-directories-"));
  mkdirSync(join(folder, "in"));
  writeFileSync(join(folder, "secret"), "secret");
  writeFileSync(join(folder, "in/mine"), "mine");
  symlinkSync("../secret", join(folder, "in/up"));
  symlinkSync("/etc", join(folder, "in/etc"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Calls of the guest, in words. */
class Guest {
  readonly vm: MicroVM;
  constructor(vm: MicroVM) {
    this.vm = vm;
  }
  u32(at: number): number {
    return Buffer.from(this.vm.memory.read(at, 4)).readUInt32LE();
  }
  put(at: number, content: string): number {
    const bytes = Buffer.from(content);
    this.vm.memory.write(at, bytes);
    return bytes.length;
  }
  call(name: string, ...args: (number | bigint)[]): number {
    return this.vm.callSync(name, ...args) as number;
  }
  open(path: string, oflags = 0, rights = ALL, dir = 3): number {
    return this.call("path_open", dir, FOLLOW, 2048, this.put(2048, path), oflags, rights, rights, 0, 0);
  }
  write(fd: number, content: string): number {
    const size = this.put(4096, content);
    this.vm.memory.write(8, Uint8Array.from(Buffer.from(new Uint32Array([4096, size]).buffer)));
    return this.call("fd_write", fd, 8, 1, 16);
  }
  read(fd: number): string {
    this.vm.memory.write(8, Uint8Array.from(Buffer.from(new Uint32Array([8192, 1000]).buffer)));
    expect(this.call("fd_read", fd, 8, 1, 16)).toBe(ERRNO.success);
    return Buffer.from(this.vm.memory.read(8192, this.u32(16))).toString();
  }
  preopens(): string[] {
    const names: string[] = [];
    for (let fd = 3; this.call("fd_prestat_get", fd, 0) === ERRNO.success; fd++) {
      const size = this.u32(4);
      expect(this.call("fd_prestat_dir_name", fd, 100, size)).toBe(ERRNO.success);
      names.push(Buffer.from(this.vm.memory.read(100, size)).toString());
    }
    return names;
  }
}
const withGuest = (wasi: WasiOptions, body: (guest: Guest) => void | Promise<void>): Promise<void> =>
  withVm(image, { wasi }, (vm) => body(new Guest(vm)));

describe("directories", () => {
  it("none by default", () =>
    withGuest({}, (guest) => {
      expect(guest.preopens()).toEqual([]);
      for (let fd = 0; fd < 10; fd++) expect(guest.open("mine", 0, READ, fd)).not.toBe(ERRNO.success);
    }));
  it("by the names and in the order given", () =>
    withGuest(
      { preopens: { "/data": join(folder, "in"), ".": { memoryBytes: 1000 }, "/ü": { host: folder } } },
      (guest) => expect(guest.preopens()).toEqual(["/data", ".", "/ü"]),
    ));
  it("read only by default", () =>
    withGuest({ preopens: { "/": join(folder, "in") } }, (guest) => {
      expect(guest.open("mine")).toBe(MORE.rofs);
      expect(guest.open("new", CREATE, READ)).toBe(MORE.rofs);
      expect(guest.call("path_unlink_file", 3, 2048, guest.put(2048, "mine"))).toBe(MORE.rofs);
      expect(guest.open("mine", 0, READ)).toBe(ERRNO.success);
      expect(guest.read(guest.u32(0))).toBe("mine");
    }));
  it("writable if said so, and what is written is there", () =>
    withGuest({ preopens: { "/": { host: join(folder, "in"), writable: true } } }, (guest) => {
      expect(guest.open("new", CREATE)).toBe(ERRNO.success);
      expect(guest.write(guest.u32(0), "grüße")).toBe(ERRNO.success);
      expect(readFileSync(join(folder, "in/new"), "utf8")).toBe("grüße");
    }));
  it("in memory, each VM its own", async () => {
    const wasi = { preopens: { "/tmp": { memoryBytes: 100_000 } } };
    await withGuest(wasi, async (guest) => {
      expect(guest.open("new", CREATE)).toBe(ERRNO.success);
      expect(guest.write(guest.u32(0), "x".repeat(50_000))).toBe(ERRNO.success);
      await withGuest(wasi, (other) => expect(other.open("new", 0, READ)).toBe(MORE.noent));
      for (let i = 0; i < 10; i++) guest.write(guest.u32(0), "x".repeat(50_000));
      expect(guest.write(guest.u32(0), "x".repeat(5000))).toBe(MORE.nospc);
    });
  });
  it("nothing outside can be reached", () =>
    withGuest({ preopens: { "/": { host: join(folder, "in"), writable: true } } }, (guest) => {
      for (const path of [
        "../secret",
        "up",
        "etc/passwd",
        "/etc/passwd",
        join(folder, "secret"),
        "../in/mine",
        "..",
      ]) {
        expect(guest.open(path, 0, READ), path).toBe(MORE.notcapable);
        expect(guest.open(path, CREATE), path).toBe(MORE.notcapable);
      }
      const at = guest.put(2048, "/etc/passwd");
      guest.put(3000, "link");
      expect(guest.call("path_symlink", 2048, at, 3, 3000, 4)).toBe(MORE.notcapable);
      expect(guest.open("mine\0")).toBe(ERRNO.inval);
      guest.vm.memory.write(2048, Uint8Array.of(0xff));
      expect(guest.call("path_create_directory", 3, 2048, 1)).toBe(ERRNO.ilseq);
      expect(guest.open("x".repeat(4096))).toBe(MORE.nametoolong);
      expect(readFileSync(join(folder, "secret"), "utf8")).toBe("secret");
    }));
  it("what is no file is not opened, and nothing waits for it", async () => {
    spawnSync("mkfifo", [join(folder, "in/fifo")]);
    await withGuest(
      { preopens: { "/": { host: join(folder, "in"), writable: true }, "/dev": "/dev" } },
      (guest) => {
        for (const rights of [READ, ALL]) {
          expect(guest.open("fifo", 0, rights)).toBe(MORE.notcapable);
          expect(guest.open("null", 0, rights, 4)).toBe(MORE.notcapable);
          expect(guest.open("tty", 0, rights, 4)).toBe(MORE.notcapable);
        }
      },
    );
  });
  it("leave no descriptor behind in the host", async () => {
    const count = () => readdirSync("/proc/self/fd").length;
    const use = () =>
      withGuest(
        { preopens: { "/": { host: join(folder, "in"), writable: true }, "/tmp": { memoryBytes: 100_000 } } },
        (guest) => {
          for (let i = 0; i < 20; i++) {
            expect(guest.open("mine", 0, READ)).toBe(ERRNO.success);
            expect(guest.open(`file${i}`, CREATE, ALL, 4)).toBe(ERRNO.success);
          }
        },
      );
    for (let i = 0; i < 3; i++) await use();
    const before = count();
    for (let i = 0; i < 10; i++) await use();
    expect(count()).toBeLessThanOrEqual(before);
  });
  it("that cannot be opened are an error of the boot, with the path", async () => {
    const options: BootOptions = { wasi: { preopens: { "/": join(folder, "none") } } };
    const error = await failure(() => MicroVM.boot(image, options), "BARECELL_PREOPEN_FAILED");
    expect(error.message).toContain(join(folder, "none"));
    await failure(
      () => MicroVM.boot(image, { wasi: { preopens: { "/": join(folder, "secret") } } }),
      "BARECELL_PREOPEN_FAILED",
    );
  });
  it.each([
    [{ preopens: { "": "/tmp" } }],
    [{ preopens: { "/": "" } }],
    [{ preopens: { "/": "/tmp\0x" } }],
    [{ preopens: { "/": { memoryBytes: -1 } } }],
    [{ preopens: { "/": { host: 3 } } }],
    [{ preopens: { "/": { host: "/tmp", writable: 1 } } }],
    [{ preopens: "/tmp" }],
    [{ sockets: [-1] }],
    [{ sockets: [1.5] }],
    [{ sockets: [2 ** 31 - 1] }],
    [{ sockets: 3 }],
    [{ clock: "slow" }],
    [{ random: true }],
    [{ deterministic: "yes" }],
    [{ limits: { openFiles: 2 } }],
    [{ limits: { writeBytes: -1 } }],
    [{ limits: { directoryDepth: 5000 } }],
    [{ limits: 3 }],
  ])("%j is refused", async (wasi) => {
    await failure(
      () => MicroVM.boot(image, { wasi: wasi as unknown as WasiOptions }),
      "BARECELL_ARGUMENT_INVALID",
    );
  });
});

describe("limits", () => {
  it("of descriptors, of what is written, of depth", () =>
    withGuest(
      {
        preopens: { "/": { host: join(folder, "in"), writable: true } },
        limits: { openFiles: 6, writeBytes: 10_000, directoryDepth: 1 },
      },
      (guest) => {
        expect(guest.open("limited", CREATE)).toBe(ERRNO.success);
        const fd = guest.u32(0);
        expect(guest.write(fd, "x".repeat(1000))).toBe(ERRNO.success);
        expect(guest.write(fd, "x".repeat(9000))).toBe(ERRNO.success);
        expect(guest.u32(16)).toBe(10_000 - 4096 - 1000);
        expect(guest.write(fd, "x")).toBe(ERRNO.dquot);
        expect(guest.open("mine", 0, READ)).toBe(ERRNO.success);
        expect(guest.open("mine", 0, READ)).toBe(ERRNO.mfile);
        expect(guest.call("fd_close", fd)).toBe(ERRNO.success);
        expect(guest.open("mine", 0, READ)).toBe(ERRNO.success);
        mkdirSync(join(folder, "in/deep"), { recursive: true });
        expect(guest.call("path_create_directory", 3, 2048, guest.put(2048, "deep/er"))).toBe(
          MORE.nametoolong,
        );
      },
    ));
});

describe("determinism", () => {
  it("the same clock and the same bytes in every run", async () => {
    const seen: string[] = [];
    for (let i = 0; i < 2; i++) {
      await withGuest({ deterministic: true }, (guest) => {
        expect(guest.call("clock_time_get", 0, 0n, 0)).toBe(0);
        expect(guest.call("clock_time_get", 1, 0n, 8)).toBe(0);
        expect(guest.call("random_get", 16, 100)).toBe(0);
        seen.push(Buffer.from(guest.vm.memory.read(0, 116)).toString("hex"));
      });
    }
    expect(seen[0]).toBe(seen[1]);
    await withGuest({ clock: "fixed" }, (guest) => {
      expect(guest.call("clock_time_get", 0, 0n, 0)).toBe(0);
      expect(Number(Buffer.from(guest.vm.memory.read(0, 8)).readBigUInt64LE() / 1_000_000n)).toBe(
        Date.UTC(2000, 0, 1),
      );
      guest.call("random_get", 16, 100);
      expect(Buffer.from(guest.vm.memory.read(16, 100)).toString("hex")).not.toBe(seen[0]?.slice(32));
    });
  });
});

describe("sockets", () => {
  it("a listening one: the guest takes a connection and answers", async () => {
    const server: Server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    // The only way to a server's descriptor that Node has.
    const fd = (server as unknown as { _handle: { fd: number } })._handle.fd;
    const vm = await MicroVM.boot(image, { wasi: { sockets: [fd] }, timeoutMs: 20_000 });
    const { port } = server.address() as { port: number };
    // The guest has a descriptor of its own; Node's would take the connection itself.
    server.close();
    try {
      const answer = soon("the answer", exchange(port));
      expect(await vm.call("sock_accept", 3, 0, 0)).toBe(0);
      const guest = new Guest(vm);
      guest.put(4096, "hello from the guest");
      vm.memory.write(8, Uint8Array.from(Buffer.from(new Uint32Array([4096, 20]).buffer)));
      expect(await vm.call("sock_send", guest.u32(0), 8, 1, 0, 16)).toBe(0);
      expect(await vm.call("fd_close", guest.u32(0))).toBe(0);
      expect(await answer).toBe("hello from the guest");
    } finally {
      vm.dispose();
    }
  });
  it("waiting for a connection ends by the timeout", async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const fd = (server as unknown as { _handle: { fd: number } })._handle.fd;
    await withVm(image, { wasi: { sockets: [fd] }, timeoutMs: 100 }, (vm) =>
      soon(
        "the timeout",
        failure(() => vm.call("sock_accept", 3, 0, 0), "BARECELL_TIMEOUT"),
      ).then(() => undefined),
    );
    server.close();
  });
});

/** In a process of its own, which ends when the guest closes the connection. */
function exchange(port: number): Promise<string> {
  const code = `require("node:net").connect(${port}, "127.0.0.1").on("data", (d) => process.stdout.write(d))`;
  return import("node:child_process").then(
    ({ execFile }) =>
      new Promise((done, fail) => {
        execFile(process.execPath, ["-e", code], (error, stdout) => (error ? fail(error) : done(stdout)));
      }),
  );
}

describe("the command line", () => {
  const cli = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
  const run = (...args: string[]) => {
    writeFileSync(join(folder, "write.wasm"), wat("write", text));
    return spawnSync(process.execPath, [cli, "run", ...args, join(folder, "write.wasm")], {
      encoding: "utf8",
    });
  };
  it("--dir gives a directory to read and write, ::ro one to read", () => {
    const host = join(folder, "given");
    mkdirSync(host);
    expect(run("--dir", `${host}::/`)).toMatchObject({ status: 0, stderr: "" });
    expect(readFileSync(join(host, "file"), "utf8")).toBe("file");
    expect(run("--dir", `${host}::/::ro`).status).not.toBe(0);
    expect(run("--tmpfs", "/::1M")).toMatchObject({ status: 0, stderr: "" });
    expect(run("--tmpfs", "/::100").status).not.toBe(0);
    expect(run("--max-write", "0", "--dir", `${host}::/`).status).not.toBe(0);
    expect(run().status).not.toBe(0);
  });
  it("wrong values are named", () => {
    for (const [option, value] of [
      ["--dir", ""],
      ["--dir", "/tmp::/x::wx"],
      ["--dir", "/tmp::"],
      ["--tmpfs", "/x::lots"],
      ["--socket", "three"],
    ] as const) {
      const { status, stderr } = run(option, value);
      expect(status).toBe(2);
      expect(stderr).toContain(option);
    }
    expect(run("--dir", `${folder}::/x`, "--tmpfs", "/x").stderr).toContain("'/x'");
    expect(run("--dir", "/none/such::/x").stderr).toContain("BARECELL_PREOPEN_FAILED");
  });
});
