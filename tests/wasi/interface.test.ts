/**
 * The whole interface in a real VM, made from one table: every function is there in both dialects with its type, and none of them
 * can be made to do more than give an errno, whatever its arguments are.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Image, MicroVM } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf, withVm } from "../support/modules.ts";

/** Parameters as letters (i: i32, j: i64, p: a pointer), after the specification's witx. */
const FUNCTIONS: Readonly<Record<string, string>> = {
  args_get: "pp",
  args_sizes_get: "pp",
  environ_get: "pp",
  environ_sizes_get: "pp",
  clock_res_get: "ip",
  clock_time_get: "ijp",
  fd_advise: "ijji",
  fd_allocate: "ijj",
  fd_close: "i",
  fd_datasync: "i",
  fd_fdstat_get: "ip",
  fd_fdstat_set_flags: "ii",
  fd_fdstat_set_rights: "ijj",
  fd_filestat_get: "ip",
  fd_filestat_set_size: "ij",
  fd_filestat_set_times: "ijji",
  fd_pread: "ipijp",
  fd_prestat_get: "ip",
  fd_prestat_dir_name: "ipi",
  fd_pwrite: "ipijp",
  fd_read: "ipip",
  fd_readdir: "ipijp",
  fd_renumber: "ii",
  fd_seek: "ijip",
  fd_sync: "i",
  fd_tell: "ip",
  fd_write: "ipip",
  path_create_directory: "ipi",
  path_filestat_get: "iipip",
  path_filestat_set_times: "iipijji",
  path_link: "iipiipi",
  path_open: "iipiijjip",
  path_readlink: "ipipip",
  path_remove_directory: "ipi",
  path_rename: "ipiipi",
  path_symlink: "piipi",
  path_unlink_file: "ipi",
  poll_oneoff: "ppip",
  proc_raise: "i",
  random_get: "pi",
  sched_yield: "",
  sock_accept: "iip",
  sock_recv: "ipiipp",
  sock_send: "ipiip",
  sock_shutdown: "ii",
};
const MEMORY = 65_536;
const MAX_ERRNO = 76;
const EFAULT = 21;

const wasmTypes = (letters: string): string =>
  [...letters].map((letter) => (letter === "j" ? "i64" : "i32")).join(" ");

/** Each function behind an export of its name. */
function everything(module: string): Promise<Image> {
  const imports = Object.entries(FUNCTIONS).map(
    ([name, letters]) =>
      `(import "${module}" "${name}" (func $${name} (param ${wasmTypes(letters)}) (result i32)))`,
  );
  const exports = Object.entries(FUNCTIONS).map(
    ([name, letters]) =>
      `(func (export "${name}") (param ${wasmTypes(letters)}) (result i32)
         (call $${name} ${[...letters].map((_, i) => `(local.get ${i})`).join(" ")}))`,
  );
  return imageOf(
    `everything-${module}`,
    `(module ${imports.join("\n")}
      (import "${module}" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") 1) ${exports.join("\n")})`,
  );
}

/** Numbers that look random and are the same in every run. */
function* numbers(): Generator<number, never> {
  for (let state = 1; ; ) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    yield state >>> 8;
  }
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "barecell-interface-"));
  mkdirSync(join(folder, "in"));
  writeFileSync(join(folder, "in/file"), "text");
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(["wasi_snapshot_preview1", "wasi_unstable"])("%s", (module) => {
  const wasi = () =>
    ({
      args: ["program"],
      env: { A: "b" },
      stdin: "input",
      preopens: { "/": { host: join(folder, "in"), writable: true }, "/tmp": { memoryBytes: 100_000 } },
      limits: { writeBytes: 1_000_000, openFiles: 20 },
    }) as const;

  it("is granted in full or not at all", async () => {
    const image = await everything(module);
    await withVm(image, { wasi: {} }, (vm) => expect(vm.callSync("sched_yield")).toBe(0));
    const error = await failure(() => withVm(image, {}, () => undefined), "BARECELL_IMPORT_DENIED");
    expect(error.message).toContain(`${module}.args_get`);
  });

  it("gives an errno for any argument, and the VM goes on", async () => {
    const values = [
      0,
      1,
      2,
      3,
      4,
      5,
      24,
      1024,
      MEMORY - 8,
      MEMORY - 1,
      MEMORY,
      MEMORY + 1,
      2 ** 31,
      2 ** 32 - 1,
    ];
    const wide = [0n, 1n, 65_536n, 2n ** 32n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
    const random = numbers();
    const pick = <T>(list: readonly T[]): T => list[random.next().value % list.length] as T;
    // A poll_oneoff or a read may wait for ever: the deadline ends it, and the next VM goes on.
    const image = await everything(module);
    for (const [name, letters] of Object.entries(FUNCTIONS)) {
      // These end the program, or may wait for what never comes.
      if (name === "proc_raise" || name === "poll_oneoff") continue;
      await withVm(image, { wasi: wasi() }, (vm: MicroVM) => {
        for (let i = 0; i < 100; i++) {
          vm.memory.write(
            1024,
            Uint8Array.from({ length: 64 }, () => pick([0, 0, 0, 8, 46, 47, 102, 255])),
          );
          const args = [...letters].map((letter) => (letter === "j" ? pick(wide) : pick(values)));
          const errno = vm.callSync(name, ...args) as number;
          expect(errno >= 0 && errno <= MAX_ERRNO, `${name}(${args.join()}) gives ${errno}`).toBe(true);
        }
      });
    }
    expect(readdirSync(folder)).toEqual(["in"]);
  });

  it("refuses pointers outside of memory", async () => {
    await withVm(await everything(module), { wasi: wasi() }, (vm) => {
      for (const [name, letters] of Object.entries(FUNCTIONS)) {
        if (!letters.includes("p") || name.startsWith("sock_")) continue;
        for (const bad of [MEMORY, MEMORY + 1, 2 ** 31, 2 ** 32 - 1]) {
          // All pointers bad, lengths of one; the descriptor is a directory, or stdin and stdout where one is read or written.
          const first = name === "fd_read" ? 0 : name === "fd_write" ? 1 : 3;
          const args = [...letters].map((letter, i) =>
            letter === "p" ? bad : letter === "j" ? 0n : i === 0 && letters.startsWith("i") ? first : 1,
          );
          if (name.startsWith("clock_")) args[0] = 0;
          if (name === "path_symlink") args[2] = 3;
          if (name === "path_link") args[3] = 3;
          if (name === "path_rename") args[3] = 3;
          const errno = vm.callSync(name, ...args) as number;
          // A directory is neither read nor moved in, which comes first.
          const allowed = /^fd_(pread|pwrite|seek|tell)$/.test(name) ? [EFAULT, 8, 76] : [EFAULT];
          expect(allowed, `${name}(${args.join()})`).toContain(errno);
        }
      }
    });
  });
});
