// What of the machine can be tested without starting it.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { makeInitramfs, quote } from "./initramfs.mjs";
import { resolveModules } from "./modules.mjs";
import { OutputPort } from "./output-port.mjs";

const MARK = "\0end 0123456789abcdef\n";

describe("the output port", () => {
  const output = Buffer.from(`text\0\0end 0123\0${"\0end 0123456789abcdeX\n"}\0`);

  test.each([1, 2, 3, 7, 1000])("passes on all before the end mark, in pieces of %i bytes", async (size) => {
    const source = new PassThrough();
    const target = new PassThrough();
    const port = new OutputPort(source, target, MARK);
    const all = Buffer.concat([output, Buffer.from(MARK)]);
    for (let at = 0; at < all.length; at += size) source.write(all.subarray(at, at + size));
    await port.ended;
    expect(target.read()).toEqual(output);
  });

  test("holds nothing back that cannot be the mark", async () => {
    const source = new PassThrough();
    const target = new PassThrough();
    new OutputPort(source, target, MARK);
    source.write("a prompt\0? ");
    await new Promise((resolve) => setImmediate(resolve));
    expect(String(target.read())).toBe("a prompt\0? ");
  });
});

test("any word comes through a shell as it is", () => {
  const words = ["", "a b", "it's", "'", "\n", "$HOME `id` \\", "*", "ü"];
  const { stdout } = spawnSync("sh", ["-c", `printf '%s\\0' ${words.map(quote).join(" ")}`], {
    encoding: "utf8",
  });
  expect(stdout.split("\0").slice(0, -1)).toEqual(words);
});

test("modules come after those that they need, built-in ones not at all", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "svm-modules-"));
  try {
    fs.writeFileSync(path.join(folder, "modules.builtin"), "kernel/builtin-one.ko\n");
    const depends = { a: "b-b,builtin-one", "b-b": "c", c: "" };
    for (const [name, needs] of Object.entries(depends)) {
      fs.writeFileSync(path.join(folder, `${name}.ko`), `ELF\0license=GPL\0depends=${needs}\0name=${name}\0`);
    }
    const names = (/** @type {string[]} */ wanted) =>
      resolveModules(folder, wanted, () => undefined).map(({ name }) => name);
    expect(names(["a", "b_b"])).toEqual(["c", "b_b", "a"]);
    expect(() => names(["d"])).toThrow("no module d");
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test("the initramfs is a cpio archive, every entry where its header says", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "svm-initramfs-"));
  try {
    const busybox = path.join(folder, "busybox");
    fs.writeFileSync(busybox, "12345");
    const archive = makeInitramfs(
      { qemu: "", kernel: "", release: "", busybox, modules: [busybox] },
      { command: ["true"], cwd: "/", env: { A: "b c" }, endMark: MARK },
    );
    /** @type {Map<string, string>} */
    const files = new Map();
    for (let at = 0; at < archive.length; ) {
      expect(archive.toString("latin1", at, at + 6)).toBe("070701");
      const field = (/** @type {number} */ n) =>
        Number.parseInt(archive.toString("latin1", at + 6 + 8 * n, at + 14 + 8 * n), 16);
      const nameEnd = at + 110 + field(11);
      const start = (nameEnd + 3) & ~3;
      const end = start + field(6);
      files.set(archive.toString("latin1", at + 110, nameEnd - 1), archive.toString("latin1", start, end));
      at = (end + 3) & ~3;
    }
    expect([...files.keys()].at(-1)).toBe("TRAILER!!!");
    expect(files.get("bin/busybox")).toBe("12345");
    expect(files.get("modules/00.ko")).toBe("12345");
    expect(files.get("job.sh")).toContain("export A='b c'");
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
