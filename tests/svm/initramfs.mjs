// The machine's first files: a cpio archive that holds busybox, the kernel modules, the two init scripts and
// what this run is to do. Written here rather than by cpio(1), which a fresh Debian lacks.

import fs from "node:fs";

const FOLDER = 0o040755;
const PLAIN = 0o100644;
const PROGRAM = 0o100755;
const CHARACTER_DEVICE = 0o020600;

/**
 * @typedef {object} Job
 * @property {readonly string[]} command
 * @property {string} cwd
 * @property {Readonly<Record<string, string>>} env
 * @property {string} endMark line that ends each output stream
 */

/**
 * @param {import("./fetch.mjs").Parts} parts
 * @param {Job} job
 * @returns {Buffer}
 */
export function makeInitramfs(parts, job) {
  const script = (/** @type {string} */ name) => fs.readFileSync(new URL(name, import.meta.url));
  const archive = new CpioArchive();
  for (const folder of ["bin", "dev", "proc", "sys", "modules", "lower", "upper", "root"])
    archive.add(folder, FOLDER);
  // The kernel opens /dev/console for init before anything is mounted.
  archive.add("dev/console", CHARACTER_DEVICE, Buffer.alloc(0), [5, 1]);
  archive.add("bin/busybox", PROGRAM, fs.readFileSync(parts.busybox));
  parts.modules.forEach((file, index) => {
    archive.add(`modules/${String(index).padStart(2, "0")}.ko`, PLAIN, fs.readFileSync(file));
  });
  archive.add("init", PROGRAM, script("init.sh"));
  archive.add("stage2.sh", PROGRAM, script("stage2.sh"));
  archive.add("job.sh", PROGRAM, Buffer.from(jobScript(job)));
  archive.add("end-mark", PLAIN, Buffer.from(job.endMark));
  return archive.finish();
}

/** @param {Job} job */
function jobScript({ command, cwd, env }) {
  return [
    "#!/bin/sh",
    ...Object.entries(env).map(([name, value]) => `export ${name}=${quote(value)}`),
    `cd ${quote(cwd)} || exit 126`,
    // `command` and its status tell "no such program" (127) from what a program returns, as any shell does.
    `exec ${command.map(quote).join(" ")}`,
    "",
  ].join("\n");
}

/**
 * One word of a shell, whatever is in it.
 * @param {string} word
 */
export function quote(word) {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The "newc" format, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst has it. */
class CpioArchive {
  /** @type {Buffer[]} */
  #chunks = [];
  #inode = 0;

  /**
   * @param {string} name
   * @param {number} mode
   * @param {Buffer} [content]
   * @param {[number, number]} [device] major and minor number
   */
  add(name, mode, content = Buffer.alloc(0), device = [0, 0]) {
    const [major, minor] = device;
    const fields = [++this.#inode, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length + 1, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
    this.#push(Buffer.from(header, "latin1"));
    this.#push(content);
  }

  finish() {
    this.add("TRAILER!!!", 0);
    return Buffer.concat(this.#chunks);
  }

  /** @param {Buffer} chunk padded to four bytes, as header with name and content each must be */
  #push(chunk) {
    this.#chunks.push(chunk, Buffer.alloc(-chunk.length & 3));
  }
}
